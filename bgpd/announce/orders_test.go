package announce

import (
	"fmt"
	"testing"
	"time"

	"github.com/catchment-net/catchment/health"
)

// interleavings calls fn with every order in which n POPs fail and heal, each healing after it failed: POP i fails at its first
// place in the order and heals at its second.
func interleavings(n int, fn func(order []int)) {
	var seen [8]int
	var order []int
	var grow func()
	grow = func() {
		if len(order) == 2*n {
			fn(order)
			return
		}
		for i := range n {
			if seen[i] < 2 {
				seen[i]++
				order = append(order, i)
				grow()
				order = order[:len(order)-1]
				seen[i]--
			}
		}
	}
	grow()
}

// play runs one order: what happens is apart from each other by spacing; bit i of dead says that POP i dies.
func play(order []int, spacing, delay time.Duration, dead int, without rule) *sim {
	s := newSim(1, without, delay, 1, 1, 1)
	var failed [8]bool
	for place, i := range order {
		n := s.nodes[i]
		do := func() { s.become(n, health.Up, health.NoCause) }
		if !failed[i] {
			failed[i] = true
			do = func() { s.become(n, health.Down, health.Soft) }
			if dead&(1<<i) != 0 {
				do = func() { s.become(n, health.Down, health.Hard) }
			}
		}
		s.after(time.Duration(place)*spacing, do)
	}
	s.run(time.Duration(len(order))*spacing + 1500*time.Millisecond)
	return s
}

// Every order of failures and heals of three POPs, soft and hard, 0, 50 and 500 ms apart, with gossip from the other side of the
// world, and, with the build tag lab, from nearer places.
func TestEveryOrderOfFailuresAndHeals(t *testing.T) {
	runs, worst := 0, time.Duration(0)
	for _, delay := range delays() {
		for _, spacing := range []time.Duration{0, 50 * time.Millisecond, 500 * time.Millisecond} {
			for _, dead := range deaths() {
				interleavings(3, func(order []int) {
					s := play(order, spacing, delay, dead, 0)
					what := fmt.Sprintf("order %v, %v apart, gossip takes %v, dead %03b", order, spacing, delay, dead)
					for _, p := range s.problems {
						t.Errorf("%s: %s", what, p)
					}
					if s.absent > delay {
						t.Errorf("%s: absent for %v", what, s.absent)
					}
					runs, worst = runs+1, max(worst, s.absent)
					for _, n := range s.nodes {
						if w := n.wants[s.topo.Anycast.Prefixes[0]]; w.State != Announced || w.Kept {
							if a := n.ledger[s.topo.Anycast.Prefixes[0]]; a.Penalty < 1000 {
								t.Errorf("%s: in the end %s is %s (%s)", what, n.Name, w.State, w.Reason)
							}
						}
					}
				})
			}
		}
	}
	t.Logf("%d runs; absent for %v at most", runs, worst)
}
