package health_test

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/catchment-net/catchment/health"
	"github.com/catchment-net/catchment/topology"
)

// sameJudgement compares Views of different nodes, or made along different ways: all but who looks, the number of the
// view, since when it has looked so, and what each was told of itself.
var sameJudgement = []cmp.Option{
	cmpopts.IgnoreFields(health.View{}, "Self", "Seq"),
	cmpopts.IgnoreFields(health.Cause{}, "Since"),
	cmpopts.IgnoreFields(health.NodeView{}, "Knows"),
	cmpopts.EquateComparable(netip.Prefix{}),
	cmpopts.EquateEmpty(),
	cmpopts.EquateApprox(0, 1e-9),
}

func drawState(t *rapid.T) health.ServiceView {
	v := health.ServiceView{State: health.State(rapid.IntRange(0, int(health.Down)).Draw(t, "state"))}
	if v.State != health.Up {
		v.Cause.Text = rapid.SampledFrom([]string{"timeout", "refused"}).Draw(t, "cause")
	}
	return v
}

func drawRecord(t *rapid.T, topo *topology.Topology) health.Record {
	nodes := topo.Nodes()
	r := health.Record{
		Node:        nodes[rapid.IntRange(0, len(nodes)-1).Draw(t, "node")].Name,
		Incarnation: uint64(rapid.IntRange(1, 2).Draw(t, "incarnation")),
		Seq:         uint64(rapid.IntRange(1, 5).Draw(t, "seq")),
	}
	// What a node says under one number is always the same.
	rnd := rand.New(rand.NewPCG(r.Incarnation*10+r.Seq, uint64(r.Node[0])<<8|uint64(r.Node[1])))
	r.Draining = rnd.IntN(4) == 0
	r.Services = map[health.Service]health.ServiceView{}
	for _, s := range health.Services {
		r.Services[s] = health.ServiceView{State: health.State(rnd.IntN(int(health.Down) + 1))}
		for _, p := range topo.POPs {
			if p != topo.Node(r.Node).POP && rnd.IntN(2) == 0 {
				r.Observed = append(r.Observed, health.Observation{POP: p.Name, Service: s, OK: rnd.IntN(2) == 0, Text: "silent"})
			}
		}
	}
	if rnd.IntN(2) == 0 {
		r.Claims = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	}
	return r
}

func drawIntent(t *rapid.T) health.Intent {
	return health.Intent{
		Target: rapid.SampledFrom([]string{"a", "b", "a1", "b2"}).Draw(t, "target"),
		Kind:   health.IntentDrain, By: rapid.SampledFrom([]string{"x", "y"}).Draw(t, "by"),
		Set:    epoch.Add(time.Duration(rapid.IntRange(0, 3).Draw(t, "set")) * time.Second),
		Lifted: rapid.Bool().Draw(t, "lifted"),
	}
}

// TestMergeOrderDoesNotMatter: records and intents that come in any order, grouped and repeated in any way, make the
// same View (merging is commutative, associative and idempotent).
func TestMergeOrderDoesNotMatter(t *testing.T) {
	topo := network(2, 2, 1, 1, 1)
	rapid.Check(t, func(t *rapid.T) {
		records := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) health.Record { return drawRecord(t, topo) }), 0, 30).Draw(t, "records")
		intents := rapid.SliceOfN(rapid.Custom(drawIntent), 0, 8).Draw(t, "intents")
		play := func(records []health.Record, intents []health.Intent) *health.View {
			f := health.NewFleet(topo, "e1")
			for i := range max(len(records), len(intents)) {
				if i < len(records) {
					f.Merge(epoch, records[i])
				}
				if i < len(intents) {
					f.MergeIntent(epoch, intents[i])
				}
				if i%3 == 0 {
					f.View(epoch) // looking in between changes nothing
				}
			}
			return f.View(epoch)
		}
		one := play(records, intents)
		twice := slices.Concat(records, rapid.Permutation(records).Draw(t, "order"))
		other := play(rapid.Permutation(twice).Draw(t, "order of all"), rapid.Permutation(slices.Concat(intents, intents)).Draw(t, "order of intents"))
		if diff := cmp.Diff(one, other, sameJudgement...); diff != "" {
			t.Fatalf("the order of merging changed the view:\n%s", diff)
		}
	})
}

// TestAllNodesAgree: nodes that know the same records and intents at the same time judge every POP alike. (The one
// exception is documented at popView: where no observer is heard, a node goes by its own probe. Here only observers
// probe, and all are heard.)
func TestAllNodesAgree(t *testing.T) {
	topo := network(1, 2, 1, 1, 1, 1)
	rapid.Check(t, func(t *rapid.T) {
		fleets := map[string]*health.Fleet{}
		intents := rapid.SliceOfN(rapid.Custom(drawIntent), 0, 4).Draw(t, "intents")
		for _, n := range topo.Nodes() {
			f := health.NewFleet(topo, n.Name)
			for _, s := range health.Services {
				f.SetOwn(epoch, s, drawState(t))
				for _, p := range topo.POPs {
					if slices.Contains(health.Observers(topo, p.Name), n.POP.Name) {
						f.SetObserved(epoch, p.Name, s, rapid.Bool().Draw(t, "ok"), "silent")
					}
				}
			}
			for _, i := range intents {
				f.MergeIntent(epoch, i)
			}
			fleets[n.Name] = f
		}
		for _, from := range topo.Nodes() {
			wire, err := fleets[from.Name].Record(epoch).MarshalBinary()
			if err != nil {
				t.Fatal(err)
			}
			for _, to := range topo.Nodes() {
				var r health.Record
				if err := r.UnmarshalBinary(wire); err != nil {
					t.Fatal(err)
				}
				fleets[to.Name].Merge(epoch, r)
			}
		}
		want := fleets["a1"].View(epoch)
		for _, n := range topo.Nodes() {
			if diff := cmp.Diff(want, fleets[n.Name].View(epoch), sameJudgement...); diff != "" {
				t.Fatalf("%s judges otherwise than a1:\n%s", n.Name, diff)
			}
		}
	})
}

func TestObservers(t *testing.T) {
	if got := health.Observers(network(1), "a"); len(got) != 0 {
		t.Errorf("one POP: got %v, want nobody", got)
	}
	got := health.Observers(network(1, 1, 1), "b")
	slices.Sort(got)
	if !slices.Equal(got, []string{"a", "c"}) {
		t.Errorf("three POPs: got %v, want the two others", got)
	}
	topo := network(1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1)
	duties := map[string]int{}
	for _, p := range topo.POPs {
		three := health.Observers(topo, p.Name)
		if len(three) != 3 || slices.Contains(three, p.Name) {
			t.Errorf("observers of %s: got %v, want three others", p.Name, three)
		}
		for _, o := range three {
			duties[o]++
		}
	}
	if len(duties) < 10 {
		t.Errorf("only %d of 12 POPs observe anyone: %v", len(duties), duties)
	}
	// A POP that goes moves only the duties that it had.
	fewer := network(1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1)
	for _, p := range fewer.POPs {
		before, after := health.Observers(topo, p.Name), health.Observers(fewer, p.Name)
		for _, o := range before {
			if o != "l" && !slices.Contains(after, o) {
				t.Errorf("%s lost its observer %s when l went", p.Name, o)
			}
		}
	}
}
