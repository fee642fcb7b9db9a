//go:build linux

package netns_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/catchment-net/catchment/labs"
	"github.com/catchment-net/catchment/labs/runner"
	"github.com/catchment-net/catchment/topology"
)

// routed are labs that differ in what routes.
type routed struct {
	t       *testing.T
	binary  string
	runtime string // XDG_RUNTIME_DIR; short, because the paths of unix sockets below it must be
}

func newRouted(t *testing.T) *routed {
	t.Helper()
	if _, err := os.Stat("/usr/lib/frr/bgpd"); err != nil || os.Geteuid() != 0 {
		t.Skip("needs root and Debian's frr")
	}
	dir, err := os.MkdirTemp("", "cfrr") //nolint:usetesting // t.TempDir is too long for unix sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	r := &routed{t: t, binary: filepath.Join(t.TempDir(), "catchment"), runtime: dir}
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", r.binary, "../../cmd/catchment").CombinedOutput(); err != nil {
		t.Fatalf("build catchment: %v\n%s", err, out)
	}
	return r
}

// up brings a shipped lab up with that software.
func (r *routed) up(lab, software string) *runner.Remote {
	r.t.Helper()
	name := lab + "-" + software
	cmd := exec.CommandContext(r.t.Context(), r.binary, "lab", "up", lab, "--runner", "netns", "--router", software, "--name", name)
	cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+r.runtime)
	if out, err := cmd.CombinedOutput(); err != nil {
		r.t.Fatalf("lab up: %v\n%s", err, out)
	}
	l, err := runner.Connect(filepath.Join(r.runtime, "catchment"), name)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = l.Down(context.Background()) })
	return l
}

func (r *routed) status(l labs.Lab) *labs.Status {
	r.t.Helper()
	st, err := l.Status(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	return st
}

// where is where every client lands and every router's best paths lead.
func where(st *labs.Status) map[string]any {
	all := map[string]any{}
	for _, c := range st.Clients {
		all["client "+c.Name] = c.Lands
	}
	for _, r := range st.Routers {
		all["router "+r.Name] = r.Best
	}
	return all
}

// Whichever software routes, everybody lands at the same POP; and FRR ends with the runner that is killed.
func TestFRRCatchmentsEqualOurs(t *testing.T) {
	r := newRouted(t)
	before := listed("/var/tmp/frr", "/run/frr")
	l := r.up("quickstart", topology.Ours)
	ours := where(r.status(l))
	if err := l.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	st := r.status(r.up("quickstart", topology.FRR))
	if diff := cmp.Diff(ours, where(st)); diff != "" {
		t.Errorf("who lands where (-ours +frr):\n%s", diff)
	}
	daemons := map[string]int{}
	for _, n := range st.Nodes {
		if strings.HasSuffix(n.Name, "/bgpd") || strings.HasSuffix(n.Name, "/zebra") {
			daemons[n.Name] = n.PID
		}
	}
	if want := 2 * len(st.Routers); len(daemons) != want {
		t.Fatalf("FRR's daemons are %v, want %d", daemons, want)
	}
	if err := syscall.Kill(parentOf(t, daemons["berlin/bgpd"]), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for name, pid := range daemons {
		for deadline := time.Now().Add(10 * time.Second); stateOf(pid) != ""; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s outlives its killed runner: %s", name, stateOf(pid))
			}
		}
	}
	if diff := cmp.Diff(before, listed("/var/tmp/frr", "/run/frr")); diff != "" {
		t.Errorf("FRR has written outside the lab (-before +after):\n%s", diff)
	}
}

// listed are the files below folders.
func listed(dirs ...string) []string {
	var all []string
	for _, dir := range dirs {
		names, _ := filepath.Glob(filepath.Join(dir, "*"))
		all = append(all, names...)
	}
	return all
}

// stat are the fields of a process from its state on; nil when it is gone.
func stat(pid int) []string {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return nil
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	return strings.Fields(rest)
}

// stateOf is a process's state; "" for one that has ended, even if nobody has reaped it.
func stateOf(pid int) string {
	if s := stat(pid); len(s) > 0 && s[0] != "Z" && s[0] != "X" {
		return s[0]
	}
	return ""
}

func parentOf(t *testing.T, pid int) int {
	t.Helper()
	s := stat(pid)
	if len(s) < 2 {
		t.Fatalf("process %d is gone", pid)
	}
	parent, err := strconv.Atoi(s[1])
	if err != nil {
		t.Fatal(err)
	}
	return parent
}
