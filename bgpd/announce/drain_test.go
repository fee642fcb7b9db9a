package announce

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/catchment-net/catchment/health"
	"github.com/catchment-net/catchment/topology"
)

const ms = time.Millisecond

// ladder is a node that is asked again and again, with the standard times of a drain.
type ladder struct {
	t  *testing.T
	in Input
}

func newLadder(t *testing.T, node string) *ladder {
	t.Helper()
	topo := network()
	topo.Drain, topo.Anycast.FlapBudget = topology.Drain{DNS: 200 * ms}, 1e9
	in := Input{Topology: topo, Node: topo.Node(node), View: fleet(topo, epoch), Now: epoch}
	in.Ledger = Decide(in).Ledger
	return &ladder{t, in}
}

// drain asks for a drain of the node, or lifts it.
func (l *ladder) drain(on bool) {
	alter(l.in.View, l.in.Node.Name, func(n *health.NodeView) { n.Draining, n.Why = on, "new kernel" })
}

// at decides at a time after epoch, after a request at another, and compares what holds for all anycast prefixes.
func (l *ladder) at(at, lastRequest time.Duration, want State, step health.Step, next time.Duration) Output {
	l.t.Helper()
	l.in.Now, l.in.LastRequest = epoch.Add(at), epoch.Add(lastRequest)
	for _, n := range l.in.Topology.Nodes() { // all others go on saying what they announce
		alter(l.in.View, n.Name, func(v *health.NodeView) { v.Claimed = l.in.Now })
	}
	out := Decide(l.in)
	l.in.Drains, l.in.Ledger = out.Drains, out.Ledger
	for _, w := range out.Wants[2:] {
		if w.State != want || w.Step != step {
			l.t.Errorf("at %v: %v is %s at step %v (%s), want %s at %v", at, w.Prefix, w.State, w.Step, w.Reason, want, step)
		}
		if shed := slices.Contains(w.Communities, GracefulShutdown); shed != (want == GSHUT) {
			l.t.Errorf("at %v: %v is %s and has GSHUT: %v", at, w.Prefix, w.State, shed)
		}
	}
	if next == 0 && !out.Next.IsZero() || next != 0 && !out.Next.Equal(epoch.Add(next)) {
		l.t.Errorf("at %v: next %v, want epoch+%v", at, out.Next, next)
	}
	if out.Progress.Step != step {
		l.t.Errorf("at %v: the node's step is %v, want %v", at, out.Progress.Step, step)
	}
	if out.Drained() != (want == Withdrawn) {
		l.t.Errorf("at %v: drained is %v", at, out.Drained())
	}
	if attracts := len(out.Claims()) > 0; attracts != (step == health.NoStep && want == Announced) {
		l.t.Errorf("at %v: %s at step %v, and others may count on it: %v", at, want, step, attracts)
	}
	return out
}

