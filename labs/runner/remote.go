package runner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/catchment-net/catchment/admin"
	"github.com/catchment-net/catchment/control"
	"github.com/catchment-net/catchment/internal/event"
	"github.com/catchment-net/catchment/labs"
	"github.com/catchment-net/catchment/topology"
)

// Remote is a lab that another process of this user runs.
type Remote struct {
	name   string
	socket string
	client admin.Client
	info   info
	topo   *topology.Topology
}

var _ labs.Lab = (*Remote)(nil)

// Connect reaches the lab of that name.
func Connect(root, name string) (*Remote, error) {
	r := &Remote{name: name, socket: filepath.Join(root, name, socketName)}
	r.client = admin.Client{Socket: r.socket}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := r.client.Get(ctx, "/v1/info", &r.info); err != nil {
		hint := "none is up"
		if up := Running(root); len(up) > 0 {
			hint = "up are " + strings.Join(up, ", ")
		}
		return nil, fmt.Errorf("no lab called %q is up; %s", name, hint)
	}
	snap, err := control.Parse(r.info.Name, r.info.Files)
	if err != nil {
		return nil, err
	}
	r.topo = snap.Topology
	return r, nil
}

// Is reports whether this is the lab that a person means by a folder or by the name of a shipped lab; "" means any.
func (r *Remote) Is(lab string) bool {
	if lab == "" {
		return true
	}
	if abs, err := filepath.Abs(lab); err == nil && abs == r.info.Dir {
		return true
	}
	return filepath.Base(r.info.Dir) == lab
}

// File reads a file of the lab's folder, named as in it.
func (r *Remote) File(name string) ([]byte, error) {
	return os.ReadFile(filepath.Join(r.info.Dir, name))
}

// Hosts are the hosts of all sites, in file order.
func (r *Remote) Hosts() []string { return r.info.Hosts }

// Topology is the network that the lab runs.
func (r *Remote) Topology() *topology.Topology { return r.topo }

// Caps says which faults the lab can do.
func (r *Remote) Caps() labs.Caps { return r.info.Caps }

// Runner is what runs it: "local", "netns" or "containerlab".
func (r *Remote) Runner() string { return r.info.Runner }

// Status tells where every client lands now and what runs.
func (r *Remote) Status(ctx context.Context) (*labs.Status, error) {
	var st labs.Status
	if err := r.client.Get(ctx, "/v1/status", &st); err != nil {
		return nil, err
	}
	return &st, nil
}

// Settle waits until the lab stands as it did when it came up.
func (r *Remote) Settle(ctx context.Context) error {
	return r.client.Post(ctx, "/v1/settle", struct{}{}, nil)
}

// Do carries out one fault. What the runner cannot do is a *labs.CannotError here as there.
func (r *Remote) Do(ctx context.Context, f labs.Fault) error {
	err := r.client.Post(ctx, "/v1/fault", f, nil)
	if refused, ok := errors.AsType[*admin.Error](err); ok && refused.Status == http.StatusNotImplemented {
		return &labs.CannotError{What: refused.Text, Fix: refused.Fix}
	}
	return err
}

// Events calls fn for every event from now on.
func (r *Remote) Events(ctx context.Context, fn func(event.Event)) error {
	return r.client.Events(ctx, ^uint64(0), func(l admin.Line) error {
		fn(l.Event)
		return nil
	})
}

// Sample runs the loads in the lab's process and calls fn for each sample.
func (r *Remote) Sample(ctx context.Context, loads []labs.Load, fn func(labs.Sample)) error {
	return r.client.Stream(ctx, "/v1/sample", loads, func(line []byte) error {
		var s labs.Sample
		if err := json.Unmarshal(line, &s); err != nil {
			return fmt.Errorf("decode sample: %w", err)
		}
		fn(s)
		return nil
	})
}

// ExitCode is how a command that Exec ran ended.
type ExitCode int

func (e ExitCode) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// ExitCode is the command's exit status.
func (e ExitCode) ExitCode() int { return int(e) }

// Exec runs a command beside a node. A command that ends with another status than 0 is an ExitCode.
func (r *Remote) Exec(ctx context.Context, node string, argv []string, stdout, stderr io.Writer) error {
	return r.stream(ctx, "/v1/exec", execRequest{Node: node, Argv: argv}, stdout, stderr)
}

// Capture writes what crosses a link, as a pcap file, until ctx is done.
func (r *Remote) Capture(ctx context.Context, link string, w io.Writer) error {
	err := r.stream(ctx, "/v1/capture", captureRequest{Link: link}, w, io.Discard)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func (r *Remote) stream(ctx context.Context, path string, request any, stdout, stderr io.Writer) error {
	ended := errors.New("the lab went away")
	err := r.client.Stream(ctx, path, request, func(line []byte) error {
		var o execOutput
		if err := json.Unmarshal(line, &o); err != nil {
			return fmt.Errorf("decode output: %w", err)
		}
		_, outErr := stdout.Write(o.Out)
		_, errErr := stderr.Write(o.Err)
		switch {
		case !o.Done:
		case o.Cannot != nil:
			ended = o.Cannot
		case o.Fail != "":
			ended = &admin.Error{Status: http.StatusConflict, Text: o.Fail}
		case o.Code != 0:
			ended = ExitCode(o.Code)
		default:
			ended = nil
		}
		return errors.Join(outErr, errErr)
	})
	if err != nil {
		return err
	}
	return ended
}

// Down asks the lab to end and waits until nothing is left of it.
func (r *Remote) Down(ctx context.Context) error {
	if err := r.client.Post(ctx, "/v1/down", nil, nil); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, 15*time.Second, fmt.Errorf("lab %q is still ending after 15 s", r.name))
	defer cancel()
	return awaitGone(ctx, filepath.Dir(r.socket))
}

// awaitGone waits until a folder has been removed.
func awaitGone(ctx context.Context, dir string) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}
