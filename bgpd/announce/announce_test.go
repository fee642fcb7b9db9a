package announce

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/catchment-net/catchment/health"
	"github.com/catchment-net/catchment/topology"
)

// epoch is when the tests begin.
var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// network has three POPs (ams with two nodes), one prefix of each family with both services in it, and a second pair
// of prefixes in which DNS alone lives. Its drains do not wait for name servers: that has tests of its own.
func network() *topology.Topology {
	t := &topology.Topology{Name: "test", ASN: 64500, Drain: topology.Drain{DNS: -1}}
	for _, p := range []string{"192.0.2.0/24", "2001:db8:53::/48", "198.51.100.0/24", "2001:db8:54::/48"} {
		t.Anycast.Prefixes = append(t.Anycast.Prefixes, netip.MustParsePrefix(p))
	}
	for _, a := range []string{"192.0.2.53", "2001:db8:53::53", "198.51.100.53", "2001:db8:54::53"} {
		t.Anycast.DNS = append(t.Anycast.DNS, netip.MustParseAddr(a))
	}
	for _, a := range []string{"192.0.2.80", "2001:db8:53::80"} {
		t.Anycast.Web = append(t.Anycast.Web, netip.MustParseAddr(a))
	}
	for i, name := range []string{"ams", "nyc", "sin"} {
		p := &topology.POP{Name: name, Index: i, Unicast: []netip.Prefix{
			netip.MustParsePrefix(fmt.Sprintf("203.0.113.%d/28", 16*i)), netip.MustParsePrefix(fmt.Sprintf("2001:db8:a%d::/48", i)),
		}}
		for j := range 2 - min(i, 1) {
			n := &topology.Node{Name: fmt.Sprintf("%s%d", name, j+1), POP: p}
			for _, u := range p.Unicast {
				a := u.Addr()
				for range j + 1 {
					a = a.Next()
				}
				n.Addrs = append(n.Addrs, a)
			}
			p.Nodes = append(p.Nodes, n)
		}
		t.POPs = append(t.POPs, p)
	}
	return t
}

// fleet is a view in which all is well and everybody claims everything, just heard.
func fleet(t *topology.Topology, now time.Time) *health.View {
	v := &health.View{Self: "ams1", Time: now, POPs: map[string]health.POPView{}, Nodes: map[string]health.NodeView{}}
	for _, p := range t.POPs {
		v.POPs[p.Name] = health.POPView{Services: both(health.Up, health.NoCause), Weight: 1}
		for _, n := range p.Nodes {
			v.Nodes[n.Name] = health.NodeView{POP: p.Name, Services: both(health.Up, health.NoCause), Claims: t.Anycast.Prefixes, Claimed: now, Heard: true, Knows: true}
		}
	}
	return v
}

func both(s health.State, c health.Class) map[health.Service]health.ServiceView {
	return map[health.Service]health.ServiceView{health.DNS: is(s, c), health.Web: is(s, c)}
}

func is(s health.State, c health.Class) health.ServiceView {
	return health.ServiceView{State: s, Cause: health.Cause{Class: c, Text: "because", Since: epoch}}
}

// alter changes what the view says of a node.
func alter(v *health.View, node string, fn func(*health.NodeView)) {
	n := v.Nodes[node]
	fn(&n)
	v.Nodes[node] = n
}

// settled is the ledger of a node that has announced everything for a while.
func settled(topo *topology.Topology, node string) map[netip.Prefix]Account {
	return Decide(Input{Topology: topo, Node: topo.Node(node), View: fleet(topo, epoch), Now: epoch.Add(-time.Hour)}).Ledger
}

