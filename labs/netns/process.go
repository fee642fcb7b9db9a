//go:build linux

package netns

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/catchment-net/catchment/labs"
)

// Isolate makes cmd start in namespaces of its own: network and mounts, and where we are not root, users, with the
// caller as root among them. The process calls Settle before anything else. Needs no rights on the host.
func Isolate(cmd *exec.Cmd) {
	a := cmd.SysProcAttr
	if a == nil {
		a = &syscall.SysProcAttr{}
		cmd.SysProcAttr = a
	}
	a.Cloneflags |= unix.CLONE_NEWNET | unix.CLONE_NEWNS
	if os.Geteuid() != 0 {
		a.Cloneflags |= unix.CLONE_NEWUSER
		a.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
		a.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	}
}

// Able says why this host cannot run labs in network namespaces, as a *labs.CannotError, or nil. It tries, with the
// catchment binary.
func Able(binary string) error {
	err := Attempt(context.Background(), binary)
	if err == nil {
		return nil
	}
	fix := "run it as root, or use --runner local"
	if os.Geteuid() == 0 {
		fix = "give this container the right to (docker run --privileged), or use --runner local"
	}
	for _, s := range []struct{ file, bad, sysctl string }{
		{"/proc/sys/kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone=1"},
		{"/proc/sys/user/max_user_namespaces", "0", "user.max_user_namespaces=10000"},
		{"/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1", "kernel.apparmor_restrict_unprivileged_userns=0"},
	} {
		if text, readErr := os.ReadFile(s.file); os.Geteuid() != 0 && readErr == nil && strings.TrimSpace(string(text)) == s.bad {
			fix = "run `sudo sysctl -w " + s.sysctl + "`, or run it as root, or use --runner local"
		}
	}
	return &labs.CannotError{What: fmt.Sprintf("make network namespaces here (%v)", err), Fix: fix}
}

// Settle prepares the namespaces that Isolate made: mounts that nobody else sees, and a hosts file of the lab's own.
func Settle() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	return nil
}

// nameHosts makes the names of the origins known to every process of the lab.
func (l *Lab) nameHosts() error {
	var b strings.Builder
	b.WriteString("127.0.0.1 localhost\n::1 localhost\n")
	for _, o := range l.topo.Internet.Origins {
		for _, a := range o.Addrs {
			fmt.Fprintf(&b, "%s %s\n", a, o.Host)
		}
	}
	file := l.state.File("hosts")
	if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
		return fmt.Errorf("write hosts: %w", err)
	}
	return l.mount(file, "/etc/hosts", "", unix.MS_BIND, "")
}

// mount mounts something that goes with the lab, so that this process can bring up another one.
func (l *Lab) mount(from, at, kind string, flags uintptr, data string) error {
	if err := unix.Mount(from, at, kind, flags, data); err != nil {
		return fmt.Errorf("mount %q: %w", at, err)
	}
	l.mounts = append(l.mounts, at)
	return nil
}

// unmount takes away what mount has mounted.
func (l *Lab) unmount() error {
	var errs []error
	for _, at := range slices.Backward(l.mounts) {
		errs = append(errs, os.NewSyscallError("unmount "+at, unix.Unmount(at, unix.MNT_DETACH)))
	}
	return errors.Join(errs...)
}
