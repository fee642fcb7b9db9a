package fabric

import (
	"context"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/catchment-net/catchment/topology"
)

// table is a router whose best paths the test writes.
type table struct {
	mu  sync.Mutex
	via map[netip.Prefix]string
}

func (r *table) Lookup(a netip.Addr) (string, netip.Prefix, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	best := netip.Prefix{}
	for p := range r.via {
		if p.Contains(a) && (!best.IsValid() || p.Bits() > best.Bits()) {
			best = p
		}
	}
	return r.via[best], best, best.IsValid()
}

func (r *table) set(via string, prefixes ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range prefixes {
		r.via[netip.MustParsePrefix(p)] = via
	}
}

func (r *table) withdraw(prefixes ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range prefixes {
		delete(r.via, netip.MustParsePrefix(p))
	}
}

// model is a part of the reference example:
//
//	ams -> arc 3 ms   nyc -> arc 40 ms   nyc -> bolt 75 ms   sin -> bolt 34 ms   arc -- bolt 110 ms
//	berlin -> arc 5 ms   newyork -> arc 41 ms   newyork -- nyc 1 ms   tokyo -> bolt 1 ms
type model struct {
	topo    *topology.Topology
	routers map[string]*table
}

func prefixes(list ...string) []netip.Prefix {
	var all []netip.Prefix
	for _, p := range list {
		all = append(all, netip.MustParsePrefix(p))
	}
	return all
}

const (
	anyWeb = "192.0.2.80"
	any4   = "192.0.2.0/24"
	any6   = "2001:db8:53::/48"
)

func newModel() *model {
	t := &topology.Topology{Name: "test", ASN: 64500, Anycast: topology.Anycast{Prefixes: prefixes(any4, any6)}}
	pop := func(name string, nodes int, unicast ...string) {
		p := &topology.POP{Name: name, Index: len(t.POPs), Unicast: prefixes(unicast...)}
		for i := range nodes {
			n := &topology.Node{Name: name + string(rune('1'+i)), POP: p}
			for _, u := range p.Unicast {
				a := u.Addr()
				for range i + 1 {
					a = a.Next()
				}
				n.Addrs = append(n.Addrs, a)
			}
			p.Nodes = append(p.Nodes, n)
		}
		t.POPs = append(t.POPs, p)
	}
	pop("ams", 2, "203.0.113.0/28", "2001:db8:a1::/48")
	pop("nyc", 1, "203.0.113.16/28", "2001:db8:a2::/48")
	pop("sin", 1, "203.0.113.32/28", "2001:db8:a3::/48")
	network := func(name string, list ...string) *topology.Network {
		n := &topology.Network{Name: name, ASN: uint32(64600 + len(t.Internet.Networks)), Prefixes: prefixes(list...)}
		t.Internet.Networks = append(t.Internet.Networks, n)
		return n
	}
	arc := network("arc")
	network("bolt")
	network("berlin", "198.51.100.0/27", "2001:db8:c1::/48")
	network("newyork", "198.51.100.64/27", "2001:db8:c3::/48")
	network("tokyo", "198.51.100.128/27")
	t.Internet.Origins = []*topology.Origin{{
		Host: "origin.shop.example", In: arc, Prefixes: prefixes("203.0.113.128/28", "2001:db8:e1::/48"),
		Addrs: []netip.Addr{netip.MustParseAddr("203.0.113.129"), netip.MustParseAddr("2001:db8:e1::1")},
	}}
	link := func(a, b string, r topology.Relation, ms int) {
		t.Internet.Links = append(t.Internet.Links, &topology.Link{A: a, B: b, Relation: r, Delay: time.Duration(ms) * time.Millisecond})
	}
	link("ams", "arc", topology.Transit, 3)
	link("nyc", "arc", topology.Transit, 40)
	link("nyc", "bolt", topology.Transit, 75)
	link("sin", "bolt", topology.Transit, 34)
	link("arc", "bolt", topology.Peering, 110)
	link("berlin", "arc", topology.Transit, 5)
	link("newyork", "arc", topology.Transit, 41)
	link("newyork", "nyc", topology.Peering, 1)
	link("tokyo", "bolt", topology.Transit, 1)

	m := &model{topo: t, routers: map[string]*table{}}
	for _, n := range t.Internet.Networks {
		m.routers[n.Name] = &table{via: map[netip.Prefix]string{}}
	}
	ams, nyc, sin := []string{"203.0.113.0/28", "2001:db8:a1::/48"}, []string{"203.0.113.16/28", "2001:db8:a2::/48"}, []string{"203.0.113.32/28", "2001:db8:a3::/48"}
	origin := []string{"203.0.113.128/28", "2001:db8:e1::/48"}
	berlin, newyork, tokyo := []string{"198.51.100.0/27", "2001:db8:c1::/48"}, []string{"198.51.100.64/27", "2001:db8:c3::/48"}, []string{"198.51.100.128/27"}
	anycast := []string{any4, any6}
	routes := func(network, via string, sets ...[]string) {
		for _, s := range sets {
			m.routers[network].set(via, s...)
		}
	}
	routes("arc", "", origin)
	routes("arc", "ams1", ams, anycast)
	routes("arc", "nyc1", nyc)
	routes("arc", "bolt", sin, tokyo)
	routes("arc", "berlin", berlin)
	routes("arc", "newyork", newyork)
	routes("bolt", "sin1", sin, anycast)
	routes("bolt", "nyc1", nyc)
	routes("bolt", "arc", ams, origin, berlin, newyork)
	routes("bolt", "tokyo", tokyo)
	routes("berlin", "", berlin)
	routes("berlin", "arc", ams, nyc, sin, anycast, origin, newyork, tokyo)
	routes("newyork", "", newyork)
	routes("newyork", "nyc1", nyc, anycast)
	routes("newyork", "arc", ams, sin, origin, berlin, tokyo)
	routes("tokyo", "", tokyo)
	routes("tokyo", "bolt", ams, nyc, sin, anycast, origin, berlin, newyork)
	return m
}

// link returns a link of the topology to alter before the fabric is made.
func (m *model) link(name string) *topology.Link {
	for _, l := range m.topo.Internet.Links {
		if l.Name() == name {
			return l
		}
	}
	panic("no link " + name)
}

// fabric makes the fabric and runs it until the test ends. An empty socket keeps all of it in memory.
func (m *model) fabric(t *testing.T, o Options) *Fabric {
	t.Helper()
	o.Topology = m.topo
	o.Routers = map[string]Router{}
	for name, r := range m.routers {
		o.Routers[name] = r
	}
	f, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	select {
	case <-f.Ready():
	case err := <-ended:
		cancel()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return f
}

// at is the network of any place.
func at(f *Fabric, name string) host { return host{f, f.graph.places[name]} }

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func mustAddrPort(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }
