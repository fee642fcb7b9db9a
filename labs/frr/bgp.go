package frr

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/catchment-net/catchment/labs/collector"
	"github.com/catchment-net/catchment/labs/layout"
)

// listener is what the collector is to a network: it hears everything and says nothing.
const listener layout.Relation = "collector"

// router is a machine's BGP as FRR is told of it.
type router struct {
	asn      uint32
	id       netip.Addr
	networks []netip.Prefix // what it originates
	sessions []session
}

// session is one neighbour. Both address families ride one session over IPv4 (RFC 4760).
type session struct {
	peer      string
	addr      netip.Addr
	asn       uint32
	relation  layout.Relation // what the neighbour is to us
	prepend   int
	nextHop4  netip.Addr // ours on the link
	nextHop6  netip.Addr // the same for IPv6
	byDefault bool       // it is told a default route: a POP node holds no full table
	place     int        // of a POP's node: the POP's rank among those that are equally far; else 0
	passive   bool
	bfd       time.Duration // between two BFD packets; 0 means no BFD
}

func newRouter(o Options) *router {
	m := o.Machine
	r := &router{asn: m.ASN, id: m.RouterID, networks: m.Prefixes}
	ranks := places(m)
	for _, i := range m.Interfaces {
		far := i.Peer.Machine
		r.sessions = append(r.sessions, session{
			peer: far.Name, addr: i.Peer.V4, asn: far.ASN, relation: i.Relation, prepend: i.Prepend, nextHop4: i.V4, nextHop6: i.V6,
			byDefault: i.Default, place: ranks[far.Node], bfd: i.BFD,
		})
	}
	if o.Collector.IsValid() {
		s := session{peer: "collector", addr: o.Collector, asn: collector.ASN, relation: listener, passive: o.CollectorDials}
		if len(m.Interfaces) > 0 {
			s.nextHop6 = m.Interfaces[0].V6 // the way to the collector has no IPv6, and a path needs some next hop
		}
		r.sessions = append(r.sessions, s)
	}
	return r
}

// localPref is what a route from such a neighbour is worth, as in our own speaker: customers pay, peers are free,
// providers cost.
func localPref(r layout.Relation) int {
	return map[layout.Relation]int{layout.Customer: 300, layout.Peer: 200, layout.Provider: 100}[r]
}

// write writes its BGP. Who hears what, after Gao and Rexford: our own routes and those of customers carry the large
// community ASN:0:1 inside the router and go to everybody; the rest goes to customers alone. It is taken from what comes
// in and from what goes out, so that nobody else can set it or see it.
func (r *router) write(p *printer) {
	p.line("router bgp %d", r.asn)
	p.line(" bgp router-id %s", r.id)
	p.line(" no bgp default ipv4-unicast")
	p.line(" no bgp network import-check")
	p.line(" bgp bestpath compare-routerid") // where clients land must not depend on who came up first
	p.line(" bgp deterministic-med")
	p.line(" timers bgp 3 9")
	p.line(" coalesce-time 0") // else a POP that is back hears of its clients a second after they hear of it
	for _, s := range r.sessions {
		p.line(" neighbor %s remote-as %d", s.addr, s.asn)
		p.line(" neighbor %s description %s", s.addr, s.peer)
		p.line(" neighbor %s timers connect 1", s.addr)
		p.line(" neighbor %s advertisement-interval 0", s.addr)
		if s.passive {
			p.line(" neighbor %s passive", s.addr)
		}
		if s.bfd != 0 {
			p.line(" neighbor %s bfd", s.addr)
			p.line(" neighbor %s bfd profile %s", s.addr, profile(s.bfd))
		}
	}
	r.family(p, "ipv4", func(n netip.Prefix) bool { return n.Addr().Is4() })
	r.family(p, "ipv6", func(n netip.Prefix) bool { return n.Addr().Is6() })
	p.line("exit\n!")
	r.policies(p)
}

