//go:build linux

package speaker

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"
)

// A cut link is in use again within 2 s of its return, with BIRD and FRR at the other end: cuts of random length at
// random moments. As in a node, the link's loss of carrier resets the session, and its return begins to dial anew.
func TestSessionReturnsWithTheLink(t *testing.T) {
	if cuts < 2 {
		t.Skip("it takes real time: make lab runs it")
	}
	if !inside(t) {
		return
	}
	for i, software := range []string{"bird", "frr"} {
		for j, role := range []string{"we dial", "they dial", "both dial"} {
			t.Run(software+"/"+role, func(t *testing.T) {
				if !installed(software) {
					t.Skip(software + " is not installed")
				}
				if software == "frr" && os.Getenv(rootEnv) == "" {
					t.Skip("zebra needs root")
				}
				t.Parallel()
				here, there := newHost(t, fmt.Sprintf("a%d%d", i, j)), newHost(t, fmt.Sprintf("b%d%d", i, j))
				us := end{
					local: netip.MustParseAddr("198.18.0.1"), remote: netip.MustParseAddr("198.18.0.2"), localAS: 64500, peer: 64496,
					passive: role == "they dial", listen: role == "both dial",
				}
				join(t, here, us.local.String(), there, us.remote.String())
				them := us.other(role == "we dial")
				them.kernel = true
				them.run(t, there, software)
				within := 2 * time.Second
				if us.passive { // it is for the other end's timers
					within *= 2
				}
				cutAgainAndAgain(t, us.run(t, here, "ours"), here, "to-"+there.name, us.remote, within)
			})
		}
	}
}

func cutAgainAndAgain(t *testing.T, p *process, h host, link string, neighbor netip.Addr, within time.Duration) {
	t.Helper()
	await(t, "the first session", func() bool { return p.last().State == Established })
	var took []time.Duration
	for range cuts {
		wait(time.Duration(rand.Int64N(int64(time.Second))))
		h.sh(t, "ip link set %s down", link)
		fmt.Fprintln(p.in, "down", neighbor)
		await(t, "the end", func() bool { return p.last().State != Established })
		wait(time.Duration(rand.Int64N(int64(4 * time.Second))))
		h.sh(t, "ip link set %s up", link)
		back := time.Now()
		fmt.Fprintln(p.in, "up", neighbor)
		await(t, "the session's return", func() bool { return p.last().State == Established })
		took = append(took, p.last().Since.Sub(back))
	}
	slices.Sort(took)
	t.Logf("back after %v (median), %v (p95), %v (worst) of %d", took[len(took)/2], took[len(took)*95/100], took[len(took)-1], len(took))
	if worst := took[len(took)-1]; worst > within && !testing.Short() {
		t.Errorf("back after %v, want %v at most", worst, within)
	}
}

// wait lets real time pass: what is measured is what happens at a random moment.
func wait(d time.Duration) { <-time.After(d) }
