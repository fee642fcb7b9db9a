package announce

import (
	"testing"
	"time"

	"github.com/catchment-net/catchment/health"
)

func (s *sim) soft(i int) { s.become(s.nodes[i], health.Down, health.Soft) }
func (s *sim) hard(i int) { s.become(s.nodes[i], health.Down, health.Hard) }
func (s *sim) heal(i int) { s.become(s.nodes[i], health.Up, health.NoCause) }

func (s *sim) state(i int) State { return s.nodes[i].wants[s.topo.Anycast.Prefixes[0]].State }

// want notes a problem where the nodes' states are not these: A announced, G with GSHUT, W withdrawn.
func (s *sim) want(when, states string) {
	got := ""
	for i := range s.nodes {
		got += map[State]string{Announced: "A", GSHUT: "G", Withdrawn: "W", "": "W"}[s.state(i)]
	}
	if got != states {
		s.problem("states", "%s: %s, want %s", when, got, states)
	}
}

// quick notes a problem where the prefix was gone for longer than gossip takes one way.
func (s *sim) quick(limit time.Duration) {
	if s.absent > limit {
		s.problem("absent", "for %v, want at most %v", s.absent, limit)
	}
}

// flap has a node fail and heal until its budget allows no more, and leaves it ill and away.
func (s *sim) flap(i int) {
	for range 2 {
		s.soft(i)
		s.run(3 * time.Second)
		s.heal(i)
		s.run(3 * time.Second)
	}
	s.soft(i)
	s.run(3 * time.Second)
}

// second is far more than gossip and ranks take in these scenes.
const second = time.Second

