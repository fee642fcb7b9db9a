package announce

import (
	"testing"
	"time"

	"github.com/catchment-net/catchment/health"
)

// chance runs a random schedule of ten to twenty moments within five seconds: POPs of one or two nodes whose services fail and
// heal, drains that are asked for and lifted, gossip that takes up to 300 ms, overtakes itself and gets lost. With
// deaths, services die, too; else gossip is cut, too.
func chance(seed uint64, deaths bool, without rule) *sim {
	s := newSim(seed, without, time.Duration(seed%4)*time.Millisecond, 1+int(seed/7%2), 1, 1)
	s.loss = []float64{0, 0, 0.1}[seed%3]
	limit := []time.Duration{2 * time.Millisecond, 50 * time.Millisecond, 300 * time.Millisecond}[seed/3%3]
	s.delay = func(*simNode, *simNode) time.Duration { return time.Duration(s.rnd.Int64N(int64(limit))) }
	for range 10 + s.rnd.IntN(10) {
		n, pop := s.nodes[s.rnd.IntN(len(s.nodes))], s.topo.POPs[s.rnd.IntN(len(s.topo.POPs))].Name
		var do func()
		switch what := s.rnd.IntN(12); {
		case what < 2:
			do = func() { s.become(n, health.Down, health.Soft) }
		case what < 4: // by its probes, of which the last may be good again
			state, class := health.Down, health.Soft
			if s.rnd.IntN(4) == 0 {
				state, class = health.Up, health.NoCause
			}
			do = func() {
				if s.suspect(n); n.web.Suspect {
					s.after(40*time.Millisecond, func() { s.become(n, state, class) })
				}
			}
		case what < 7:
			do = func() { s.become(n, health.Up, health.NoCause) }
		case what < 8:
			do = func() { s.wish(n, pop, true) }
		case what < 9:
			do = func() { s.wish(n, n.Name, s.rnd.IntN(2) == 0) }
		case what < 10:
			do = func() { s.wish(n, pop, false) }
		case deaths:
			do = func() { s.become(n, health.Down, health.Hard) }
		default:
			do = func() { s.cut[pop] = !s.cut[pop] }
		}
		s.after(time.Duration(s.rnd.Int64N(int64(5*time.Second))), do)
		if s.rnd.IntN(3) == 0 { // in the same moment at another
			other, class := s.nodes[s.rnd.IntN(len(s.nodes))], health.Soft
			if deaths && s.rnd.IntN(2) == 0 {
				class = health.Hard
			}
			s.after(time.Duration(s.rnd.Int64N(int64(5*time.Second))), func() { do(); s.become(other, health.Down, class) })
		}
	}
	s.run(7500 * time.Millisecond)
	return s
}

// However POPs fail, heal and are drained, and however gossip is late, lost or cut, no soft cause and no wish takes the prefix
// away; a neighbour never counts up to where it would suppress the prefix, both families are always together, and
// each decision has a reason.
func TestRandomSchedulesNeverLoseThePrefix(t *testing.T) {
	changes := 0
	for seed := range uint64(schedules) {
		s := chance(seed, false, 0)
		changes += s.changes
		if len(s.problems) > 0 {
			t.Fatalf("seed %d: %v", seed, s.problems)
		}
	}
	t.Logf("%d schedules, %d changes", schedules, changes)
}

// With deaths the prefix may be gone until those who live have heard of it, and no longer.
func TestRandomDeathsLoseThePrefixForOneWayOfGossip(t *testing.T) {
	worst := time.Duration(0)
	for seed := range uint64(schedules) {
		s := chance(seed, true, 0)
		if len(s.problems) > 0 {
			t.Fatalf("seed %d: %v", seed, s.problems)
		}
		if s.loss == 0 {
			worst = max(worst, s.absent)
		}
		if s.loss == 0 && s.absent > 300*time.Millisecond {
			t.Fatalf("seed %d: absent for %v", seed, s.absent)
		}
	}
	t.Logf("%d schedules, absent for %v at most", schedules, worst)
}
