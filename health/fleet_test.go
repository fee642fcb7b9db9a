package health_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/catchment-net/catchment/health"
	"github.com/catchment-net/catchment/topology"
)

// network makes a topology of POPs "a", "b", … with so many nodes each: a1, a2 …
func network(nodes ...int) *topology.Topology {
	t := &topology.Topology{}
	for i, count := range nodes {
		p := &topology.POP{Name: string(rune('a' + i)), Index: i}
		for n := range count {
			p.Nodes = append(p.Nodes, &topology.Node{Name: fmt.Sprintf("%s%d", p.Name, n+1), POP: p, Capacity: float64(100 * (n + 1))})
		}
		t.POPs = append(t.POPs, p)
	}
	return t
}

func up() health.ServiceView { return health.ServiceView{State: health.Up} }

func down(text string) health.ServiceView {
	return health.ServiceView{State: health.Down, Cause: health.Cause{Class: health.Soft, Text: text, Since: epoch}}
}

// scene is a fleet as one node sees it, told in words.
type scene struct {
	t     *testing.T
	now   time.Time
	fleet *health.Fleet
	seq   uint64
}

func newScene(t *testing.T, topo *topology.Topology, self string) *scene {
	t.Helper()
	return &scene{t: t, now: epoch, fleet: health.NewFleet(topo, self)}
}

// says merges a node's word: "up", "down", "draining" for both services, then what it observes: "b+" or "b-".
func (s *scene) says(node, word string, observed ...string) {
	s.t.Helper()
	s.seq++
	r := health.Record{Node: node, Incarnation: 1, Seq: s.seq, Services: map[health.Service]health.ServiceView{}}
	for _, svc := range health.Services {
		switch word {
		case "up":
			r.Services[svc] = up()
		case "down":
			r.Services[svc] = down("broken")
		case "draining":
			r.Services[svc], r.Draining, r.Why = up(), true, "new kernel"
		}
		for _, o := range observed {
			r.Observed = append(r.Observed, health.Observation{POP: o[:1], Service: svc, OK: o[1] == '+', Text: "silent"})
		}
	}
	if !s.fleet.Merge(s.now, r) {
		s.t.Fatalf("record of %q is no news", node)
	}
}

// sees notes own observations: "b+" or "b-".
func (s *scene) sees(observed ...string) {
	for _, o := range observed {
		for _, svc := range health.Services {
			s.fleet.SetObserved(s.now, o[:1], svc, o[1] == '+', "silent")
		}
	}
}

func (s *scene) own(v health.ServiceView) {
	for _, svc := range health.Services {
		s.fleet.SetOwn(s.now, svc, v)
	}
}

func (s *scene) web(pop string) health.ServiceView {
	return s.fleet.View(s.now).POPs[pop].Services[health.Web]
}

func TestPOPJudgement(t *testing.T) {
	for _, tt := range []struct {
		rule string
		play func(s *scene)
		want map[string]health.State // seen from a1; POPs a (self), b, c, d, e of one node each
	}{
		{"nothing is known", func(*scene) {}, map[string]health.State{"a": health.Unknown, "b": health.Unknown}},
		{"own word", func(s *scene) { s.own(up()) }, map[string]health.State{"a": health.Up}},
		{"a node's word", func(s *scene) { s.says("b1", "up"); s.says("c1", "down") }, map[string]health.State{"b": health.Up, "c": health.Down}},
		{"a word older than 2 s does not count", func(s *scene) {
			s.says("b1", "up")
			s.now = s.now.Add(2*time.Second + 1)
		}, map[string]health.State{"b": health.Unknown}},
		{"one of just 2 s does", func(s *scene) {
			s.says("b1", "up")
			s.now = s.now.Add(2 * time.Second)
		}, map[string]health.State{"b": health.Up}},
		{"a drain by the node's word", func(s *scene) { s.says("b1", "draining") }, map[string]health.State{"b": health.Draining}},
		{"a drain by intent", func(s *scene) {
			s.says("b1", "up")
			s.fleet.SetIntent(s.now, health.Intent{Target: "b", Kind: health.IntentDrain})
		}, map[string]health.State{"b": health.Draining}},
		{"a drain of the only node drains the POP", func(s *scene) {
			s.says("b1", "up")
			s.fleet.SetIntent(s.now, health.Intent{Target: "b1", Kind: health.IntentDrain})
		}, map[string]health.State{"b": health.Draining}},
		{"down stays down when drained", func(s *scene) {
			s.says("b1", "down")
			s.fleet.SetIntent(s.now, health.Intent{Target: "b", Kind: health.IntentDrain})
		}, map[string]health.State{"b": health.Down}},
		{"a drain that was lifted here is over, whatever the node still says", func(s *scene) {
			s.fleet.SetIntent(s.now, health.Intent{Target: "b", Kind: health.IntentDrain})
			s.fleet.SetIntent(s.now, health.Intent{Target: "b", Lifted: true})
			s.says("b1", "draining")
		}, map[string]health.State{"b": health.Up}},
		{"a drain that has expired is over", func(s *scene) {
			s.says("b1", "up")
			s.fleet.SetIntent(s.now, health.Intent{Target: "b", Kind: health.IntentDrain, Expires: s.now.Add(time.Second)})
			s.now = s.now.Add(time.Second)
		}, map[string]health.State{"b": health.Up}},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			s := newScene(t, network(1, 1, 1, 1, 1), "a1")
			tt.play(s)
			for pop, want := range tt.want {
				if got := s.web(pop); got.State != want {
					t.Errorf("%s: got %v (%s), want %v", pop, got.State, got.Cause.Text, want)
				}
			}
		})
	}
}