// Each rule, shown by a scene that goes wrong without it.
func TestEachRule(t *testing.T) {
	const delay = 40 * time.Millisecond
	for _, scene := range []struct {
		name  string
		rules []rule // the scene goes wrong without any of them
		play  func(without rule) *sim
	}{
		{"all fall ill in the same moment, and none leaves", []rule{receipts, healthyClaims}, func(without rule) *sim {
			s := newSim(1, without, delay, 1, 1, 1)
			s.soft(0)
			s.soft(1)
			s.soft(2)
			s.run(second)
			s.want("all ill", "AAA")
			s.heal(1)
			s.run(3 * second)
			s.want("one is well again", "WAW")
			return s
		}},
		{"all fall ill and well together", []rule{linger}, func(without rule) *sim {
			s := newSim(1, without, delay, 1, 1, 1)
			for i := range 3 {
				s.soft(i)
				s.run(10 * time.Millisecond)
			}
			s.run(second)
			s.want("all ill", "AAA")
			before := s.changes
			for i := range 3 {
				s.heal(i)
				s.run(100 * time.Millisecond)
			}
			s.run(4 * second)
			s.want("all well", "AAA")
			if s.changes > before {
				s.problem("states", "%d changes when all had the same fate", s.changes-before)
			}
			return s
		}},
		{"one leaves, and the others fall ill before they hear of each other", []rule{receipts}, func(without rule) *sim {
			s := newSim(1, without, delay, 1, 1, 1)
			s.soft(0)
			s.run(200 * time.Millisecond)
			s.want("one is ill", "WAA")
			s.soft(1)
			s.run(delay - time.Millisecond)
			s.soft(2)
			s.run(second)
			s.want("all are ill", "AAA")
			return s
		}},
		{"all fail their first probes at once, and then the last ones", []rule{suspicion}, func(without rule) *sim {
			s := newSim(1, without, delay/4, 1, 1, 1)
			for _, n := range s.nodes {
				s.suspect(n)
			}
			s.run(delay)
			s.want("all are suspect", "AAA")
			for i := range 3 {
				s.soft(i)
			}
			s.run(second)
			s.want("all are ill", "AAA")
			return s
		}},
		{"cut off while ill", []rule{receipts}, func(without rule) *sim {
			s := newSim(1, without, delay, 1, 1, 1)
			s.cut["a"], s.cut["b"] = true, false
			s.soft(0)
			s.run(50 * time.Millisecond)
			s.soft(1)
			s.soft(2)
			s.run(5 * second)
			s.cut["a"] = false
			s.run(second)
			s.want("mended", "AAA")
			return s
		}},
		{"the one that was left to dies", []rule{comeBack}, func(without rule) *sim {
			s := newSim(1, without, delay, 1, 1)
			s.soft(0)
			s.run(second)
			s.want("one is ill", "WA")
			s.hard(1)
			s.run(second)
			s.want("the other is dead", "AW")
			s.quick(delay)
			return s
		}},
		{"the one that was left to falls ill", []rule{comeBack}, func(without rule) *sim {
			s := newSim(1, without, delay, 1, 1, 1)
			s.soft(0)
			s.run(second)
			s.soft(1)
			s.run(second)
			s.want("two are ill", "WWA")
			s.soft(2)
			s.run(second)
			s.want("all are ill", "AAA")
			return s
		}},
		{"the one that was left to loses its power", []rule{freshClaims}, func(without rule) *sim {
			s := newSim(1, without, delay, 1, 1)
			s.soft(0)
			s.run(second)
			s.kill(s.nodes[1])
			s.run(3 * second)
			s.want("the other has no power", "AW")
			return s
		}},
		{"all die at once", []rule{hardFloor}, func(without rule) *sim {
			s := newSim(1, without, delay, 1, 1, 1)
			s.hard(0)
			s.hard(1)
			s.hard(2)
			s.run(second)
			s.want("all are dead", "AAA")
			s.quick(delay)
			return s
		}},
		{"two die at once while the third is away", []rule{comeBack}, func(without rule) *sim {
			s := newSim(1, without, delay, 1, 1, 1)
			s.soft(0)
			s.run(second)
			s.hard(1)
			s.hard(2)
			s.run(second)
			s.want("one lives", "AWW")
			s.quick(delay)
			return s
		}},
		{"all are drained, one after the other and at once", []rule{drainFloor}, func(without rule) *sim {
			s := newSim(1, without, delay, 1, 1, 1)
			s.wish(s.nodes[0], "a", true)
			s.run(2 * second)
			s.want("one is drained", "WAA")
			s.wish(s.nodes[1], "b", true)
			s.wish(s.nodes[2], "c", true)
			s.run(3 * second)
			s.want("all are drained", "GGG")
			return s
		}},
		{"two are drained while gossip is cut", []rule{receipts}, func(without rule) *sim {
			s := newSim(1, without, delay, 1, 1)
			s.cut["a"] = true
			s.wish(s.nodes[0], "a", true)
			s.wish(s.nodes[1], "b", true)
			s.run(4 * second)
			s.cut["a"] = false
			s.run(10 * second)
			s.want("both are drained", "GG")
			return s
		}},
		{"ill at the first start", []rule{firstGood}, func(without rule) *sim {
			s := newNet(1, without, delay, 1, 1)
			s.soft(0)
			s.run(second)
			s.want("the first probes failed", "WW")
			s.heal(0)
			s.want("one good probe", "AW")
			s.hard(1)
			s.run(second)
			s.want("the other died before it was good", "AW")
			return s
		}},
		{"two leave at the same moment", []rule{stagger}, func(without rule) *sim {
			s := newSim(1, without, time.Millisecond, 1, 1, 1)
			s.soft(0)
			s.soft(1)
			s.run(second)
			s.want("two are ill", "WWA")
			if gap := s.nodes[0].left.Sub(s.nodes[1].left).Abs(); gap < Stagger-10*time.Millisecond || gap > Stagger+10*time.Millisecond {
				s.problem("spacing", "%v, want about %v", gap, Stagger)
			}
			return s
		}},
		{"an origin fails", []rule{ownCauses}, func(without rule) *sim {
			s := newSim(1, without, delay, 1, 1)
			s.nodes[0].foreign = true
			s.become(s.nodes[0], health.Down, health.Shared)
			s.run(second)
			s.want("its origin is gone", "AA")
			return s
		}},
		{"one flaps", []rule{budget}, func(without rule) *sim {
			s := newSim(1, without, delay, 1, 1, 1)
			s.flap(0)
			s.want("it has flapped twice", "WAA")
			s.heal(0)
			s.run(10 * time.Minute)
			s.want("the budget is spent", "WAA")
			s.run(10 * time.Minute)
			s.want("the penalty is halved", "AAA")
			return s
		}},
		{"the others die while one waits for its budget", []rule{budgetFloor}, func(without rule) *sim {
			s := newSim(1, without, delay, 1, 1, 1)
			s.flap(0)
			s.heal(0)
			s.run(second)
			s.want("the budget is spent", "WAA")
			s.hard(1)
			s.hard(2)
			s.run(second)
			s.want("nobody else is left", "AWW")
			s.quick(delay)
			s.heal(1)
			s.run(second)
			s.want("nor held back once it is there", "AAW")
			return s
		}},
		{"both families of two that leave at the same moment", []rule{familiesTogether}, func(without rule) *sim {
			s := newSim(1, without, time.Millisecond, 1, 1, 1)
			for i := range 2 {
				s.soft(i)
			}
			s.run(100 * time.Millisecond)
			s.heal(0)
			s.heal(1)
			for range 3 {
				s.run(2 * second)
				s.soft(2)
				s.soft(0)
				s.run(second)
				s.heal(0)
				s.heal(2)
			}
			return s
		}},
	} {
		t.Run(scene.name, func(t *testing.T) {
			for _, p := range scene.play(0).problems {
				t.Error(p)
			}
			for _, r := range scene.rules {
				s := scene.play(r)
				if len(s.problems) == 0 {
					t.Errorf("nothing goes wrong without rule %b", r)
				}
				t.Logf("without rule %b: %v", r, s.problems)
			}
		})
	}
}

