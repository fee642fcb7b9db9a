package announce

import (
	"testing"
	"time"

	"github.com/catchment-net/catchment/health"
)

// A bad release hangs every web server at once, and each POP knows of its own first. Whatever the order in which the words of
// the others arrive within HearFor, the prefix is never gone everywhere.
func TestAllPOPsIllAtOnceNeverWithdrawTogether(t *testing.T) {
	topo := network()
	prefix := topo.Anycast.Prefixes[0]
	state := func(node string, heard bool, after time.Duration) State {
		view := fleet(topo, epoch.Add(after))
		for name, n := range view.Nodes {
			if heard || n.POP == topo.Node(node).POP.Name {
				alter(view, name, func(n *health.NodeView) {
					n.Services = map[health.Service]health.ServiceView{health.DNS: is(health.Up, health.NoCause), health.Web: is(health.Down, health.Soft)}
				})
				view.POPs[n.POP] = health.POPView{Services: map[health.Service]health.ServiceView{health.DNS: is(health.Up, health.NoCause), health.Web: is(health.Down, health.Soft)}}
			}
		}
		for _, w := range Decide(Input{Topology: topo, Node: topo.Node(node), View: view, Now: epoch.Add(after)}).Wants {
			if w.Prefix == prefix {
				return w.State
			}
		}
		return ""
	}
	for _, c := range []struct {
		what, node string
		heard      bool
		after      time.Duration
		want       State
	}{
		{"the first POP goes at once", "ams1", false, 0, Withdrawn},
		{"the second one hears first", "nyc1", false, 0, Announced},
		{"until its time is over", "nyc1", false, HearFor - time.Millisecond, Announced},
		{"then it goes, if the others are well", "nyc1", false, HearFor, Withdrawn},
		{"and stays, if they are ill", "nyc1", true, HearFor, Announced},
		{"so does the first, once it knows", "ams1", true, HearFor, Announced},
		{"a clock set back makes nobody wait for ever", "sin1", false, -time.Hour, Withdrawn},
	} {
		if got := state(c.node, c.heard, c.after); got != c.want {
			t.Errorf("%s: %s is %s after %v, want %s", c.what, c.node, got, c.after, c.want)
		}
	}
	view := fleet(topo, epoch)
	alter(view, "sin1", func(n *health.NodeView) { n.Services = both(health.Down, health.Soft) })
	if next := Decide(Input{Topology: topo, Node: topo.Node("sin1"), View: view, Now: epoch}).Next; !next.Equal(epoch.Add(HearFor)) {
		t.Errorf("it decides again at %v, want %v later", next, HearFor)
	}
}