func (r *router) family(p *printer, name string, holds func(netip.Prefix) bool) {
	p.line(" !\n address-family %s unicast", name)
	for _, n := range r.networks {
		if holds(n) {
			p.line("  network %s route-map OWN", n)
		}
	}
	for _, s := range r.sessions {
		p.line("  neighbor %s activate", s.addr)
		p.line("  neighbor %s soft-reconfiguration inbound", s.addr)
		p.line("  neighbor %s route-map %s in", s.addr, s.in())
		p.line("  neighbor %s route-map %s out", s.addr, s.out())
		if s.byDefault {
			p.line("  neighbor %s default-originate", s.addr)
		}
	}
	p.line("  maximum-paths 16")
	p.line(" exit-address-family")
}

func (s *session) in() string {
	if s.place > 0 {
		return fmt.Sprintf("FROM-%s-%d", strings.ToUpper(string(s.relation)), s.place)
	}
	return "FROM-" + strings.ToUpper(string(s.relation))
}

func (s *session) out() string {
	if s.relation == listener {
		return "TO-COLLECTOR"
	}
	return "TO-" + s.peer
}

func (r *router) policies(p *printer) {
	mark := fmt.Sprintf("%d:0:1", r.asn)
	p.line("bgp large-community-list standard OWN permit %s", mark)
	p.line("bgp community-list standard GSHUT permit 65535:0\n!")
	p.line("route-map OWN permit 10\n set large-community %s\nexit\n!", mark)
	written := map[string]bool{}
	for _, s := range r.sessions {
		if name := s.in(); !written[name] {
			s.incoming(p, mark)
			written[name] = true
		}
	}
	for _, s := range r.sessions {
		s.outgoing(p, r.asn)
	}
}

// incoming judges what such neighbours say. A route-map ends at its first match, so the mark is dropped first, and
// GSHUT (RFC 8326) has the last word because nothing comes after its local preference of 0.
//
// The metric tells POPs apart: FRR shares the load among paths that are equal up to the router id, which the nodes of
// one POP should do and two POPs must not, since then a client would land at both.
func (s *session) incoming(p *printer, mark string) {
	if s.relation == listener {
		p.line("route-map %s deny 10\nexit\n!", s.in())
		return
	}
	if s.relation == layout.Internal { // what the other router of the AS has weighed; ours come first among equals
		p.line("route-map %s permit 10\n set metric %d\n set ipv6 next-hop prefer-global\nexit\n!", s.in(), internalMetric)
		return
	}
	set := func(pref int) {
		p.line(" set local-preference %d", pref)
		p.line(" set metric %d", s.place)
		if s.place > 0 { // a POP's node names its own address as the next hop, which is on no cable
			p.line(" set ip next-hop peer-address")
		}
		p.line(" set ipv6 next-hop prefer-global") // the link-local one would have to be asked for on the cable
		if s.relation == layout.Customer {
			p.line(" set large-community %s additive", mark)
		}
		p.line("exit\n!")
	}
	p.line("route-map %s permit 10\n set large-comm-list OWN delete\n on-match next\nexit\n!", s.in())
	p.line("route-map %s permit 20\n match community GSHUT", s.in())
	set(0)
	p.line("route-map %s permit 30", s.in())
	set(localPref(s.relation))
}

// internalMetric puts a path that another router of the AS has told behind all that neighbours have.
const internalMetric = 1 << 16

// outgoing decides what a neighbour hears: customers, other routers of the AS and the collector everything, others what is
// marked.
func (s *session) outgoing(p *printer, asn uint32) {
	p.line("route-map %s permit 10", s.out())
	if s.relation == layout.Peer || s.relation == layout.Provider {
		p.line(" match large-community OWN")
	}
	if s.relation != layout.Internal {
		p.line(" set large-comm-list OWN delete")
	}
	if s.prepend > 0 {
		p.line(" set as-path prepend%s", strings.Repeat(fmt.Sprintf(" %d", asn), s.prepend))
	}
	if s.relation == layout.Internal { // next-hop-self leaves a next hop of 169.254.0.0/16 as it is
		p.line(" set ip next-hop %s", s.nextHop4)
	}
	if s.nextHop6.IsValid() {
		p.line(" set ipv6 next-hop global %s", s.nextHop6)
	}
	p.line("exit\n!")
}
