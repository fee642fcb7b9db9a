package announce

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/catchment-net/catchment/health"
)

// The chain names every condition that holds a prefix where it is, and what is not as it should be.
func TestExplain(t *testing.T) {
	topo := network()
	prefix := topo.Anycast.Prefixes[0]
	for _, test := range []struct {
		name   string
		alter  func(*Input)
		state  State
		not    string // the conditions that are not as they should be
		values string // part of one of their values
	}{
		{"all is well", func(*Input) {}, Announced, "", ""},
		{"nothing is known", func(in *Input) { in.View, in.Ledger = nil, nil }, Withdrawn, "service dns, service web, first good probe, other POPs", "nothing is known of the fleet yet"},
		{"the web server is dead", func(in *Input) {
			alter(in.View, "ams1", func(n *health.NodeView) {
				n.Services = both(health.Up, health.NoCause)
				n.Services[health.Web] = health.ServiceView{State: health.Down, Cause: health.Cause{Class: health.Hard, Text: "refused", Since: epoch}}
			})
		}, Withdrawn, "service web", "down, hard: refused"},
		{"it looks ill, and so do the others", func(in *Input) {
			for _, n := range in.Topology.Nodes() {
				alter(in.View, n.Name, func(n *health.NodeView) { n.Services = both(health.Down, health.Soft) })
			}
		}, Announced, "service dns, service web, POP nyc, POP sin, min_pops", "is not well by its own word"},
		{"the others were silent for long", func(in *Input) { in.Now = epoch.Add(time.Minute) }, Announced, "POP nyc, POP sin, min_pops", "was last heard 1m0s ago"},
		{"an operator drains it", func(in *Input) {
			alter(in.View, "ams1", func(n *health.NodeView) { n.Draining, n.Why = true, "new kernel" })
			in.Drains = map[netip.Prefix]Drain{prefix: {Since: epoch}}
		}, GSHUT, "wish, drain", "drain: new kernel"},
		{"it has flapped", func(in *Input) {
			for p, a := range in.Ledger {
				a.Penalty, a.At = 1500, in.Now
				in.Ledger[p] = a
			}
		}, Announced, "flap budget", "penalty 1500 of 2000"},
		{"it has flapped, and nobody minds", func(in *Input) {
			in.Undamped = true
			for p, a := range in.Ledger {
				a.Penalty, a.At = 5000, in.Now
				in.Ledger[p] = a
			}
		}, Announced, "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			in := Input{Topology: topo, Node: topo.Node("ams1"), View: fleet(topo, epoch), Now: epoch, Ledger: settled(topo, "ams1")}
			test.alter(&in)
			w, conditions, ok := Explain(in, prefix)
			if !ok || w.State != test.state {
				t.Errorf("%v: %+v", ok, w)
			}
			var not, values []string
			for _, c := range conditions {
				if !c.OK {
					not, values = append(not, c.What), append(values, c.Value)
				}
			}
			if got := strings.Join(not, ", "); got != test.not {
				t.Errorf("not as they should be: %s; want %s", got, test.not)
			}
			if !slices.ContainsFunc(values, func(v string) bool { return strings.Contains(v, test.values) }) && test.values != "" {
				t.Errorf("values %q, want one with %q", values, test.values)
			}
		})
	}
	in := Input{Topology: topo, Node: topo.Node("ams1"), View: fleet(topo, epoch), Now: epoch}
	if _, _, ok := Explain(in, netip.MustParsePrefix("10.0.0.0/8")); ok {
		t.Error("a prefix that is not ours is explained")
	}
	if w, all, ok := Explain(in, topo.Node("ams1").POP.Unicast[0]); !ok || w.State != Announced || len(all) != 1 {
		t.Errorf("a unicast prefix: %+v, %v, %v", w, all, ok)
	}
}