// TestObserversOverruleWords is about POP x of a network of six, seen from one that does not observe it.
func TestObserversOverruleWords(t *testing.T) {
	topo := network(1, 1, 1, 1, 1, 1)
	const x = "f"
	observers := health.Observers(topo, x)
	var outsider string
	for _, p := range topo.POPs {
		if p.Name != x && !slices.Contains(observers, p.Name) {
			outsider = p.Name
		}
	}
	for _, tt := range []struct {
		rule  string
		word  string // of x; empty: it is silent
		votes string // of the three observers: + - or . for silent
		own   string // of the outsider's own probe
		want  health.State
		text  string
	}{
		{"all see it well", "up", "+++", "", health.Up, ""},
		{"one does not", "up", "-++", "", health.Up, ""},
		{"most do not", "up", "--+", "", health.Down, "2 of 3 observers"},
		{"none does", "up", "---", "", health.Down, "3 of 3 observers"},
		{"they are split", "up", "-+.", "", health.Up, ""},
		{"only one is heard, and sees it fail", "up", "-..", "", health.Down, "1 of 1 observers"},
		{"none is heard: the word stands", "up", "...", "", health.Up, ""},
		{"none is heard: the own probe counts", "up", "...", "-", health.Down, "1 of 1 observers: " + outsider},
		{"the own probe of one that is no observer does not overrule observers", "up", "+++", "-", health.Up, ""},
		{"its own word says down: nobody overrules that", "down", "+++", "", health.Down, "broken"},
		{"silent, but seen well", "", "+++", "", health.Up, ""},
		{"silent and failing", "", "--+", "", health.Down, "2 of 3 observers"},
		{"silent and split", "", "-+.", "", health.Degraded, "observers disagree"},
		{"silent, own probe good", "", "...", "+", health.Up, ""},
		{"silent, own probe bad", "", "...", "-", health.Down, outsider + ": silent"},
		{"silent, and nobody knows anything", "", "...", "", health.Unknown, ""},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			s := newScene(t, topo, outsider+"1")
			s.own(up())
			if tt.word != "" {
				s.says(x+"1", tt.word)
			}
			for i, o := range observers {
				if v := tt.votes[i]; v != '.' {
					s.says(o+"1", "up", x+string(v))
				}
			}
			if tt.own != "" {
				s.sees(x + tt.own)
			}
			got := s.web(x)
			if got.State != tt.want || !strings.Contains(got.Cause.Text, tt.text) {
				t.Errorf("got %v (%s), want %v (%s)", got.State, got.Cause.Text, tt.want, tt.text)
			}
		})
	}
}

func TestObservationsAge(t *testing.T) {
	s := newScene(t, network(1, 1, 1), "a1")
	s.own(up())
	s.says("b1", "up")
	s.sees("b-") // c, the other observer of b, is silent
	if got := s.web("b"); got.State != health.Down {
		t.Fatalf("with a fresh verdict: got %v, want down", got.State)
	}
	s.now = s.now.Add(1500 * time.Millisecond)
	s.says("b1", "up")
	// c relays a verdict that was 1.9 s old when it spoke.
	s.seq++
	s.fleet.Merge(s.now, health.Record{Node: "c1", Incarnation: 1, Seq: s.seq, Observed: []health.Observation{
		{POP: "b", Service: health.Web, Age: 1900 * time.Millisecond, Text: "old"},
	}})
	if next := s.fleet.NextCheck(s.now); next.Sub(s.now) > 101*time.Millisecond {
		t.Errorf("NextCheck: in %v, want when the relayed verdict is 2 s old", next.Sub(s.now))
	}
	s.now = s.now.Add(501 * time.Millisecond) // now both are
	if got := s.web("b"); got.State != health.Up {
		t.Errorf("when all verdicts are old: got %v (%s), want up", got.State, got.Cause.Text)
	}
}

