package bird

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/catchment-net/catchment/labs/collector"
	"github.com/catchment-net/catchment/labs/layout"
	"github.com/catchment-net/catchment/topology"
)

// listener is what the collector is to a network: it hears everything and says nothing.
const listener layout.Relation = "collector"

// router is a machine's BGP as BIRD is told of it.
type router struct {
	asn      uint32
	sessions []session
}

// session is one neighbour. Both address families ride one session over IPv4 (RFC 4760).
type session struct {
	name      string // of the protocol
	addr      netip.Addr
	asn       uint32
	relation  layout.Relation // what the neighbour is to us
	prepend   int
	nextHop6  netip.Addr // ours on the link
	isNode    bool       // a POP's, which names its own address as the next hop
	byDefault bool       // it is told a default route
	rank      int        // among the neighbours, by router id
	bfd       bool
}

func newRouter(o Options) *router {
	m := o.Machine
	r := &router{asn: m.ASN}
	ranks := rank(m)
	for _, i := range m.Interfaces {
		far := i.Peer.Machine
		r.sessions = append(r.sessions, session{
			name: i.Name, addr: i.Peer.V4, asn: far.ASN, relation: i.Relation, prepend: i.Prepend, nextHop6: i.V6,
			isNode: far.Node != nil, byDefault: i.Default, rank: ranks[far], bfd: i.BFD != 0,
		})
	}
	if o.Collector.IsValid() {
		s := session{name: "collector", addr: o.Collector, asn: collector.ASN, relation: listener}
		if len(m.Interfaces) > 0 {
			s.nextHop6 = m.Interfaces[0].V6 // the way to the collector has no IPv6, and a path needs some next hop
		}
		r.sessions = append(r.sessions, s)
	}
	return r
}

// rank orders the neighbours by router id, the tie breaker that our own routers use, from 1. The nodes of a POP share the
// rank of the first of them: BIRD shares the load among paths of one rank, which the nodes of one POP should do and two
// POPs, or a POP and a network, must not.
func rank(m *layout.Machine) map[*layout.Machine]int {
	least := map[*topology.POP]netip.Addr{}
	var all []*layout.Machine
	for _, i := range m.Interfaces {
		far := i.Peer.Machine
		all = append(all, far)
		if far.Node == nil {
			continue
		}
		if id, seen := least[far.Node.POP]; !seen || far.RouterID.Less(id) {
			least[far.Node.POP] = far.RouterID
		}
	}
	id := func(far *layout.Machine) netip.Addr {
		if far.Node != nil {
			return least[far.Node.POP]
		}
		return far.RouterID
	}
	slices.SortFunc(all, func(a, b *layout.Machine) int { return cmp.Or(id(a).Compare(id(b)), cmp.Compare(a.Name, b.Name)) })
	ranks := map[*layout.Machine]int{}
	for i, far := range all {
		ranks[far] = i + 1
		if i > 0 && id(all[i-1]) == id(far) {
			ranks[far] = ranks[all[i-1]]
		}
	}
	return ranks
}

// internalRank puts a path that another router of the AS has told behind all that neighbours have.
const internalRank = 1 << 16

// localPref is what a route from such a neighbour is worth, as in our own speaker: customers pay, peers are free,
// providers cost.
func localPref(r layout.Relation) int {
	return map[layout.Relation]int{layout.Customer: 300, layout.Peer: 200, layout.Provider: 100}[r]
}

// functions judge routes. Who hears what, after Gao and Rexford: routes of customers carry the large community ASN:0:1
// inside the AS and go to everybody, as our own do; the rest goes to customers alone. The mark is taken from what comes in
// and from what goes out, so that nobody else can set it or see it.
//
// The rank goes by MED, which is compared among all neighbours. GSHUT (RFC 8326) has the last word.
func (r *router) functions(p *printer) {
	p.line("function taken(int pref; int rank) {")
	p.line("  bgp_large_community.delete([(%d, 0, 1)]);", r.asn)
	p.line("  bgp_local_pref = pref;")
	p.line("  bgp_med = rank;")
	p.line("  if (65535, 0) ~ bgp_community then bgp_local_pref = 0;")
	p.line("}")
	p.line("function of_customers() {")
	p.line("  return source = RTS_STATIC || (%d, 0, 1) ~ bgp_large_community;", r.asn)
	p.line("}")
	p.line("function told() {")
	p.line("  bgp_large_community.delete([(%d, 0, 1)]);", r.asn)
	p.line("  unset(bgp_med);")
	p.line("}")
}

// write writes a session. BIRD waits a second before it connects; a neighbour that connects sooner is welcome.
func (s *session) write(p *printer, r *router) {
	p.line("protocol bgp %s {", s.name)
	p.line("  local as %d;\n  neighbor %s as %d;\n  direct;", r.asn, s.addr, s.asn)
	p.line("  hold time 9; keepalive time 3;")
	p.line("  connect delay time 1; connect retry time 1; error wait time 1, 1;")
	p.line("  med metric on;")
	if s.bfd {
		p.line("  bfd on;")
	}
	for _, f := range families() {
		p.line("  %s {", f.name)
		p.line("    next hop self;")
		if !f.four && s.nextHop6.IsValid() {
			p.line("    next hop address %s;", s.nextHop6)
		}
		if s.isNode { // its next hop is no address of the link
			p.line("    gateway recursive; igp table %s;", f.igp())
		}
		s.incoming(p, r)
		s.outgoing(p, r)
		p.line("  };")
	}
	p.line("}")
}

// incoming judges what the neighbour says.
func (s *session) incoming(p *printer, r *router) {
	switch s.relation {
	case listener:
		p.line("    import none;")
	case layout.Internal:
		p.line("    import filter { bgp_med = %d; accept; };", internalRank)
	case layout.Customer:
		p.line("    import filter { taken(%d, %d); bgp_large_community.add((%d, 0, 1)); accept; };", localPref(s.relation), s.rank, r.asn)
	default:
		p.line("    import filter { taken(%d, %d); accept; };", localPref(s.relation), s.rank)
	}
}

// outgoing decides what the neighbour hears: customers, the other routers of the AS and the collector everything, others
// what our customers and we have.
func (s *session) outgoing(p *printer, r *router) {
	p.line("    export filter {")
	verdict := "reject"
	if s.byDefault {
		verdict = "accept"
	}
	p.line("      if net.len = 0 then %s;", verdict)
	switch s.relation {
	case layout.Internal:
		p.line("      if source = RTS_STATIC then bgp_large_community.add((%d, 0, 1));", r.asn)
	case layout.Peer, layout.Provider:
		p.line("      if ! of_customers() then reject;")
		p.line("      told();")
	default:
		p.line("      told();")
	}
	for range s.prepend {
		p.line("      bgp_path.prepend(%d);", r.asn)
	}
	p.line("      accept;\n    };")
}