// With min_pops 2, of four POPs the last two that fall ill stay.
func TestMinPOPs(t *testing.T) {
	for spacing := range 4 {
		s := newSim(1, 0, 40*time.Millisecond, 1, 1, 1, 1)
		s.topo.Anycast.MinPOPs = 2
		for i := range 4 {
			s.soft(i)
			s.run(time.Duration(spacing) * 500 * time.Millisecond)
			there := 0
			for j := range 4 {
				if s.state(j) == Announced {
					there++
				}
			}
			if there < 2 {
				t.Errorf("%d announce", there)
			}
		}
		s.run(2 * second)
		s.want("all are ill", "AAAA")
		if len(s.problems) > 0 {
			t.Error(s.problems)
		}
	}
}

// Whose first bad probe is further from the last one than the nearest POP is leaves in the moment of the last one; and a POP
// that was left to is not doubted by those who have left for one bad probe.
func TestASuspicionAsksEarly(t *testing.T) {
	s := newSim(1, 0, 20*time.Millisecond, 1, 1, 1)
	s.suspect(s.nodes[0])
	s.run(40 * time.Millisecond)
	s.want("suspect", "AAA")
	s.soft(0)
	s.want("ill", "WAA")
	s.suspect(s.nodes[1])
	s.suspect(s.nodes[2])
	s.run(second)
	s.want("others are suspect", "WAA")
	s.heal(1)
	s.heal(2)
	s.run(second)
	s.want("and are not ill", "WAA")
	if s.changes != 1 || len(s.problems) > 0 {
		t.Errorf("%d changes, %v", s.changes, s.problems)
	}
}

// Nothing changes while nothing happens, for hours; with the build tag lab for a day.
func TestSteadyForHours(t *testing.T) {
	s := newSim(1, 0, 40*time.Millisecond, steadyNodes, 1)
	s.every = steadyEvery
	s.run(steadyFor)
	if s.changes != 0 || len(s.problems) > 0 {
		t.Errorf("%d changes, %v", s.changes, s.problems)
	}
}

// One that alone is ill waits for no more than one answer from the nearest POP, whichever it is.
func TestALoneIllnessWaitsForOneRoundTrip(t *testing.T) {
	for i := range 3 {
		s := newSim(1, 0, 0, 1, 1, 1)
		s.delay = func(a, b *simNode) time.Duration {
			if a.POP.Index+b.POP.Index == 1 {
				return time.Millisecond // a and b are near each other
			}
			return 150 * time.Millisecond
		}
		s.soft(i)
		began := s.now
		s.run(second)
		if took, want := s.nodes[i].left.Sub(began), []time.Duration{2 * time.Millisecond, 2 * time.Millisecond, 300 * time.Millisecond}[i]; took != want {
			t.Errorf("%s left after %v, want %v", s.nodes[i].Name, took, want)
		}
	}
}
