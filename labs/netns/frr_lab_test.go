//go:build linux

package netns_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/catchment-net/catchment/labs"
	"github.com/catchment-net/catchment/topology"
)

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

// Whichever software routes, everybody lands at the same POP; and FRR ends with the runner that is killed, without a file
// left outside the lab.
func TestFRRCatchmentsEqualOurs(t *testing.T) {
	if _, err := os.Stat("/usr/lib/frr/bgpd"); err != nil || os.Getuid() != 0 {
		t.Skip("needs root and Debian's frr")
	}
	before := listed("/var/tmp/frr", "/run/frr")
	status := func(software string) *labs.Status {
		st, err := up(t, "quickstart", os.Getuid(), "--router", software).Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return st
	}
	st := status(topology.FRR)
	if diff := cmp.Diff(where(status(topology.Ours)), where(st)); diff != "" {
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
	if err := syscall.Kill(parent(t, daemons["berlin/bgpd"]), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for name, pid := range daemons {
		await(t, 10*time.Second, "the end of "+name, func() bool { return !alive(pid) })
	}
	if diff := cmp.Diff(before, listed("/var/tmp/frr", "/run/frr")); diff != "" {
		t.Errorf("FRR has written outside the lab (-before +after):\n%s", diff)
	}
}

// listed are the files in folders.
func listed(dirs ...string) []string {
	var all []string
	for _, dir := range dirs {
		names, _ := filepath.Glob(filepath.Join(dir, "*"))
		all = append(all, names...)
	}
	return all
}
