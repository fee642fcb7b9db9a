//go:build linux

// Package testns runs tests in network namespaces of their own.
package testns

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// variable names the test that a process plays in a namespace of its own.
const variable = "CATCHMENT_TEST_INSIDE"

// Inside runs the calling test again, in a process in an empty network namespace, and reports whether this is that run;
// elsewhere the test has ended when it returns. Nobody needs rights for it: the process is root of a user namespace. It
// skips where the host allows none.
func Inside(t *testing.T) bool {
	t.Helper()
	if os.Getenv(variable) == t.Name() {
		return true
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), variable+"="+t.Name())
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWNET | syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}, GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	switch {
	case errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSPC):
		t.Skipf("make a network namespace: %v", err)
	case err != nil || !bytes.Contains(out, []byte("--- PASS: "+t.Name())):
		t.Errorf("in a network namespace: %v\n%s", err, out)
	}
	return false
}
