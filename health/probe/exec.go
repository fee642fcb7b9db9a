package probe

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/catchment-net/catchment/internal/underlay"
)

// maxOutput is how much of a command's output is kept, in bytes; the rest is read and dropped.
const maxOutput = 4 << 10

// Exec runs a program without a shell and wants exit status 0. At the timeout it is killed. The first line of what it
// prints is the reason of a bad verdict.
func Exec(path string, args ...string) Target {
	return Target{name: "exec:" + strings.Join(append([]string{path}, args...), " "), ask: func(ctx context.Context, _ underlay.Net, timeout time.Duration) error {
		return run(ctx, timeout, path, args)
	}}
}

func run(ctx context.Context, timeout time.Duration, path string, args []string) error {
	var out headBuffer
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = timeout / 4 // a grandchild that keeps the pipe open must not keep the probe
	err := cmd.Start()
	if err == nil {
		ordinary(cmd.Process.Pid)
		err = cmd.Wait()
	}
	if err == nil {
		return nil
	}
	if line, _, _ := strings.Cut(strings.TrimSpace(out.head.String()), "\n"); line != "" {
		return fmt.Errorf("%w: %s", err, line)
	}
	return err
}

// headBuffer keeps the beginning of what is written to it.
type headBuffer struct{ head bytes.Buffer } // not embedded: its ReadFrom would read without end

func (b *headBuffer) Write(p []byte) (int, error) {
	if room := maxOutput - b.head.Len(); room > 0 {
		b.head.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}
