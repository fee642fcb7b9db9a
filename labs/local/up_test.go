package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/catchment-net/catchment/labs"
	"github.com/catchment-net/catchment/labs/runner"
)

// Status tells where clients land and what runs; the folder is only there while the lab is up.
func TestUpConvergesAndStatusIsRight(t *testing.T) {
	before := takeStock(t)
	o := quickstart(t)
	l := up(t, o)
	st, err := l.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if st.Name != "quickstart" || st.Runner != "local" || st.Dir != o.Dir || st.State != filepath.Join(o.Root, "quickstart") {
		t.Errorf("status is of %q by %q from %q in %q", st.Name, st.Runner, st.Dir, st.State)
	}
	lands := map[string]string{}
	for _, c := range st.Clients {
		for prefix, pop := range c.Lands {
			if was, ok := lands[c.Name]; ok && was != pop {
				t.Errorf("%s lands at %s, but %s leads to %s", c.Name, was, prefix, pop)
			}
			lands[c.Name] = pop
		}
		if len(c.Lands) != 2 || c.HTTP == "" || c.DNS == "" {
			t.Errorf("status of client %s is %+v", c.Name, c)
		}
	}
	for client, pop := range map[string]string{"berlin": "ams", "lisbon": "ams", "newyork": "nyc", "saopaulo": "ams", "tokyo": "sin", "sydney": "sin"} {
		if lands[client] != pop {
			t.Errorf("%s lands at %q, want %q", client, lands[client], pop)
		}
	}
	for _, n := range st.Nodes {
		if n.State != runner.Alive || !alive(n.PID) || n.Pss == 0 {
			t.Errorf("node %s is %+v", n.Name, n)
		}
		if _, err := os.Stat(n.Admin); err != nil {
			t.Errorf("admin socket of %s: %v", n.Name, err)
		}
	}
	if names := slices.Collect(nodeNames(st)); !slices.Equal(names, []string{"ams1", "nyc1", "sin1"}) {
		t.Errorf("nodes are %v", names)
	}
	down(t, l)
	before.compare(t, 8)
	if _, err := os.Stat(o.Root); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the state root is left: %v", err)
	}
}

func nodeNames(st *labs.Status) func(func(string) bool) {
	return func(yield func(string) bool) {
		for _, n := range st.Nodes {
			if !yield(n.Name) {
				return
			}
		}
	}
}

func down(t *testing.T, l *Lab) {
	t.Helper()
	nodes := pids(t, l)
	if err := l.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, pid := range nodes {
		if alive(pid) {
			t.Errorf("%s is left as process %d", name, pid)
		}
	}
}

// Over fifty ups and downs nothing grows but the one goroutine that gobgp never ends.
func TestFiftyUpsAndDownsLeaveNothing(t *testing.T) {
	o := Options{Dir: "testdata/small", Name: "small", Root: newRoot(t), Binary: mustBinary(t)}
	began, before := time.Now(), takeStock(t)
	const rounds = 50
	for range rounds {
		down(t, up(t, o))
	}
	before.compare(t, rounds*2)
	if took := time.Since(began); took > time.Minute {
		t.Errorf("%d ups and downs took %v, want under a minute", rounds, took)
	}
	if _, err := os.Stat(o.Root); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the state root is left: %v", err)
	}
}

// The reference lab again and again: with three nodes, two address families, and faults that were never undone.
func TestQuickstartThreeTimesLeavesNothing(t *testing.T) {
	o := quickstart(t)
	before := takeStock(t)
	for _, f := range []labs.Fault{{Verb: labs.Kill, Subject: "ams"}, {Verb: labs.Freeze, Subject: "nyc1"}, {Verb: labs.Cut, Subject: "ams -> arc"}} {
		l := up(t, o)
		if err := l.Do(t.Context(), f); err != nil {
			t.Error(err)
		}
		down(t, l)
	}
	before.compare(t, 3*8)
}

// The process that ends at once is named with its last words, and nothing is left of the lab.
func TestFailedUpSaysWhyAndLeavesNothing(t *testing.T) {
	script := filepath.Join(t.TempDir(), "node")
	if err := os.WriteFile(script, []byte("#!/bin/sh\necho working >&2\necho 'no such luck today' >&2\nexit 1\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, binary, dir string
		want              []string
		routers           int
	}{
		{"no binary", "/nonexistent/catchment", "testdata/small", []string{`start "east1"`, "/nonexistent/catchment"}, 2},
		{"node ends at once", script, "testdata/small", []string{"while the lab came up, east1 ended", "no such luck today"}, 2},
		{"no folder", script, "testdata/none", []string{"testdata/none"}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := Options{Dir: tt.dir, Name: "small", Root: newRoot(t), Binary: tt.binary}
			before := takeStock(t)
			l, err := Up(t.Context(), o)
			if err == nil {
				t.Fatal("it came up", l.Down(t.Context()))
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error is %q, want %q in it", err, want)
				}
			}
			before.compare(t, tt.routers)
			if _, err := os.Stat(o.Root); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the state root is left: %v", err)
			}
		})
	}
}

