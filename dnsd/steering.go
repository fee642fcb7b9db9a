package dnsd

import (
	"net/netip"

	"github.com/miekg/dns"

	"github.com/catchment-net/catchment/dnsd/steer"
	"github.com/catchment-net/catchment/dnsd/zone"
)

// steering answers for the steered hosts of one query.
type steering struct {
	server   *Server
	state    *state
	client   netip.Addr // of the ECS option; not valid: none, or it asks not to be used
	resolver netip.Addr
	bits     uint8  // the longest scope that a decision had
	chosen   int    // the metrics' number of the last decision; 0: none
	closed   uint32 // TTL of a host that answers nothing only because all is down; 0: there was none
}

var _ zone.Steerer = (*steering)(nil)

// Steer makes the records of a host for this query's client. A question for the CNAME itself is answered only where
// there is one.
func (st *steering) Steer(host, owner string, qtype uint16) []dns.RR {
	p := st.state.config.policies[host]
	if p == nil {
		return nil
	}
	family := 4
	if qtype == dns.TypeAAAA {
		family = 6
	}
	set, bits := p.Pick(st.addr(), family, st.state.health)
	st.bits = max(st.bits, bits)
	st.chosen = st.server.metrics.popNo.number(label(p, set))
	if set == 0 && p.Serves(family) {
		st.closed = p.TTL()
	}
	addrs, cname := p.Answer(set, family, st.state.health)
	return records(addrs, cname, dns.RR_Header{Name: owner, Rrtype: qtype, Class: dns.ClassINET, Ttl: p.TTL()})
}

// addr is who is steered: the client if he names himself, else his resolver.
func (st *steering) addr() netip.Addr {
	if st.client.IsValid() {
		return st.client
	}
	return st.resolver
}

// label is what a decision counts as.
func label(p *steer.Policy, set steer.SetID) string {
	switch name := p.Name(set); {
	case name == "":
		return "none"
	case p.Own():
		return "target"
	default:
		return name
	}
}

// records puts an answer under a header.
func records(addrs []netip.Addr, cname string, h dns.RR_Header) []dns.RR {
	if cname != "" {
		h.Rrtype = dns.TypeCNAME
		return []dns.RR{&dns.CNAME{Hdr: h, Target: cname}}
	}
	var rrs []dns.RR
	switch h.Rrtype {
	case dns.TypeA:
		for _, a := range addrs {
			rrs = append(rrs, &dns.A{Hdr: h, A: a.AsSlice()})
		}
	case dns.TypeAAAA:
		for _, a := range addrs {
			rrs = append(rrs, &dns.AAAA{Hdr: h, AAAA: a.AsSlice()})
		}
	}
	return rrs
}

// settle bounds for how long a negative answer is kept that lasts only while all is down (`fail: closed`): no longer than
// an address would be. It must be called after each Resolve.
func (st *steering) settle(a *zone.Answer) {
	ttl := st.closed
	st.closed = 0
	if ttl == 0 || len(a.Authority) == 0 {
		return
	}
	if soa, ok := a.Authority[0].(*dns.SOA); ok && soa.Hdr.Ttl > ttl {
		short := *soa
		short.Hdr.Ttl = ttl
		a.Authority = []dns.RR{&short}
	}
}

// scope is what the reply's ECS option says: the network that the decisions hold for. It is 0 for what is the same for
// everybody: records of the zone, negative answers, referrals (RFC 7871 §7.4), and when the client gave us no subnet.
func (st *steering) scope(a zone.Answer) uint8 {
	if !st.client.IsValid() || len(a.Answer) == 0 {
		return 0
	}
	return st.bits
}
