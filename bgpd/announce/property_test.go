package announce

import (
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/catchment-net/catchment/health"
	"github.com/catchment-net/catchment/topology"
)

func drawService(t *rapid.T, name string) health.ServiceView {
	v := health.ServiceView{State: rapid.SampledFrom([]health.State{health.Unknown, health.Up, health.Degraded, health.Draining, health.Down}).Draw(t, name)}
	switch v.State {
	case health.Down:
		v.Cause.Class = rapid.SampledFrom([]health.Class{health.Soft, health.Hard, health.Wish}).Draw(t, name+" class")
	case health.Draining:
		v.Cause.Class = health.Wish
	case health.Degraded:
		v.Cause.Class = health.Soft
	}
	return v
}

func drawInput(t *rapid.T) Input {
	topo := network()
	now := epoch.Add(time.Duration(rapid.Int64Range(0, int64(time.Minute)).Draw(t, "now")))
	v := fleet(topo, now)
	for _, p := range topo.POPs {
		services := map[health.Service]health.ServiceView{}
		for _, s := range health.Services {
			services[s] = drawService(t, p.Name+" "+string(s))
		}
		v.POPs[p.Name] = health.POPView{Services: services}
		for _, n := range p.Nodes {
			alter(v, n.Name, func(view *health.NodeView) {
				view.Services = map[health.Service]health.ServiceView{}
				for _, s := range health.Services {
					view.Services[s] = drawService(t, n.Name+" "+string(s))
				}
				view.Claims = nil
				for _, c := range topo.Anycast.Prefixes {
					if rapid.Bool().Draw(t, "claim") {
						view.Claims = append(view.Claims, c)
					}
				}
				view.Claimed = now.Add(-time.Duration(rapid.Int64Range(0, int64(3*time.Second)).Draw(t, "age")))
				view.Draining = rapid.IntRange(0, 3).Draw(t, "draining") == 0
				view.Knows = rapid.IntRange(0, 3).Draw(t, "knows") > 0
			})
		}
	}
	in := Input{Topology: topo, Node: topo.Node("ams1"), View: v, Now: now, Drains: map[netip.Prefix]Drain{}}
	if rapid.IntRange(0, 3).Draw(t, "first") > 0 {
		in.Ledger = settled(topo, "ams1")
	}
	in.Stopping = rapid.IntRange(0, 3).Draw(t, "stopping") == 0
	in.LastRequest = now.Add(-time.Duration(rapid.Int64Range(0, int64(2*time.Second)).Draw(t, "silence")))
	return in
}

// servicesIn is what servicesOf finds, found another way.
func servicesIn(t *topology.Topology, p netip.Prefix) services {
	var in services
	for i, s := range health.Services {
		addrs := t.Anycast.DNS
		if s == health.Web {
			addrs = t.Anycast.Web
		}
		in[i] = slices.ContainsFunc(addrs, p.Contains)
	}
	return in
}

// classesAgainst returns what speaks against announcing a prefix: the classes of the own services that live in it, and whether
// they were never good.
func classesAgainst(in Input, p netip.Prefix) (classes map[health.Class]bool, early bool) {
	classes = map[health.Class]bool{}
	for i, s := range health.Services {
		if !servicesIn(in.Topology, p)[i] {
			continue
		}
		v := in.View.Nodes["ams1"].Services[s]
		switch v.State {
		case health.Unknown:
			early = early || in.Ledger == nil
		case health.Down, health.Draining:
			early = early || in.Ledger == nil
			classes[v.Cause.Class] = true
		}
	}
	if in.Stopping || in.View.Nodes["ams1"].Draining {
		classes[health.Wish] = true
	}
	return classes, early
}

func TestNothingIsWithdrawnWithoutACause(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := drawInput(t)
		for _, w := range Decide(in).Wants {
			if !w.Anycast {
				if w.State != Announced {
					t.Fatalf("unicast %v is %s", w.Prefix, w.State)
				}
				continue
			}
			classes, early := classesAgainst(in, w.Prefix)
			switch {
			case early && w.State != Withdrawn:
				t.Fatalf("%v is %s before its services were good", w.Prefix, w.State)
			case !early && len(classes) == 0 && (w.State != Announced || w.Kept):
				t.Fatalf("%v is %s (%s) without a cause", w.Prefix, w.State, w.Reason)
			case w.State == Announced && len(classes) > 0 && !w.Kept:
				t.Fatalf("%v is announced against %v and does not say why", w.Prefix, classes)
			case w.State == GSHUT && !classes[health.Wish]:
				t.Fatalf("%v is shed and nobody wished it", w.Prefix)
			}
		}
	})
}

func TestFamiliesMoveTogether(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := drawInput(t)
		for range rapid.IntRange(1, 4).Draw(t, "steps") {
			out := Decide(in)
			for _, pair := range [][2]int{{2, 3}, {4, 5}} {
				four, six := out.Wants[pair[0]], out.Wants[pair[1]]
				if four.State != six.State || four.Reason != six.Reason {
					t.Fatalf("%v is %s (%s), %v is %s (%s)", four.Prefix, four.State, four.Reason, six.Prefix, six.State, six.Reason)
				}
			}
			in.Drains = out.Drains
			in.Now = in.Now.Add(time.Duration(rapid.Int64Range(0, int64(time.Second)).Draw(t, "step")))
		}
	})
}

