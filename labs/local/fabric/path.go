package fabric

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/catchment-net/catchment/topology"
)

// maxHops ends a walk through routers that disagree, as TTL 64 does.
const maxHops = 64

// maxPaths bounds the cache of paths; beyond it the cache starts anew.
const maxPaths = 1 << 16

// Path is the way from a place to an address as routing is now, in one direction.
type Path struct {
	Hops   []string      // networks and nodes on the way, the source first
	Dest   string        // the node, server or network where it ends; "" without a path
	Delay  time.Duration // one way
	Jitter time.Duration // at most so much more
	Loss   float64       // 0 to 1
	Broken string        // why nothing arrives though routers think so: a cut or blackholed link; "" if all is well
	NoPath string        // why there is no way at all; "" if there is one

	gates []rated
}

// rated is a direction of a link with a rate.
type rated struct {
	gate *gate
	rate float64 // bits per second
}

// Good says that what is sent arrives.
func (p *Path) Good() bool { return p.NoPath == "" && p.Broken == "" }

// Path walks from a node, network or server to an address of the topology. The result is shared: do not change it.
func (f *Fabric) Path(from string, to netip.Addr) *Path {
	src := f.graph.places[from]
	if src == nil {
		return &Path{NoPath: fmt.Sprintf("no node, network or server %q", from)}
	}
	return f.route(src, to.Unmap())
}

// pathCache holds the paths of one generation of routing.
type pathCache struct {
	mu  sync.Mutex // guards the following
	gen uint64
	all map[pathKey]*Path
}

type pathKey struct {
	from *place
	to   netip.Addr
}

func (f *Fabric) route(from *place, to netip.Addr) *Path {
	key := pathKey{from, to}
	gen := f.gen.Load()
	f.path.mu.Lock()
	if f.path.gen != gen || f.path.all == nil || len(f.path.all) >= maxPaths {
		f.path.gen, f.path.all = gen, map[pathKey]*Path{}
	}
	p := f.path.all[key]
	f.path.mu.Unlock()
	if p != nil {
		return p
	}
	p = f.walk(from, to)
	p.divide(f.faults.partitions.Load(), f.graph.topo, "partitioned")
	f.path.mu.Lock()
	if f.path.gen == gen && f.gen.Load() == gen {
		f.path.all[key] = p
	}
	f.path.mu.Unlock()
	return p
}

func (f *Fabric) walk(from *place, to netip.Addr) *Path {
	switch {
	case from.node != nil:
		return f.fromNode(from.node, to)
	case from.server:
		if slices.Contains(from.addrs, to) {
			return &Path{Hops: []string{from.name}, Dest: from.name}
		}
		return f.fromNetwork(&Path{Hops: []string{from.name}}, from.net, to)
	default:
		return f.fromNetwork(&Path{}, from.net, to)
	}
}

// fromNetwork follows the routers' best paths and adds to p.
func (f *Fabric) fromNetwork(p *Path, at *topology.Network, to netip.Addr) *Path {
	for range maxHops {
		p.Hops = append(p.Hops, at.Name)
		via, _, ok := f.graph.routers[at.Name].Lookup(to)
		if !ok {
			return p.end("%s has no route to %s", at.Name, to)
		}
		if via == "" {
			return f.arrive(p, at, to)
		}
		if n := f.graph.topo.Node(via); n != nil {
			if !p.cross(f.graph, at.Name, n.POP.Name) {
				return p.end("%s has a route by %s, but no link to %s", at.Name, via, n.POP.Name)
			}
			p.Hops = append(p.Hops, n.Name)
			return f.atNode(p, n, to)
		}
		next := f.graph.topo.Network(via)
		if next == nil || !p.cross(f.graph, at.Name, via) {
			return p.end("%s has a route by %q, but no link to it", at.Name, via)
		}
		at = next
	}
	return p.end("the routers send %s round in circles", to)
}

// arrive ends a path in the network that owns the address: at a server of its own, else at the network's clients.
func (f *Fabric) arrive(p *Path, at *topology.Network, to netip.Addr) *Path {
	if s := f.graph.servers[to]; s != nil && s.net.Name == at.Name {
		p.Hops = append(p.Hops, s.name)
		p.Dest = s.name
		return p
	}
	for _, o := range f.graph.topo.Internet.Origins { // an address of its prefixes where nobody listens
		if o.In.Name == at.Name && holds(o.Prefixes, to) {
			p.Hops = append(p.Hops, o.Host)
			p.Dest = o.Host
			return p
		}
	}
	p.Dest = at.Name
	return p
}

