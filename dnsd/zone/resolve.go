package zone

import (
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// maxChain is the number of aliases that one answer follows; the resolver asks again for the rest.
const maxChain = 16

// Steerer answers for steered hosts. Host is canonical; owner is the name to put into the records. It returns the
// addresses of the type asked for, or one CNAME, or nothing for NODATA. Any other qtype than A, AAAA and CNAME is
// never asked.
type Steerer interface {
	Steer(host, owner string, qtype uint16) []dns.RR
}

// Answer is what a zone says to a question; the lists go into the sections of the same name.
type Answer struct {
	Rcode         int
	Authoritative bool
	Answer        []dns.RR
	Authority     []dns.RR
	Additional    []dns.RR
	Zone          *Zone // nil when REFUSED
}

// Resolve answers a question of class IN. Owner is as the client wrote it; its case comes back in the records. Names
// outside all zones are REFUSED, in broken ones SERVFAIL. Aliases are followed within the zone only.
func (s *Set) Resolve(owner string, qtype uint16, steerer Steerer) Answer {
	z := s.find(Canonical(owner), qtype)
	if z == nil {
		return Answer{Rcode: dns.RcodeRefused}
	}
	if z.Broken() {
		return Answer{Rcode: dns.RcodeServerFailure, Zone: z}
	}
	r := &resolution{zone: z, qtype: qtype, steerer: steerer, a: Answer{Zone: z, Authoritative: true}}
	seen := map[string]bool{}
	for range maxChain {
		lower := Canonical(owner)
		if seen[lower] || !dns.IsSubDomain(z.origin, lower) {
			break
		}
		seen[lower] = true
		if owner = r.step(owner, lower); owner == "" {
			break
		}
	}
	return r.a
}

// resolution is one walk through a zone.
type resolution struct {
	zone    *Zone
	qtype   uint16
	steerer Steerer
	a       Answer
}

// step answers for one name of the chain and returns the next name, or "" at the end.
func (r *resolution) step(owner, lower string) (next string) {
	// From the top down: the first delegation or DNAME above the name decides.
	labels := dns.Split(lower)
	top := dns.CountLabel(r.zone.origin)
	encloser := r.zone.origin
	for i := len(labels) - top; i >= 0; i-- {
		at := r.zone.origin
		if i < len(labels) {
			at = lower[labels[i]:]
		}
		n := r.zone.names[at]
		if n == nil {
			break
		}
		encloser = at
		if n.cut && (at != lower || r.qtype != dns.TypeDS) {
			r.refer(n)
			return ""
		}
		if d := n.rrset(dns.TypeDNAME); len(d) > 0 && at != lower {
			return r.rename(owner, at, d[0].(*dns.DNAME))
		}
	}
	if n := r.zone.names[lower]; n != nil {
		return r.at(n, lower, owner)
	}
	wild := wildcardOf(encloser)
	if n := r.zone.names[wild]; n != nil {
		return r.at(n, wild, owner)
	}
	r.a.Rcode = dns.RcodeNameError // of the last name of a chain, RFC 6604 §2.1
	r.a.Authority = append(r.a.Authority, r.zone.negativeSOA())
	return ""
}

// at answers from the name's own records, which get the owner that was asked for.
func (r *resolution) at(n *name, host, owner string) (next string) {
	if n.steered && (r.qtype == dns.TypeA || r.qtype == dns.TypeAAAA || r.qtype == dns.TypeCNAME) {
		return r.steer(host, owner)
	}
	if r.qtype == dns.TypeANY {
		r.any(n, owner)
		return ""
	}
	if n.steered && isService(r.qtype) {
		if alias := r.elsewhere(host, owner); alias != nil {
			r.a.Answer = append(r.a.Answer, alias...)
			return alias[0].(*dns.CNAME).Target
		}
	}
	if set := n.rrset(r.qtype); len(set) > 0 {
		if isService(r.qtype) {
			set = r.hinted(set, owner)
		}
		r.a.Answer = append(r.a.Answer, withOwner(set, owner)...)
		if r.qtype == dns.TypeNS {
			r.addresses(set)
		}
		return ""
	}
	// RFC 4035 §3.1.4.1 and RFC 2535: the proofs of an alias are its own, not its target's.
	if set := n.rrset(dns.TypeCNAME); len(set) > 0 && r.qtype != dns.TypeRRSIG && r.qtype != dns.TypeNSEC {
		r.a.Answer = append(r.a.Answer, withOwner(set, owner)...)
		return set[0].(*dns.CNAME).Target
	}
	r.nodata()
	return ""
}

func (r *resolution) steer(host, owner string) (next string) {
	rrs := r.steerer.Steer(host, owner, r.qtype)
	if len(rrs) == 0 {
		r.nodata()
		return ""
	}
	r.a.Answer = append(r.a.Answer, rrs...)
	if c, ok := rrs[0].(*dns.CNAME); ok && r.qtype != dns.TypeCNAME {
		return c.Target
	}
	return ""
}

// any answers ANY with one RRset (RFC 8482 §4.1), or, where all there is depends on the client, with HINFO (§4.2).
func (r *resolution) any(n *name, owner string) {
	for _, t := range n.types() {
		if isService(t) { // its hints may depend on the client
			continue
		}
		if set := n.rrset(t); len(set) > 0 {
			r.a.Answer = append(r.a.Answer, withOwner(set, owner)...)
			return
		}
	}
	if !n.steered && len(n.rrsets) == 0 {
		r.nodata()
		return
	}
	r.a.Answer = append(r.a.Answer, &dns.HINFO{
		Hdr: dns.RR_Header{Name: owner, Rrtype: dns.TypeHINFO, Class: dns.ClassINET, Ttl: min(r.zone.soa.Hdr.Ttl, r.zone.soa.Minttl)},
		Cpu: "RFC8482",
	})
}

func (r *resolution) nodata() {
	r.a.Authority = append(r.a.Authority, r.zone.negativeSOA())
}

// refer sends the client to the servers of a zone below, with the addresses that it could not learn otherwise. The DS
// records say nothing without the signatures of this zone (RFC 4035 §3.1.4) and stay out.
func (r *resolution) refer(n *name) {
	r.a.Authoritative = len(r.a.Answer) > 0 // the alias before it is ours
	servers := n.own(dns.TypeNS)
	r.a.Authority = append(r.a.Authority, servers...)
	r.addresses(servers)
}

// addresses adds those of name servers, as far as the zone has them and they are the same for everybody.
func (r *resolution) addresses(servers []dns.RR) {
	for _, rr := range servers {
		target := r.zone.names[Canonical(rr.(*dns.NS).Ns)]
		if target == nil || target.steered {
			continue
		}
		r.a.Additional = append(r.a.Additional, target.own(dns.TypeA)...)
		r.a.Additional = append(r.a.Additional, target.own(dns.TypeAAAA)...)
	}
}

// rename follows a DNAME (RFC 6672 §3.2): the part of the name below it moves under its target.
func (r *resolution) rename(owner, at string, d *dns.DNAME) (next string) {
	if !slices.Contains(r.a.Answer, dns.RR(d)) { // a chain may come through it twice
		r.a.Answer = append(r.a.Answer, d)
	}
	below := len(dns.Split(owner)) - dns.CountLabel(at)
	cut := dns.Split(owner)
	end := len(owner)
	if below < len(cut) {
		end = cut[below]
	}
	target := owner[:end] + d.Target
	if d.Target == "." {
		target = strings.TrimSuffix(owner[:end], ".") + "."
	}
	if !fits(target) {
		r.a.Rcode = dns.RcodeYXDomain
		return ""
	}
	r.a.Answer = append(r.a.Answer, &dns.CNAME{
		Hdr:    dns.RR_Header{Name: owner, Rrtype: dns.TypeCNAME, Class: dns.ClassINET, Ttl: d.Hdr.Ttl},
		Target: target,
	})
	if r.qtype == dns.TypeCNAME {
		return ""
	}
	return target
}

// fits reports whether a name is no longer than 255 octets on the wire.
func fits(owner string) bool {
	_, err := dns.PackDomainName(owner, make([]byte, 255), 0, nil, false)
	return err == nil
}

// withOwner returns copies of the records under another owner, or the records themselves where it is theirs already.
func withOwner(set []dns.RR, owner string) []dns.RR {
	if set[0].Header().Name == owner {
		return set
	}
	out := make([]dns.RR, len(set))
	for i, rr := range set {
		out[i] = dns.Copy(rr)
		out[i].Header().Name = owner
	}
	return out
}
