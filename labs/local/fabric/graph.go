package fabric

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/catchment-net/catchment/labs/layout"
	"github.com/catchment-net/catchment/topology"
)

// The states of a link.
type linkState uint8

const (
	up linkState = iota
	cut
	blackholed
)

func (s linkState) String() string { return [...]string{"up", "cut", "blackholed"}[s] }

// link is one link of the topology with its present state.
type link struct {
	*topology.Link
	ahead, back gate // the directions A to B and B to A

	mu    sync.Mutex // guards the following
	state linkState
	slow  time.Duration // what a fault adds to the delay, each way
	lossy float64       // what a fault loses beside the link's own loss, each way: 0 to 1
}

func (l *link) now() linkState {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state
}

// impairment is what faults add to a link that is up.
func (l *link) impairment() (slow time.Duration, lossy float64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.slow, l.lossy
}

// gate is one direction of a link with a rate: what is sent waits for what was sent before.
type gate struct {
	mu   sync.Mutex // guards free
	free time.Time  // when the last byte has left
}

// pass books n bytes at rate bits per second and returns how long they wait, their own sending time included.
func (g *gate) pass(now time.Time, n int, rate float64) time.Duration {
	if rate <= 0 {
		return 0
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.free.Before(now) {
		g.free = now
	}
	g.free = g.free.Add(time.Duration(float64(n) * 8 / rate * float64(time.Second)))
	return g.free.Sub(now)
}

// graph is the lab's network: what never changes, and the links' states.
type graph struct {
	topo    *topology.Topology
	routers map[string]Router
	links   []*link
	between map[[2]string][]*link // both orders of the ends
	places  map[string]*place
	servers map[netip.Addr]*place // by their addresses
}

// place is an end of flows: a node, a server in a network, or a network's clients.
type place struct {
	name   string
	net    *topology.Network // the network it is in; nil for a node
	node   *topology.Node    // nil for all but nodes
	server bool              // an origin, a name server of others or a resolver
	addrs  []netip.Addr      // its own, at most one a family is its source address
}

func newGraph(t *topology.Topology, routers map[string]Router) (*graph, error) {
	g := &graph{topo: t, routers: routers, between: map[[2]string][]*link{}, places: map[string]*place{}, servers: map[netip.Addr]*place{}}
	for _, n := range t.Internet.Networks {
		if routers[n.Name] == nil {
			return nil, fmt.Errorf("network %q has no router", n.Name)
		}
		g.places[n.Name] = &place{name: n.Name, net: n, addrs: firstHosts(n.Prefixes)}
	}
	for _, n := range t.Nodes() {
		g.places[n.Name] = &place{name: n.Name, node: n, addrs: n.Addrs}
	}
	if err := g.addServers(); err != nil {
		return nil, err
	}
	for _, l := range t.Internet.Links {
		for _, end := range []string{l.A, l.B} {
			if t.POP(end) == nil && t.Network(end) == nil {
				return nil, fmt.Errorf("link %q: %q is neither a POP nor a network", l.Name(), end)
			}
		}
		k := &link{Link: l}
		g.links = append(g.links, k)
		g.between[[2]string{l.A, l.B}] = append(g.between[[2]string{l.A, l.B}], k)
		g.between[[2]string{l.B, l.A}] = append(g.between[[2]string{l.B, l.A}], k)
	}
	return g, nil
}

// addServers adds what runs in networks beside their clients.
func (g *graph) addServers() error {
	var all []*place
	for _, o := range g.topo.Internet.Origins {
		all = append(all, &place{name: o.Host, net: o.In, server: true, addrs: o.Addrs})
	}
	for _, n := range g.topo.Internet.NameServers {
		all = append(all, &place{name: n.Host, net: n.In, server: true, addrs: n.Addrs})
	}
	for _, r := range g.topo.Internet.Resolvers {
		all = append(all, &place{name: r.Name, net: r.In, server: true, addrs: r.Addrs})
	}
	for _, p := range all {
		if p.net == nil || g.topo.Network(p.net.Name) == nil {
			return fmt.Errorf("%q is in no network of the topology", p.name)
		}
		g.places[p.name] = p
		for _, a := range p.addrs {
			g.servers[a] = p
		}
	}
	return nil
}

// firstHosts are the addresses of a network's clients: host 1 of the first prefix of each family.
func firstHosts(prefixes []netip.Prefix) []netip.Addr {
	var four, six []netip.Addr
	for _, p := range prefixes {
		a := p.Masked().Addr()
		if p.Bits() < a.BitLen() {
			a = a.Next()
		}
		if a.Is4() && four == nil {
			four = []netip.Addr{a}
		}
		if a.Is6() && six == nil {
			six = []netip.Addr{a}
		}
	}
	return append(four, six...)
}

// source is the place's own address of target's family.
func (p *place) source(target netip.Addr) (netip.Addr, bool) {
	for _, a := range p.addrs {
		if a.Is4() == target.Is4() {
			return a, true
		}
	}
	return netip.Addr{}, false
}

// owns says whether the place may listen on addr.
func (p *place) owns(g *graph, addr netip.Addr) bool {
	return slices.Contains(p.addrs, addr) || p.node != nil && g.anycast(addr)
}

func (g *graph) anycast(addr netip.Addr) bool {
	for _, p := range g.topo.Anycast.Prefixes {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// usable is the first link between two ends that has a carrier, else the first one, else nil.
func (g *graph) usable(a, b string) *link {
	all := g.between[[2]string{a, b}]
	for _, l := range all {
		if l.now() != cut {
			return l
		}
	}
	if len(all) > 0 {
		return all[0]
	}
	return nil
}

// find returns the link that a person means (layout.FindLink).
func (g *graph) find(name string) (*link, error) {
	want, err := layout.FindLink(g.topo, name)
	if err != nil {
		return nil, err
	}
	return g.links[slices.IndexFunc(g.links, func(l *link) bool { return l.Link == want })], nil
}