// atNode ends a path at the POP that the last link led to. The nodes of a POP share a network of their own, so an
// address of another one is reached as well.
func (f *Fabric) atNode(p *Path, n *topology.Node, to netip.Addr) *Path {
	if f.graph.anycast(to) {
		p.Dest = n.Name
		return p
	}
	for _, mate := range n.POP.Nodes {
		for _, a := range mate.Addrs {
			if a != to {
				continue
			}
			if mate != n {
				p.Hops = append(p.Hops, mate.Name)
			}
			p.Dest = mate.Name
			return p
		}
	}
	return p.end("%s has no node with the address %s", n.POP.Name, to)
}

// fromNode chooses among the POP's default routes. A provider takes everything it has a route to; a peer or a customer
// only what it owns or has from its own customers (no valley: RFC 7908 type 1). Among them the fewest hops win, then the
// least delay, then the order of the file.
func (f *Fabric) fromNode(n *topology.Node, to netip.Addr) *Path {
	g := f.graph
	if g.anycast(to) || holds(n.POP.Unicast, to) {
		return f.atNode(&Path{Hops: []string{n.Name}}, n, to)
	}
	var best *Path
	for _, l := range g.links {
		far := l.far(n.POP.Name)
		at := g.topo.Network(far)
		if at == nil || l.now() == cut || !f.adjacencies.up(n.Name, far) || !f.offers(at, l, n.POP.Name, to) {
			continue
		}
		p := &Path{Hops: []string{n.Name}}
		p.pass(l, n.POP.Name)
		p = f.fromNetwork(p, at, to)
		if p.NoPath != "" {
			continue
		}
		if best == nil || len(p.Hops) < len(best.Hops) || len(p.Hops) == len(best.Hops) && p.Delay < best.Delay {
			best = p
		}
	}
	if best == nil {
		return (&Path{Hops: []string{n.Name}}).end("%s has no neighbour with a route to %s", n.Name, to)
	}
	return best
}

// offers says whether the network at the far end of the POP's link carries its traffic towards an address.
func (f *Fabric) offers(at *topology.Network, l *link, pop string, to netip.Addr) bool {
	via, _, ok := f.graph.routers[at.Name].Lookup(to)
	if !ok {
		return false
	}
	if l.Relation == topology.Transit && l.A == pop || via == "" {
		return true
	}
	if n := f.graph.topo.Node(via); n != nil {
		via = n.POP.Name
	}
	for _, next := range f.graph.between[[2]string{at.Name, via}] {
		if next.Relation == topology.Transit && next.B == at.Name {
			return true
		}
	}
	return false
}

// far is the other end of a link that touches name, else "".
func (l *link) far(name string) string {
	switch name {
	case l.A:
		return l.B
	case l.B:
		return l.A
	}
	return ""
}

// cross adds a link between two neighbours; false when there is none.
func (p *Path) cross(g *graph, from, to string) bool {
	l := g.usable(from, to)
	if l == nil {
		return false
	}
	p.pass(l, from)
	return true
}

// pass adds a link in the direction away from one of its ends.
func (p *Path) pass(l *link, from string) {
	slow, lossy := l.impairment()
	p.Delay += l.Delay + slow
	p.Jitter += l.Jitter
	p.Loss = 1 - (1-p.Loss)*(1-l.Loss)*(1-lossy)
	if l.Rate > 0 {
		g := &l.ahead
		if from == l.B {
			g = &l.back
		}
		p.gates = append(p.gates, rated{g, l.Rate})
	}
	if s := l.now(); s != up && p.Broken == "" {
		p.Broken = fmt.Sprintf("%q is %s", l.Name(), s)
	}
}

func (p *Path) end(format string, args ...any) *Path {
	p.NoPath = fmt.Sprintf(format, args...)
	return p
}

func holds(prefixes []netip.Prefix, a netip.Addr) bool {
	for _, p := range prefixes {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// lag is how long n bytes sent now take to the other end, loss left out.
func (p *Path) lag(now time.Time, n int, random func() float64) time.Duration {
	d := p.Delay
	if p.Jitter > 0 {
		d += time.Duration(random() * float64(p.Jitter))
	}
	for _, r := range p.gates {
		d += r.gate.pass(now, n, r.rate)
	}
	return d
}