func TestTheLastPOPIsNotWithdrawnForASoftCause(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := drawInput(t)
		for _, w := range Decide(in).Wants {
			classes, early := classesAgainst(in, w.Prefix)
			if !w.Anycast || early || classes[health.Hard] || classes[health.Wish] || !classes[health.Soft] {
				continue
			}
			if w.State == Withdrawn && in.View.Claimants(w.Prefix, "ams", in.Now, ClaimAge) == 0 {
				t.Fatalf("%v is withdrawn (%s) though no other POP announces it", w.Prefix, w.Reason)
			}
		}
	})
}

func TestADeadServiceIsWithdrawnAtOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := drawInput(t)
		for _, w := range Decide(in).Wants {
			classes, _ := classesAgainst(in, w.Prefix)
			everywhere := true // the siblings of the prefix are elsewhere, too
			for _, p := range siblings(in.Topology, servicesOf(in.Topology), w.Prefix) {
				everywhere = everywhere && healthyClaim(in, p)
			}
			if w.Anycast && classes[health.Hard] && everywhere && w.State != Withdrawn {
				t.Fatalf("%v is %s (%s) though its service is gone and others announce it", w.Prefix, w.State, w.Reason)
			}
		}
	})
}

// healthyClaim reports whether a node of a POP other than ours that has nothing unusable claims the prefix, however long ago, and is
// not dead itself.
func healthyClaim(in Input, p netip.Prefix) bool {
	for _, n := range in.View.Nodes {
		dead := n.Services[health.DNS].Cause.Class == health.Hard || n.Services[health.Web].Cause.Class == health.Hard
		if !dead && n.POP != "ams" && slices.Contains(n.Claims, p) && in.View.Usable(n.POP, health.DNS) && in.View.Usable(n.POP, health.Web) {
			return true
		}
	}
	return false
}

// However POPs are drained, together or one after the other, a prefix that some healthy node announced stays announced
// by one: the network is never drained away.
func TestDrainingEveryPOPLeavesThePrefix(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		topo := network()
		view := fleet(topo, epoch)
		drains := map[string]map[netip.Prefix]Drain{}
		now := epoch
		for range 40 {
			for _, n := range topo.Nodes() {
				if rapid.IntRange(0, 9).Draw(t, n.Name) == 0 {
					v := view.Nodes[n.Name]
					v.Draining = true
					view.Nodes[n.Name] = v
				}
			}
			said := map[string][]netip.Prefix{}
			announced := map[netip.Prefix]bool{}
			for _, n := range topo.Nodes() {
				out := Decide(Input{Topology: topo, Node: n, View: view, Now: now, Drains: drains[n.Name]})
				drains[n.Name], said[n.Name] = out.Drains, out.Claims()
				for _, w := range out.Wants {
					announced[w.Prefix] = announced[w.Prefix] || w.State != Withdrawn
				}
			}
			for name, claims := range said { // what all have heard by the next round
				v := view.Nodes[name]
				v.Claims, v.Claimed = claims, now
				view.Nodes[name] = v
			}
			now = now.Add(400 * time.Millisecond)
			for p, there := range announced {
				if !there && !recovers(topo, view, drains, now, p) {
					t.Fatalf("%v is gone: every node has drained away", p)
				}
			}
		}
	})
}

// recovers reports whether the next decision of some node announces the prefix again: two POPs that let go in the same
// moment each counted on the other, and both come back.
func recovers(topo *topology.Topology, view *health.View, drains map[string]map[netip.Prefix]Drain, now time.Time, p netip.Prefix) bool {
	for _, n := range topo.Nodes() {
		for _, w := range Decide(Input{Topology: topo, Node: n, View: view, Now: now, Drains: drains[n.Name]}).Wants {
			if w.Prefix == p && w.State != Withdrawn {
				return true
			}
		}
	}
	return false
}

// However clients come and go, a drain ends, and it never goes back by itself.
func TestDrainEnds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		topo := network()
		in := Input{Topology: topo, Node: topo.Node("nyc1"), View: fleet(topo, epoch), Now: epoch}
		in.Ledger = Decide(in).Ledger // announced
		in.Stopping = true
		gone := false
		for in.Now.Sub(epoch) <= 30*time.Second {
			out := Decide(in)
			if gone && !out.Drained() {
				t.Fatalf("after %v it is announced again", in.Now.Sub(epoch))
			}
			if out.Drained() && !gone {
				gone = true
				if shed := in.Now.Sub(epoch); shed < 300*time.Millisecond || shed < 30*time.Second && in.Now.Sub(in.LastRequest) < time.Second {
					t.Fatalf("withdrawn %v after GSHUT, %v after a request", shed, in.Now.Sub(in.LastRequest))
				}
			}
			in.Drains = out.Drains
			if rapid.Bool().Draw(t, "request") {
				in.LastRequest = in.Now
			}
			in.Now = in.Now.Add(time.Duration(rapid.Int64Range(int64(100*time.Millisecond), int64(3*time.Second)).Draw(t, "step")))
		}
		in.Now = epoch.Add(30 * time.Second)
		if !Decide(in).Drained() {
			t.Fatal("it has not ended after 30 s")
		}
	})
}

func TestDecideChangesNothingInItsInput(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := drawInput(t)
		in.Drains[in.Topology.Anycast.Prefixes[0]] = Drain{Since: epoch}
		drains := map[netip.Prefix]Drain{in.Topology.Anycast.Prefixes[0]: {Since: epoch}}
		first := Decide(in)
		if !reflect.DeepEqual(in.Drains, drains) {
			t.Fatalf("drains are %v, were %v", in.Drains, drains)
		}
		if second := Decide(in); !reflect.DeepEqual(first, second) {
			t.Fatalf("got %+v, then %+v", first, second)
		}
	})
}