// A drain goes down the ladder by the clock and the clients' silence, whoever wants it.
func TestLadder(t *testing.T) {
	for name, wish := range map[string]func(*ladder){
		"an operator": func(l *ladder) { l.drain(true) },
		"SIGTERM":     func(l *ladder) { l.in.Stopping = true },
		"both services stop": func(l *ladder) {
			alter(l.in.View, "ams1", func(n *health.NodeView) { n.Services = both(health.Draining, health.Wish) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLadder(t, "ams1")
			l.at(-time.Second, -2*time.Second, Announced, health.NoStep, 0)
			wish(l)
			l.at(0, -10*ms, Announced, health.StepDNS, 200*ms)
			l.at(199*ms, 150*ms, Announced, health.StepDNS, 200*ms)
			l.at(200*ms, 150*ms, GSHUT, health.StepGSHUT, 1150*ms)
			out := l.at(700*ms, 600*ms, GSHUT, health.StepGSHUT, 1600*ms)
			if p := out.Progress; !p.Since.Equal(epoch.Add(200*ms)) || p.Kept {
				t.Errorf("progress %+v", p)
			}
			l.at(1600*ms, 600*ms, Withdrawn, health.StepWithdrawn, 0)
			out = l.at(1700*ms, 1650*ms, Withdrawn, health.StepWithdrawn, 0) // a straggler does not bring it back
			if p := out.Progress; !p.Since.Equal(epoch.Add(1600 * ms)) {
				t.Errorf("progress %+v", p)
			}
		})
	}
}

// Silence all along still leaves the neighbours time to move; clients that never leave hold a drain up no longer than Max.
func TestLadderBounds(t *testing.T) {
	l := newLadder(t, "ams1")
	l.drain(true)
	l.at(0, -time.Hour, Announced, health.StepDNS, 200*ms)
	l.at(200*ms, -time.Hour, GSHUT, health.StepGSHUT, 500*ms)
	l.at(500*ms, -time.Hour, Withdrawn, health.StepWithdrawn, 0)

	l = newLadder(t, "ams1")
	l.drain(true)
	l.at(0, 0, Announced, health.StepDNS, 200*ms)
	l.at(200*ms, 200*ms, GSHUT, health.StepGSHUT, 1200*ms)
	l.at(29*time.Second, 29*time.Second, GSHUT, health.StepGSHUT, 30*time.Second)
	l.at(30*time.Second, 30*time.Second, GSHUT, health.StepGSHUT, 30*time.Second+200*ms)
	l.at(30*time.Second+200*ms, 30*time.Second+200*ms, Withdrawn, health.StepWithdrawn, 0)
}

// From every step, lifting the drain announces again at once, without a trace; the next drain begins at the top.
func TestUndoAtEveryStep(t *testing.T) {
	for _, test := range []struct {
		step  health.Step
		state State
		at    []time.Duration // decisions on the way there
		next  time.Duration
	}{
		{health.StepDNS, Announced, []time.Duration{0}, 200 * ms},
		{health.StepDNS, Announced, []time.Duration{0, 150 * ms}, 200 * ms},
		{health.StepGSHUT, GSHUT, []time.Duration{0, 200 * ms}, 500 * ms},
		{health.StepGSHUT, GSHUT, []time.Duration{0, 200 * ms, 400 * ms}, 500 * ms},
		{health.StepWithdrawn, Withdrawn, []time.Duration{0, 200 * ms, 500 * ms}, 0},
		{health.StepWithdrawn, Withdrawn, []time.Duration{0, 200 * ms, 500 * ms, time.Hour}, 0},
	} {
		l := newLadder(t, "ams1")
		l.drain(true)
		for _, at := range test.at[:len(test.at)-1] {
			l.in.Now, l.in.LastRequest = epoch.Add(at), epoch.Add(-time.Hour)
			out := Decide(l.in)
			l.in.Drains, l.in.Ledger = out.Drains, out.Ledger
		}
		last := test.at[len(test.at)-1]
		l.at(last, -time.Hour, test.state, test.step, test.next)
		l.drain(false)
		out := l.at(last+time.Second, -time.Hour, Announced, health.NoStep, 0)
		if len(out.Drains) != 0 {
			t.Errorf("%v: drains %v are left after it was lifted", test.step, out.Drains)
		}
		l.drain(true)
		l.at(last+2*time.Second, -time.Hour, Announced, health.StepDNS, last+2*time.Second+200*ms)
	}
}

// What is drained, restarts and is well again is not announced for a moment first.
func TestDrainedFromTheStart(t *testing.T) {
	l := newLadder(t, "ams1")
	l.in.Ledger = nil
	l.drain(true)
	alter(l.in.View, "ams1", func(n *health.NodeView) { n.Services = nil })
	l.at(0, -time.Hour, Withdrawn, health.StepWithdrawn, 0)
	alter(l.in.View, "ams1", func(n *health.NodeView) { n.Services = both(health.Up, health.NoCause) })
	l.at(time.Second, -time.Hour, Withdrawn, health.StepWithdrawn, 0)
	l.drain(false)
	l.at(2*time.Second, -time.Hour, Announced, health.NoStep, 0)

	// So is what died while it was drained.
	l.drain(true)
	alter(l.in.View, "ams1", func(n *health.NodeView) { n.Services = both(health.Down, health.Hard) })
	l.at(3*time.Second, -time.Hour, Withdrawn, health.StepWithdrawn, 0)
	alter(l.in.View, "ams1", func(n *health.NodeView) { n.Services = both(health.Up, health.NoCause) })
	l.at(4*time.Second, -time.Hour, Withdrawn, health.StepWithdrawn, 0)
}

// The last one that announces stays at GSHUT, comes back to it from the end of the ladder, and goes on when another is
// there again. One that stops goes all the way.
func TestTheLastNodeStaysAtGSHUT(t *testing.T) {
	l := newLadder(t, "ams1")
	alone := func(yes bool) {
		for _, name := range []string{"ams2", "nyc1", "sin1"} {
			alter(l.in.View, name, func(n *health.NodeView) {
				n.Claims = l.in.Topology.Anycast.Prefixes
				if yes {
					n.Claims = nil
				}
			})
		}
	}
	l.drain(true)
	alone(true)
	l.at(0, -time.Hour, Announced, health.StepDNS, 200*ms)
	if out := l.at(200*ms, -time.Hour, GSHUT, health.StepGSHUT, 0); !out.Progress.Kept || !strings.Contains(out.Wants[2].Reason, "no other healthy node") {
		t.Errorf("progress %+v, reason %q", out.Progress, out.Wants[2].Reason)
	}
	l.at(time.Hour, -time.Hour, GSHUT, health.StepGSHUT, 0)
	alone(false)
	l.at(time.Hour+ms, -time.Hour, Withdrawn, health.StepWithdrawn, 0)
	alone(true)
	l.at(2*time.Hour, -time.Hour, GSHUT, health.StepGSHUT, 0)
	l.in.Stopping = true
	l.at(2*time.Hour+299*ms, -time.Hour, GSHUT, health.StepGSHUT, 2*time.Hour+300*ms)
	l.at(2*time.Hour+300*ms, -time.Hour, Withdrawn, health.StepWithdrawn, 0)
}

// Where the topology wants two POPs to stay, the drain of a third waits for both; one node of two takes no POP away.
func TestDrainsLeaveMinPOPs(t *testing.T) {
	for _, test := range []struct {
		name    string
		node    string
		minPOPs int
		silent  string // the nodes that announce nothing
		want    State
	}{
		{"two others", "nyc1", 2, "", Withdrawn},
		{"one other, by two nodes", "nyc1", 2, "sin1", GSHUT},
		{"one other suffices", "nyc1", 1, "sin1", Withdrawn},
		{"three wanted", "nyc1", 3, "", GSHUT},
		{"the other node of the POP stays", "ams1", 3, "", Withdrawn},
		{"the other node of the POP announces nothing", "ams1", 2, "ams2 sin1", GSHUT},
	} {
		l := newLadder(t, test.node)
		l.in.Topology.Drain, l.in.Topology.Anycast.MinPOPs = topology.Drain{DNS: -1, Min: -1}, test.minPOPs
		for name := range strings.FieldsSeq(test.silent) {
			alter(l.in.View, name, func(n *health.NodeView) { n.Claims = nil })
		}
		l.drain(true)
		l.in.LastRequest = epoch.Add(-time.Hour)
		if got := Decide(l.in).Wants[2]; got.State != test.want {
			t.Errorf("%s: %s (%s), want %s", test.name, got.State, got.Reason, test.want)
		}
	}
}

// A clock that is set back delays a step by no more than the step.
func TestDrainSurvivesItsClock(t *testing.T) {
	l := newLadder(t, "ams1")
	l.drain(true)
	l.at(0, -time.Hour, Announced, health.StepDNS, 200*ms)
	back := -24 * time.Hour
	l.at(back, back-time.Hour, Announced, health.StepDNS, back+200*ms)
	l.at(back+200*ms, back-time.Hour, GSHUT, health.StepGSHUT, back+500*ms)
	l.at(2*back, 2*back-time.Hour, GSHUT, health.StepGSHUT, 2*back+300*ms)
}

// Without a fleet there is no name server to wait for.
func TestAloneSkipsDNS(t *testing.T) {
	l := newLadder(t, "ams1")
	l.in.Alone, l.in.Stopping = true, true
	l.at(0, -time.Hour, GSHUT, health.StepGSHUT, 300*ms)
}

func TestWhatGSHUTCarries(t *testing.T) {
	l := newLadder(t, "sin1")
	l.in.Topology.Drain = topology.Drain{DNS: -1, Prepend: 3, Communities: []uint32{64496<<16 | 120}, LargeCommunities: [][3]uint32{{64496, 0, 1}}}
	l.drain(true)
	w := l.at(0, 0, GSHUT, health.StepGSHUT, time.Second).Wants[2]
	if !slices.Equal(w.Communities, []uint32{GracefulShutdown, 64496<<16 | 120}) || w.Prepend != 3 ||
		!slices.Equal(w.LargeCommunities, [][3]uint32{{64500, 1, 2}, {64496, 0, 1}}) {
		t.Errorf("got %+v", w)
	}
	l.drain(false)
	if w = l.at(time.Second, 0, Announced, health.NoStep, 0).Wants[2]; w.Prepend != 0 || len(w.Communities) != 0 || len(w.LargeCommunities) != 1 {
		t.Errorf("afterwards %+v", w)
	}
}

// However a drain is asked for and lifted, and whenever clients ask: no step is left out, none is shorter than it must
// be, and what nobody drains is announced without a trace of it.
func TestLadderLeavesNoStepOut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		topo := network()
		topo.Drain, topo.Anycast.FlapBudget = topology.Drain{DNS: 200 * ms}, 1e9
		in := Input{Topology: topo, Node: topo.Node("nyc1"), View: fleet(topo, epoch), Now: epoch}
		in.Ledger = Decide(in).Ledger
		entered := map[health.Step]time.Time{}
		was := health.NoStep
		for range 60 {
			draining := rapid.IntRange(0, 5).Draw(t, "draining") > 0
			alter(in.View, "nyc1", func(n *health.NodeView) { n.Draining = draining })
			for _, n := range topo.Nodes() {
				alter(in.View, n.Name, func(v *health.NodeView) { v.Claimed = in.Now })
			}
			out := Decide(in)
			in.Drains, in.Ledger = out.Drains, out.Ledger
			step := out.Progress.Step
			if step != was {
				entered[step] = in.Now
			}
			for _, w := range out.Wants[2:] {
				want := map[health.Step]State{health.NoStep: Announced, health.StepDNS: Announced, health.StepGSHUT: GSHUT, health.StepWithdrawn: Withdrawn}[step]
				if w.State != want || (step == health.StepGSHUT) != (len(w.Communities) > 0) {
					t.Fatalf("%v at step %v is %s with %v", w.Prefix, step, w.State, w.Communities)
				}
			}
			shed := in.Now.Sub(entered[health.StepGSHUT])
			switch {
			case draining != (step != health.NoStep):
				t.Fatalf("drained: %v, step %v", draining, step)
			case step == was || step == health.NoStep || step == health.StepDNS:
			case step != was+1:
				t.Fatalf("from %v to %v", was, step)
			case step == health.StepGSHUT && in.Now.Sub(entered[health.StepDNS]) < 200*ms:
				t.Fatal("name servers had no time")
			case step == health.StepWithdrawn && (shed < 300*ms || shed < 30*time.Second && in.Now.Sub(in.LastRequest) < time.Second):
				t.Fatalf("withdrawn %v after GSHUT, %v after a request", shed, in.Now.Sub(in.LastRequest))
			}
			was = step
			in.Now = in.Now.Add(time.Duration(rapid.Int64Range(0, int64(2*time.Second)).Draw(t, "step")))
			if rapid.Bool().Draw(t, "request") {
				in.LastRequest = in.Now.Add(-time.Duration(rapid.Int64Range(0, int64(time.Second)).Draw(t, "ago")))
			}
		}
	})
}

// The node is as far as the prefix that is furthest behind.
func TestProgressOfSeveralPrefixes(t *testing.T) {
	a, b := netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("198.51.100.0/24")
	wants := []Want{{Prefix: a, Kept: true}, {Prefix: b}}
	at := epoch.Add
	for _, test := range []struct {
		name string
		a, b Drain
		want health.Progress
	}{
		{"none", Drain{}, Drain{}, health.Progress{}},
		{"one", Drain{}, Drain{Since: at(1)}, health.Progress{Step: health.StepDNS, Since: at(1)}},
		{"one behind", Drain{Since: at(1), GSHUT: at(2)}, Drain{Since: at(1), Gone: at(3)}, health.Progress{Step: health.StepGSHUT, Since: at(2), Kept: true}},
		{"equal", Drain{Since: at(1), GSHUT: at(2)}, Drain{Since: at(1), GSHUT: at(4)}, health.Progress{Step: health.StepGSHUT, Since: at(4), Kept: true}},
	} {
		if got := progress(wants, map[netip.Prefix]Drain{a: test.a, b: test.b}); got != test.want {
			t.Errorf("%s: got %+v, want %+v", test.name, got, test.want)
		}
	}
}