func TestDecide(t *testing.T) {
	own := func(web health.ServiceView) func(*Input) {
		return func(in *Input) {
			alter(in.View, "ams1", func(n *health.NodeView) {
				n.Services = map[health.Service]health.ServiceView{health.DNS: is(health.Up, health.NoCause), health.Web: web}
			})
		}
	}
	nobodyClaims := func(names ...string) func(*Input) {
		return func(in *Input) {
			for _, name := range names {
				alter(in.View, name, func(n *health.NodeView) { n.Claims = nil })
			}
		}
	}
	unheard := func(names ...string) func(*Input) {
		return func(in *Input) {
			for _, name := range names {
				alter(in.View, name, func(n *health.NodeView) { n.Knows = false })
			}
		}
	}
	ill := func(c health.Class, names ...string) func(*Input) {
		return func(in *Input) {
			for _, name := range names {
				alter(in.View, name, func(n *health.NodeView) { n.Services = both(health.Down, c) })
			}
		}
	}
	first := func(in *Input) { in.Ledger = nil }
	two := func(in *Input) { in.Topology.Anycast.MinPOPs = 2 }
	others := []string{"ams2", "nyc1", "sin1"}
	for _, test := range []struct {
		name   string
		alter  []func(*Input)
		shared State  // of the prefixes with both services
		dns    State  // of the prefixes with DNS alone
		reason string // is part of the reason for the shared ones
	}{
		{"all is well", nil, Announced, Announced, "dns is up, web is up"},
		{"degraded is well enough", []func(*Input){own(is(health.Degraded, health.Soft))}, Announced, Announced, "web is degraded"},
		{"no view yet", []func(*Input){func(in *Input) { in.View, in.Ledger = nil, nil }}, Withdrawn, Withdrawn, "first good probe of dns"},
		{"web was never good", []func(*Input){own(health.ServiceView{}), first}, Withdrawn, Announced, "first good probe of web"},
		{"web failed before it was good", []func(*Input){own(is(health.Down, health.Soft)), first}, Withdrawn, Announced, "first good probe: web is down: because"},
		{"web died before it was good, and nobody else announces", []func(*Input){own(is(health.Down, health.Hard)), first, nobodyClaims(others...)}, Withdrawn, Announced, "first good probe: web is down: because"},
		{"web is new in a prefix that is announced", []func(*Input){own(health.ServiceView{})}, Announced, Announced, "web is unknown"},
		{"something that all POPs share fails", []func(*Input){own(is(health.Degraded, health.Shared))}, Announced, Announced, "web is degraded: because"},
		{"whatever state it makes", []func(*Input){own(is(health.Down, health.Shared))}, Announced, Announced, "web is down: because"},
		{"a cause of no class is none", []func(*Input){own(is(health.Down, health.NoCause))}, Announced, Announced, "web is down"},
		{"web is gone", []func(*Input){own(is(health.Down, health.Hard))}, Withdrawn, Announced, "web is down: because"},
		{"web is gone, others were heard long ago", []func(*Input){own(is(health.Down, health.Hard)), func(in *Input) { in.Now = in.Now.Add(time.Hour) }}, Withdrawn, Announced, "web is down"},
		{"web is gone, only our sibling announces", []func(*Input){own(is(health.Down, health.Hard)), nobodyClaims("nyc1", "sin1")}, Withdrawn, Announced, "web is down"},
		{"web is gone, nobody else announces", []func(*Input){own(is(health.Down, health.Hard)), nobodyClaims(others...)}, Announced, Announced, "nobody else announcing"},
		{"web is gone, the others are ill", []func(*Input){own(is(health.Down, health.Hard)), ill(health.Soft, others...)}, Withdrawn, Announced, "web is down"},
		{"web is gone, the others are gone, too", []func(*Input){own(is(health.Down, health.Hard)), ill(health.Hard, others...)}, Announced, Announced, "nobody else announcing"},
		{"web fails", []func(*Input){own(is(health.Down, health.Soft))}, Withdrawn, Announced, "web is down: because; left to nyc, sin"},
		{"web fails, and nobody knows yet", []func(*Input){own(is(health.Down, health.Soft)), unheard(others...)}, Announced, Announced, "asked nyc, sin, and too few have answered yet"},
		{"web fails, and one knows", []func(*Input){own(is(health.Down, health.Soft)), unheard("nyc1")}, Withdrawn, Announced, "left to sin"},
		{"web fails, two must know and one does", []func(*Input){own(is(health.Down, health.Soft)), unheard("nyc1"), two}, Announced, Announced, "too few have answered"},
		{"web fails, two must stay and two are there", []func(*Input){own(is(health.Down, health.Soft)), two}, Withdrawn, Announced, "left to nyc, sin"},
		{"web fails, two must stay and one is there", []func(*Input){own(is(health.Down, health.Soft)), two, nobodyClaims("nyc1")}, Announced, Announced, "of the 2 healthy POPs that must announce there is only sin"},
		{"web fails, the one who announces is ill", []func(*Input){own(is(health.Down, health.Soft)), nobodyClaims("nyc1"), ill(health.Soft, "sin1")}, Announced, Announced, "no other healthy POP"},
		{"web fails, one other POP is left", []func(*Input){own(is(health.Down, health.Soft)), nobodyClaims("nyc1")}, Withdrawn, Announced, "web is down"},
		{"web fails, only our sibling announces", []func(*Input){own(is(health.Down, health.Soft)), nobodyClaims("nyc1", "sin1")}, Announced, Announced, "fail open"},
		{"web fails, the claims are old", []func(*Input){own(is(health.Down, health.Soft)), func(in *Input) { in.Now = in.Now.Add(ClaimAge + 1) }}, Announced, Announced, "no other healthy POP"},
		{"web fails, the other claimants are down, too", []func(*Input){own(is(health.Down, health.Soft)), func(in *Input) {
			for _, p := range []string{"nyc", "sin"} {
				in.View.POPs[p] = health.POPView{Services: both(health.Down, health.Soft)}
			}
		}}, Announced, Announced, "no other healthy POP"},
		{"web fails, other POPs are unknown to us", []func(*Input){own(is(health.Down, health.Soft)), nobodyClaims(others...), func(in *Input) { in.Alone = true }}, Withdrawn, Announced, "web is down"},
		{"web fails while we drain", []func(*Input){own(is(health.Down, health.Soft)), func(in *Input) { in.Stopping = true }}, Withdrawn, GSHUT, "web is down"},
		{"web is stopping", []func(*Input){own(is(health.Draining, health.Wish))}, GSHUT, Announced, "web is draining: because"},
		{"we are stopping", []func(*Input){func(in *Input) { in.Stopping = true }}, GSHUT, GSHUT, "the node is stopping"},
		{"a drain is asked for", []func(*Input){func(in *Input) {
			alter(in.View, "ams1", func(n *health.NodeView) { n.Draining, n.Why = true, "new kernel" })
		}}, GSHUT, GSHUT, "drain: new kernel"},
		{"another POP's drain", []func(*Input){func(in *Input) { alter(in.View, "nyc1", func(n *health.NodeView) { n.Draining = true }) }}, Announced, Announced, "is up"},
	} {
		t.Run(test.name, func(t *testing.T) {
			topo := network()
			in := Input{Topology: topo, Node: topo.Node("ams1"), View: fleet(topo, epoch), Now: epoch, Ledger: settled(topo, "ams1")}
			for _, fn := range test.alter {
				fn(&in)
			}
			out := Decide(in)
			if len(out.Wants) != 6 {
				t.Fatalf("got %d decisions, want one for each of 2 unicast and 4 anycast prefixes", len(out.Wants))
			}
			for i, want := range []State{Announced, Announced, test.shared, test.shared, test.dns, test.dns} {
				w := out.Wants[i]
				if w.State != want {
					t.Errorf("%v: got %s (%s), want %s", w.Prefix, w.State, w.Reason, want)
				}
				if w.NextHop.Is4() != w.Prefix.Addr().Is4() || !w.NextHop.IsValid() {
					t.Errorf("%v: next hop %v", w.Prefix, w.NextHop)
				}
			}
			if got := out.Wants[2].Reason; !strings.Contains(got, test.reason) {
				t.Errorf("got reason %q, want one with %q", got, test.reason)
			}
		})
	}
}

func TestCommunities(t *testing.T) {
	topo := network()
	out := Decide(Input{Topology: topo, Node: topo.Node("sin1"), View: fleet(topo, epoch), Now: epoch, Stopping: true})
	for _, w := range out.Wants {
		if w.Anycast != (len(w.LargeCommunities) == 1 && w.LargeCommunities[0] == [3]uint32{64500, 1, 2}) {
			t.Errorf("%v: large communities %v", w.Prefix, w.LargeCommunities)
		}
		if (w.State == GSHUT) != (len(w.Communities) == 1 && w.Communities[0] == GracefulShutdown) {
			t.Errorf("%v is %s with communities %v", w.Prefix, w.State, w.Communities)
		}
	}
	if got := out.Claims(); len(got) != 0 {
		t.Errorf("claims %v while leaving", got)
	}
}
