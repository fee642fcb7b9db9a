package zone

import (
	"net"
	"slices"

	"github.com/miekg/dns"
)

// Service records (HTTPS and SVCB, RFC 9460) carry address hints, by which a client connects without waiting for A and
// AAAA. Where a record leads to a steered host, its hints must be the addresses that this client would be given: any
// others would take it past the steering.
//
//	www HTTPS 1 . alpn=h2     steered to 192.0.2.80    ->  www HTTPS 1 . alpn=h2 ipv4hint=192.0.2.80
//	www HTTPS 1 . alpn=h2     steered to a CNAME       ->  www CNAME cdn.example.     which brings its own HTTPS
//
// A zone file's hints for such a host are replaced. Records in alias form (priority 0) carry none.

func isService(qtype uint16) bool { return qtype == dns.TypeHTTPS || qtype == dns.TypeSVCB }

// elsewhere returns the CNAME that the host is steered to for this client, if it is.
func (r *resolution) elsewhere(host, owner string) []dns.RR {
	for _, family := range []uint16{dns.TypeA, dns.TypeAAAA} {
		rrs := r.steerer.Steer(host, owner, family)
		if len(rrs) > 0 && rrs[0].Header().Rrtype == dns.TypeCNAME {
			return rrs
		}
	}
	return nil
}

// hinted returns the service records with the hints of the steered hosts that they lead to. Records that lead to none
// come back as they are.
func (r *resolution) hinted(set []dns.RR, owner string) []dns.RR {
	out := slices.Clone(set)
	for i, rr := range set {
		record := serviceOf(rr)
		if record.Priority == 0 {
			continue
		}
		target := Canonical(record.Target)
		if target == "." { // the owner itself (RFC 9460 §2.5.2)
			target = Canonical(owner)
		}
		host, steered := r.zone.steeredHost(target)
		if !steered {
			continue
		}
		out[i] = dns.Copy(rr)
		r.hint(out[i], host)
	}
	return out
}

// hint replaces the hints of one record, which is ours to change.
func (r *resolution) hint(rr dns.RR, host string) {
	record := serviceOf(rr)
	record.Value = slices.DeleteFunc(record.Value, func(kv dns.SVCBKeyValue) bool {
		return kv.Key() == dns.SVCB_IPV4HINT || kv.Key() == dns.SVCB_IPV6HINT
	})
	var four, six []net.IP
	for _, family := range []uint16{dns.TypeA, dns.TypeAAAA} {
		for _, a := range r.steerer.Steer(host, host, family) {
			switch a := a.(type) {
			case *dns.A:
				four = append(four, a.A)
			case *dns.AAAA:
				six = append(six, a.AAAA)
			}
			record.Hdr.Ttl = min(record.Hdr.Ttl, a.Header().Ttl) // the hints live no longer than the addresses
		}
	}
	if four != nil {
		record.Value = append(record.Value, &dns.SVCBIPv4Hint{Hint: four})
	}
	if six != nil {
		record.Value = append(record.Value, &dns.SVCBIPv6Hint{Hint: six})
	}
	slices.SortFunc(record.Value, func(a, b dns.SVCBKeyValue) int { return int(a.Key()) - int(b.Key()) })
}

func serviceOf(rr dns.RR) *dns.SVCB {
	if https, is := rr.(*dns.HTTPS); is {
		return &https.SVCB
	}
	return rr.(*dns.SVCB)
}

// steeredHost finds the steered host whose addresses a name has: itself, or the wildcard that makes it.
func (z *Zone) steeredHost(name string) (host string, steered bool) {
	if !dns.IsSubDomain(z.origin, name) {
		return "", false
	}
	if by, hidden := z.occluded(name); hidden && by != "" {
		return "", false
	}
	if n := z.names[name]; n != nil {
		return name, n.steered
	}
	for up := parent(name); ; up = parent(up) {
		if z.names[up] != nil {
			wild := wildcardOf(up)
			n := z.names[wild]
			return wild, n != nil && n.steered
		}
	}
}

// wildcardOf is the wildcard directly below a name.
func wildcardOf(encloser string) string {
	if encloser == "." {
		return "*."
	}
	return "*." + encloser
}
