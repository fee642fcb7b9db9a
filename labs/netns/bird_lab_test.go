//go:build linux

package netns_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/catchment-net/catchment/labs"
	"github.com/catchment-net/catchment/topology"
)

// Whichever software routes, everybody lands at the same POP; and BIRD needs no more rights than ours.
func TestBIRDCatchmentsEqualOurs(t *testing.T) {
	needBIRD(t)
	for name, uid := range map[string]int{"quickstart": os.Getuid(), "anycast3": nobody} {
		t.Run(name, func(t *testing.T) {
			status := func(software string) (*lab, *labs.Status) {
				l := up(t, name, uid, "--router", software)
				st, err := l.Status(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				return l, st
			}
			_, ours := status(topology.Ours)
			l, st := status(topology.BIRD)
			if diff := cmp.Diff(where(ours), where(st)); diff != "" {
				t.Errorf("who lands where (-ours +bird):\n%s", diff)
			}
			if out := l.exec("berlin", "birdc", "show", "route", "192.0.2.0/24", "all"); !strings.Contains(out, "BGP.local_pref: 100") {
				t.Errorf("berlin's BIRD says:\n%s", out)
			}
			if out := l.exec("berlin", "ip", "-6", "route", "get", "2001:db8:53::53"); !strings.Contains(out, "src 2001:db8:c1::1") {
				t.Errorf("berlin's kernel says:\n%s", out)
			}
		})
	}
}

func needBIRD(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("bird"); err != nil {
		t.Skip("needs Debian's bird2")
	}
}

// internal is two transits of one AS, of which the second has an alternative that the first does not see: the second
// prefers what the first tells, a customer's route, to its own peer's.
const internal = `
asn: 64500
anycast: {prefixes: [192.0.2.0/24, 2001:db8:53::/48], dns: [192.0.2.53, 2001:db8:53::53], web: [192.0.2.80, 2001:db8:53::80]}
pops:
  ams: {at: AMS, unicast: [203.0.113.0/28, 2001:db8:a1::/48]}
  nyc: {at: NYC, unicast: [203.0.113.16/28, 2001:db8:a2::/48]}
internet:
  networks:
    arc:    {asn: 64496, at: FRA}
    bow:    {asn: 64496, at: NYC}
    berlin: {asn: 64501, at: BER, router: ours, users: 1, prefixes: [198.51.100.0/27, 2001:db8:c1::/48]}
    boston: {asn: 64502, at: BOS, router: ours, users: 1, prefixes: [198.51.100.32/27, 2001:db8:c2::/48]}
  origins:
    origin.shop.example: {in: arc, prefixes: [203.0.113.128/28, 2001:db8:e1::/48]}
  links:
    ams -> arc:    {delay: 1ms}
    nyc -- bow:    {delay: 1ms}
    arc -- bow:    {delay: 1ms}
    berlin -> arc: {delay: 1ms}
    boston -> bow: {delay: 1ms}
`

// Two routers of one AS speak iBGP: both clients land where the customer's route leads, and at the other POP when it goes.
func TestTwoRoutersOfOneAS(t *testing.T) {
	for _, software := range []string{topology.FRR, topology.BIRD} {
		t.Run(software, func(t *testing.T) {
			if software == topology.BIRD {
				needBIRD(t)
			} else if _, err := os.Stat("/usr/lib/frr/bgpd"); err != nil || os.Getuid() != 0 {
				t.Skip("needs root and Debian's frr")
			}
			l := upChanged(t, "anycast3", os.Getuid(), withTopology(t, strings.Replace(internal, "internet:\n", "internet:\n  router: "+software+"\n", 1)))
			lands := func(pop string) func() bool {
				return func() bool {
					st, err := l.Status(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					for _, c := range st.Clients {
						for _, at := range c.Lands {
							if at != pop {
								return false
							}
						}
					}
					return true
				}
			}
			await(t, 10*time.Second, "everybody lands at ams", lands("ams"))
			l.do(labs.Kill, "ams")
			await(t, 10*time.Second, "everybody lands at nyc", lands("nyc"))
			l.do(labs.Heal, "ams")
			await(t, 30*time.Second, "everybody lands at ams again", lands("ams"))
		})
	}
}

// withTopology is a lab's folder with another topology than the one that it is shipped with.
func withTopology(t *testing.T, text string) func(dir string) error {
	t.Helper()
	return func(dir string) error {
		return os.WriteFile(filepath.Join(dir, "topology.yaml"), []byte(text), 0o644)
	}
}

// Our own routers know other networks only, and say so.
func TestOurRoutersRefuseIBGP(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "internal")
	if err := os.CopyFS(dir, os.DirFS("../catalog/anycast3")); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(dir, "drills")); err != nil {
		t.Fatal(err)
	}
	if err := withTopology(t, internal)(dir); err != nil {
		t.Fatal(err)
	}
	file, err := catchment()
	if err != nil {
		t.Fatal(err)
	}
	for _, runner := range []string{"netns", "local"} {
		cmd := exec.CommandContext(t.Context(), file, "lab", "up", dir, "--runner", runner)
		cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+t.TempDir())
		out, err := cmd.CombinedOutput()
		if err == nil || !strings.Contains(string(out), `speak iBGP over "arc -- bow"`) {
			t.Errorf("%s: %v\n%s", runner, err, out)
		}
	}
}