func TestTheCutOffKeepsItsOwnPOPAndTheOthersLoseOne(t *testing.T) {
	topo := network(1, 1, 1)
	alone := newScene(t, topo, "a1")
	alone.own(up())
	alone.says("b1", "up", "a+", "c+")
	alone.says("c1", "up", "a+", "b+")
	alone.now = alone.now.Add(3 * time.Second)
	alone.sees("b-", "c-")
	if a, b, c := alone.web("a").State, alone.web("b").State, alone.web("c").State; a != health.Up || b != health.Down || c != health.Down {
		t.Errorf("the one cut off: got %v %v %v, want up down down", a, b, c)
	}
	rest := newScene(t, topo, "b1")
	rest.own(up())
	rest.says("c1", "up", "a-", "b+")
	rest.sees("a-", "c+")
	if a, b, c := rest.web("a").State, rest.web("b").State, rest.web("c").State; a != health.Down || b != health.Up || c != health.Up {
		t.Errorf("the rest: got %v %v %v, want down up up", a, b, c)
	}
}

func TestCapacityOfPOPs(t *testing.T) {
	for _, tt := range []struct {
		rule   string
		play   func(s *scene)
		state  health.State
		weight float64
	}{
		{"nothing is heard", func(*scene) {}, health.Unknown, 1},
		{"all well", func(s *scene) { s.says("b1", "up"); s.says("b2", "up") }, health.Up, 1},
		{"the larger is down", func(s *scene) { s.says("b1", "up"); s.says("b2", "down") }, health.Degraded, 1. / 3},
		{"the smaller is silent", func(s *scene) { s.says("b2", "up") }, health.Degraded, 2. / 3},
		{"one drains", func(s *scene) { s.says("b1", "draining"); s.says("b2", "up") }, health.Degraded, 2. / 3},
		{"both are down", func(s *scene) { s.says("b1", "down"); s.says("b2", "down") }, health.Down, 0},
		{"both drain", func(s *scene) { s.says("b1", "draining"); s.says("b2", "draining") }, health.Draining, 0},
		{"one drains, one is down", func(s *scene) { s.says("b1", "draining"); s.says("b2", "down") }, health.Draining, 0},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			s := newScene(t, network(1, 2), "a1")
			tt.play(s)
			v := s.fleet.View(s.now)
			if got := v.POPs["b"]; got.Services[health.Web].State != tt.state || got.Weight != tt.weight {
				t.Errorf("got %v, weight %v; want %v, %v", got.Services[health.Web].State, got.Weight, tt.state, tt.weight)
			}
		})
	}
}

func TestViewIsNewOnlyWhenSomethingChanged(t *testing.T) {
	s := newScene(t, network(1, 1, 1), "a1")
	first := s.fleet.View(s.now)
	if first.Seq == 0 {
		t.Error("the first view has no number")
	}
	step := func(what string, wantNew bool, fn func()) {
		t.Helper()
		before := s.fleet.View(s.now)
		fn()
		after := s.fleet.View(s.now)
		if (before != after) != wantNew {
			t.Errorf("%s: new view %t, want %t", what, before != after, wantNew)
		}
		if before != after && after.Seq != before.Seq+1 {
			t.Errorf("%s: number %d after %d", what, after.Seq, before.Seq)
		}
	}
	step("nothing", false, func() {})
	step("own state", true, func() { s.own(up()) })
	step("the same state", false, func() { s.own(up()) })
	step("a word", true, func() { s.says("b1", "up") })
	step("the same word 100 ms later", false, func() { s.now = s.now.Add(100 * time.Millisecond); s.says("b1", "up") })
	step("the same word 500 ms later: claims must not look old", true, func() { s.now = s.now.Add(500 * time.Millisecond); s.says("b1", "up") })
	step("a claim", true, func() { s.fleet.SetClaims(s.now, []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}) })
	step("a good verdict", false, func() { s.sees("b+") })
	step("a bad one", true, func() { s.sees("b-") })
	step("a word has aged", true, func() { s.now = s.fleet.NextCheck(s.now); s.now = s.now.Add(2 * time.Second) })
	step("a POP more in the topology", true, func() { s.fleet.Adopt(network(1, 1, 1, 1)) })
	if next := s.fleet.NextCheck(s.now); !next.After(s.now) {
		t.Errorf("NextCheck: got %v, want after %v", next, s.now)
	}
}

