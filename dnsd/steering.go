package dnsd

import (
	"net/netip"

	"github.com/miekg/dns"

	"github.com/catchment-net/catchment/dnsd/steer"
	"github.com/catchment-net/catchment/dnsd/zone"
	"github.com/catchment-net/catchment/health"
)

// steering answers for the steered hosts of one query.
type steering struct {
	server   *Server
	config   *config
	view     *health.View
	client   netip.Addr // of the ECS option; not valid: none, or it asks not to be used
	resolver netip.Addr
	bits     int // the longest scope that a decision had
}

var _ zone.Steerer = (*steering)(nil)

// Steer makes the records of a host for this query's client. A question for the CNAME itself is answered only where
// there is one.
func (st *steering) Steer(host, owner string, qtype uint16) []dns.RR {
	p := st.config.policies[host]
	if p == nil {
		return nil
	}
	addr := st.client
	if !addr.IsValid() {
		addr = st.resolver
	}
	family := 4
	if qtype == dns.TypeAAAA {
		family = 6
	}
	d := p.Decide(steer.Locate(st.config.geo, addr), family, st.view)
	st.bits = max(st.bits, d.Scope.Bits())
	st.server.metrics.steeredTo(d.Name, p.Own())
	return records(d, owner, qtype)
}

func records(d steer.Decision, owner string, qtype uint16) []dns.RR {
	h := dns.RR_Header{Name: owner, Rrtype: qtype, Class: dns.ClassINET, Ttl: d.TTL}
	if d.CNAME != "" {
		h.Rrtype = dns.TypeCNAME
		return []dns.RR{&dns.CNAME{Hdr: h, Target: d.CNAME}}
	}
	var rrs []dns.RR
	switch qtype {
	case dns.TypeA:
		for _, a := range d.Addrs {
			rrs = append(rrs, &dns.A{Hdr: h, A: a.AsSlice()})
		}
	case dns.TypeAAAA:
		for _, a := range d.Addrs {
			rrs = append(rrs, &dns.AAAA{Hdr: h, AAAA: a.AsSlice()})
		}
	}
	return rrs
}

// scope is what the reply's ECS option says: the network that the decisions hold for. It is 0 for what is the same for
// everybody: records of the zone, negative answers, referrals (RFC 7871 §7.4), and when the client gave us no subnet.
func (st *steering) scope(a zone.Answer) uint8 {
	if !st.client.IsValid() || len(a.Answer) == 0 {
		return 0
	}
	return uint8(max(0, st.bits))
}
