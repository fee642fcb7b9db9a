package doctor

import (
	"context"
	"os/exec"
	"strings"

	"github.com/catchment-net/catchment/labs/netns"
)

// namespaces says why no lab can be made of network namespaces. It has a child make the least one.
func namespaces(ctx context.Context, binary string) string {
	if err := netns.Attempt(ctx, binary); err != nil {
		return err.Error()
	}
	return ""
}

// netem says why the kernel does not delay an interface's packets. It has tc try, in a namespace of its own.
func netem(ctx context.Context, tc string) string {
	if tc == "" {
		return "could not be tried: no tc"
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, tc, "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms")
	netns.Isolate(cmd)
	out, err := cmd.CombinedOutput()
	if err == nil {
		return ""
	}
	if line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n"); line != "" {
		return line
	}
	return reason(err)
}