// Somebody who loses patience with a lab that never converges gets the reason, and nothing is left.
func TestInterruptedUpLeavesNothing(t *testing.T) {
	idle := filepath.Join(t.TempDir(), "node")
	if err := os.WriteFile(idle, []byte("#!/bin/sh\nexec sleep 1000\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	before := takeStock(t)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	o := Options{Dir: "testdata/small", Name: "small", Root: newRoot(t), Binary: idle}
	if _, err := Up(ctx, o); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "no route to 192.0.2.0/24") {
		t.Errorf("error is %v, want the deadline and what was missing", err)
	}
	before.compare(t, 2)
}

// A lab's name is taken while it is up, and free at once afterwards.
func TestSameNameTwice(t *testing.T) {
	o := Options{Dir: "testdata/small", Name: "small", Root: newRoot(t), Binary: mustBinary(t)}
	l := up(t, o)
	_, err := Up(t.Context(), o)
	if err == nil || !strings.Contains(err.Error(), `lab "small" is already up`) || !strings.Contains(err.Error(), "catchment lab down --lab small") {
		t.Errorf("error is %v", err)
	}
	if all := pids(t, l); len(all) != 2 || !alive(all["east1"]) || !alive(all["west1"]) {
		t.Errorf("the first lab has suffered: %v", all)
	}
	if _, err := os.Stat(l.state.Path); err != nil {
		t.Errorf("the first lab lost its folder: %v", err)
	}
	down(t, l)
	down(t, up(t, o))
}

// Two labs at once, each from its own `catchment lab up`, get addresses and ports of their own.
func TestTwoLabsFromTwoProcesses(t *testing.T) {
	t.Parallel()
	run := commandLine(t)
	for _, name := range []string{"one", "two"} {
		if out, err := run("lab", "up", "testdata/small", "--name", name); err != nil {
			t.Fatalf("lab up %s: %v\n%s", name, err, out)
		}
		t.Cleanup(func() { _, _ = run("lab", "down", "--lab", name) })
	}
	root := filepath.Join(run.runtimeDir(), "catchment")
	if got := runner.Running(root); !slices.Equal(got, []string{"one", "two"}) {
		t.Fatalf("running are %v", got)
	}
	seen := map[string]string{}
	for _, name := range []string{"one", "two"} {
		l, err := runner.Connect(root, name)
		if err != nil {
			t.Fatal(err)
		}
		st, err := l.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var around bytes.Buffer
		if err := l.Exec(t.Context(), "east1", []string{"sed", "-n", `s/.*"bind": "\(.*\)".*/\1/p`, "lab.json"}, &around, os.Stderr); err != nil {
			t.Fatal(err)
		}
		for _, own := range []string{st.Clients[0].HTTP, st.Clients[0].DNS, strings.TrimSpace(around.String())} {
			if other, taken := seen[own]; taken || own == "" {
				t.Errorf("%q is of both %s and %s", own, other, name)
			}
			seen[own] = name
		}
	}
	if out, err := run("lab", "down"); err == nil || !strings.Contains(out, "several labs are up (one, two)") {
		t.Errorf("lab down without a name: %v, %q", err, out)
	}
	for _, name := range []string{"one", "two"} {
		if out, err := run("lab", "down", "--lab", name); err != nil {
			t.Errorf("lab down %s: %v\n%s", name, err, out)
		}
	}
	if _, err := os.Stat(root); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the state root is left: %v", err)
	}
}

// A runner that is killed takes every node with it, those that are stopped included, and its name is free again.
func TestKilledRunnerLeavesNoNode(t *testing.T) {
	t.Parallel()
	run := commandLine(t)
	if out, err := run("lab", "up", "testdata/small", "--name", "small"); err != nil {
		t.Fatalf("lab up: %v\n%s", err, out)
	}
	t.Cleanup(func() { _, _ = run("lab", "down", "--lab", "small") })
	root := filepath.Join(run.runtimeDir(), "catchment")
	l, err := runner.Connect(root, "small")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Do(t.Context(), labs.Fault{Verb: labs.Freeze, Subject: "east1"}); err != nil {
		t.Fatal(err)
	}
	nodes := pids(t, l)
	host := parent(t, nodes["west1"])
	if err := syscall.Kill(host, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	awaitDead(t, nodes)
	if got := runner.Running(root); len(got) != 0 {
		t.Errorf("running are %v", got)
	}
	if out, err := run("lab", "up", "testdata/small", "--name", "small"); err != nil {
		t.Errorf("lab up over what the killed one left: %v\n%s", err, out)
	}
}

func parent(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	var state string
	var ppid int
	if _, err := fmt.Sscan(rest, &state, &ppid); err != nil {
		t.Fatal(err)
	}
	return ppid
}

// command runs the binary as a user does, with a run-time folder of its own.
type command func(args ...string) (string, error)

func commandLine(t *testing.T) command {
	t.Helper()
	file, dir := mustBinary(t), filepath.Dir(newRoot(t))
	return func(args ...string) (string, error) {
		if len(args) == 0 {
			return dir, nil
		}
		cmd := exec.Command(file, args...)
		cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+dir)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
}

func (c command) runtimeDir() string {
	dir, _ := c()
	return dir
}