func TestClaimsStayYoungInAViewThatIsHeld(t *testing.T) {
	s := newScene(t, network(1, 1), "a1")
	prefix := netip.MustParsePrefix("192.0.2.0/24")
	var held *health.View
	for range 40 { // 20 s of records every 500 ms, and nothing else
		s.seq++
		s.fleet.Merge(s.now, health.Record{Node: "b1", Incarnation: 1, Seq: s.seq, Claims: []netip.Prefix{prefix}})
		held = s.fleet.View(s.now)
		for _, later := range []time.Duration{0, 250 * time.Millisecond, 499 * time.Millisecond} {
			if n := held.Claimants(prefix, "a", s.now.Add(later), 2*time.Second); n != 1 {
				t.Fatalf("claimants at %v: got %d, want 1", s.now.Add(later).Sub(epoch), n)
			}
		}
		s.now = s.now.Add(500 * time.Millisecond)
	}
	if n := held.Claimants(prefix, "a", s.now.Add(3*time.Second), 2*time.Second); n != 0 {
		t.Errorf("claimants when silent: got %d, want 0", n)
	}
}

func TestIntents(t *testing.T) {
	f := health.NewFleet(network(1, 1), "a1")
	fast := epoch.Add(time.Hour) // the clock of a node that is wrong
	f.MergeIntent(epoch, health.Intent{Target: "b", Kind: health.IntentDrain, Set: fast, By: "eve"})
	if got := f.SetIntent(epoch, health.Intent{Target: "b", Lifted: true}); !got.Lifted || !got.Set.After(fast) {
		t.Errorf("a wish made here must hold whatever the others' clocks say: got %+v", got)
	}
	if f.MergeIntent(epoch, health.Intent{Target: "b", Kind: health.IntentDrain, Set: fast, By: "eve"}) {
		t.Error("an intent that was lifted came back")
	}
	if f.MergeIntent(epoch, health.Intent{Target: "nowhere", Kind: health.IntentDrain, Set: fast}) {
		t.Error("an intent on an unknown target was kept")
	}
	if got := f.Intents(); len(got) != 1 || got[0].InForce(epoch) {
		t.Errorf("intents: got %+v, want the lifted one", got)
	}
}

func TestRecordOfOneFleetIsTheWordInAnother(t *testing.T) {
	topo := network(1, 1, 1)
	b := health.NewFleet(topo, "b1")
	b.SetOwn(epoch, health.Web, down("3 probes failed: timeout"))
	b.SetClaims(epoch, []netip.Prefix{netip.MustParsePrefix("2001:db8::/48"), netip.MustParsePrefix("192.0.2.0/24")})
	b.SetObserved(epoch, "a", health.Web, true, "ignored")
	b.SetObserved(epoch.Add(-3*time.Second), "c", health.Web, false, "too old to tell")
	b.SetIntent(epoch, health.Intent{Target: "b", Kind: health.IntentDrain, Why: "disk"})

	r := b.Record(epoch.Add(1500 * time.Microsecond))
	wire, err := r.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	var got health.Record
	if err := got.UnmarshalBinary(wire); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(r, got, cmpopts.EquateComparable(netip.Prefix{}), cmpopts.EquateApproxTime(time.Millisecond)); diff != "" {
		t.Errorf("record changed on the wire:\n%s", diff)
	}
	a := health.NewFleet(topo, "a1")
	if !a.Merge(epoch, got) || a.Merge(epoch, got) {
		t.Error("a record must be news once")
	}
	if !a.Merge(epoch, b.Record(epoch)) {
		t.Error("a later record must be news")
	}
	n := a.View(epoch).Nodes["b1"]
	if !n.Heard || !n.Draining || n.Why != "disk" || len(n.Claims) != 2 || n.Services[health.Web].State != health.Down {
		t.Errorf("node view: got %+v", n)
	}
	if len(got.Observed) != 1 {
		t.Errorf("observed: got %+v, want only the fresh one", got.Observed)
	}
}

func TestHigherIncarnationWins(t *testing.T) {
	f := health.NewFleet(network(1, 1), "a1")
	f.Merge(epoch, health.Record{Node: "b1", Incarnation: 5, Seq: 1000})
	if f.Merge(epoch, health.Record{Node: "b1", Incarnation: 4, Seq: 2000}) {
		t.Error("an earlier life of the node came back")
	}
	if !f.Merge(epoch, health.Record{Node: "b1", Incarnation: 6, Seq: 1}) {
		t.Error("a new life of the node was not heard")
	}
	if f.Merge(epoch, health.Record{Node: "a1", Incarnation: 9, Seq: 1}) || f.Merge(epoch, health.Record{Node: "zz", Incarnation: 9, Seq: 1}) {
		t.Error("a record of this node itself, or of an unknown one, was taken")
	}
	b := health.NewFleet(network(1, 1), "b1")
	b.SetIncarnation(7)
	if r := b.Record(epoch); r.Incarnation != 7 || r.Seq != 1 {
		t.Errorf("record: got %d/%d, want 7/1", r.Incarnation, r.Seq)
	}
}
