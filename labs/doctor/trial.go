package doctor

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
)

// trial is what the child does; it says each stage that passed. All that it makes ends with its namespace.
const trial = `echo start
ip link set lo up && echo up || exit
ip link add cd0 type veth peer name cd1 && echo veth || exit
tc qdisc add dev cd0 root netem delay 1ms && echo netem
tc qdisc del dev cd0 root 2>/dev/null
tc qdisc add dev cd0 root tbf rate 1mbit burst 32kbit latency 400ms && echo tbf
tc qdisc add dev cd0 clsact && echo clsact
`

// try starts a child in namespaces of its own.
func try(ctx context.Context, root bool) Trial {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", trial)
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if !root {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}}
	}
	cmd.WaitDelay = patience // a grandchild may hold the pipes
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	err := cmd.Run()
	t := Trial{Passed: strings.Fields(out.String())}
	if !slices.Contains(t.Passed, stageStart) {
		t.Error = reason(err)
	} else if lines := strings.Split(strings.TrimSpace(complaint.String()), "\n"); lines[0] != "" {
		t.Error = lines[0]
	}
	return t
}
