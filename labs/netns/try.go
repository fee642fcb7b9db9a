//go:build linux

package netns

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
)

// attemptTime is how long Attempt waits.
const attemptTime = 5 * time.Second

// Attempt has a child process try what a lab of this runner needs; the error says what was refused. The child is the
// catchment binary, whose hidden command `lab try` calls Try.
func Attempt(ctx context.Context, binary string) error {
	ctx, stop := context.WithTimeout(ctx, attemptTime)
	defer stop()
	cmd := exec.CommandContext(ctx, binary, "lab", "try")
	Isolate(cmd)
	var said bytes.Buffer
	cmd.Stderr = &said
	err := cmd.Run()
	if err == nil {
		return nil
	}
	if line, _, _ := strings.Cut(strings.TrimSpace(said.String()), "\n"); line != "" {
		return errors.New(strings.TrimPrefix(line, "catchment: "))
	}
	if inner := errors.Unwrap(err); inner != nil { // without "fork/exec FILE"
		err = inner
	}
	return err
}

// errNotIsolated keeps Try from setting up the host.
var errNotIsolated = errors.New("this process is in the host's network namespace; only `catchment doctor` and `catchment lab up` start it")

// Try makes the least lab in the namespaces of this process, which Isolate made: a machine, and a cable to it that the
// runner reads. All of it ends with the process.
func Try() error {
	if own, err := isolated(); err != nil {
		return err
	} else if !own {
		return errNotIsolated
	}
	if err := Settle(); err != nil {
		return err
	}
	if err := setSysctls(); err != nil {
		return err
	}
	home, err := thisNamespace()
	if err != nil {
		return fmt.Errorf("open network namespace: %w", err)
	}
	machine, err := newNamespace(home)
	if err != nil {
		return err
	}
	if err := machine.do(setSysctls); err != nil {
		return err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "w0a"
	cable := &netlink.Veth{LinkAttrs: attrs, PeerName: "eth1", PeerNamespace: netlink.NsFd(machine.file.Fd())}
	if err := netlink.LinkAdd(cable); err != nil {
		return fmt.Errorf("make a cable (veth): %w", err)
	}
	made, err := netlink.LinkByName(attrs.Name)
	if err != nil {
		return fmt.Errorf("find the cable: %w", err)
	}
	_, err = openPort(attrs.Name, made.Attrs().Index)
	return err
}

// isolated reports whether this process has a network namespace of its own: in a new one every interface is down, the
// loopback one included.
func isolated() (bool, error) {
	all, err := netlink.LinkList()
	if err != nil {
		return false, fmt.Errorf("list interfaces: %w", err)
	}
	return !slices.ContainsFunc(all, func(l netlink.Link) bool { return l.Attrs().Flags&net.FlagUp != 0 }), nil
}
