package zone

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/miekg/dns"
)

// defaultTTL holds for records before any $TTL and without a TTL of their own, in seconds.
const defaultTTL = 3600

// Parse reads a zone from a master file (RFC 1035 §5). $INCLUDE is refused: a zone is one document. All mistakes that
// can be told apart are in the error, one line each, as "file: what is wrong; what would be right".
func Parse(origin, file string, text []byte) (*Zone, error) {
	if file == "" {
		file = origin
	}
	if _, ok := dns.IsDomainName(origin); !ok || origin == "" {
		return nil, fmt.Errorf("%s: zone name %q is no domain name; want one like shop.example", file, origin)
	}
	z := &Zone{origin: Canonical(origin), file: file, names: map[string]*name{}}
	z.add(z.origin)
	p := dns.NewZoneParser(bytes.NewReader(text), z.origin, file)
	p.SetDefaultTTL(defaultTTL)
	var errs []error
	for rr, ok := p.Next(); ok; rr, ok = p.Next() {
		if err := z.insert(rr); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", file, err))
		}
	}
	if err := p.Err(); err != nil {
		errs = append(errs, positioned(file, err))
	} else {
		errs = append(errs, z.check()...)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return z, nil
}

// positioned brings the parser's "file: dns: what at line: 3:12" into the form of all our messages.
func positioned(file string, err error) error {
	text := strings.TrimPrefix(strings.TrimPrefix(err.Error(), file+": "), "dns: ")
	if i := strings.LastIndex(text, " at line: "); i >= 0 {
		return fmt.Errorf("%s:%s: %s; want a record as in RFC 1035 §5", file, text[i+len(" at line: "):], text[:i])
	}
	return fmt.Errorf("%s: %s", file, text)
}

func (z *Zone) insert(rr dns.RR) error {
	h := rr.Header()
	h.Name = Canonical(h.Name)
	switch {
	case !dns.IsSubDomain(z.origin, h.Name):
		return fmt.Errorf("record %q lies outside the zone %q; move it to its own zone's file", h.Name, z.origin)
	case h.Class != dns.ClassINET:
		return fmt.Errorf("record %q is of class %s; want IN", h.Name, dns.Class(h.Class))
	case h.Rrtype == dns.TypeSOA && h.Name != z.origin:
		return fmt.Errorf("SOA at %q; want it at the zone's name %q only", h.Name, z.origin)
	}
	n := z.add(h.Name)
	set := n.rrsets[h.Rrtype]
	for _, other := range set {
		if dns.IsDuplicate(other, rr) {
			return nil
		}
	}
	if len(set) > 0 {
		if one := h.Rrtype == dns.TypeSOA || h.Rrtype == dns.TypeCNAME || h.Rrtype == dns.TypeDNAME; one {
			return fmt.Errorf("a second %s at %q; want one", dns.Type(h.Rrtype), h.Name)
		}
		// RFC 2181 §5.2: the TTLs of one RRset are equal; treat a difference as the lowest.
		ttl := min(h.Ttl, set[0].Header().Ttl)
		h.Ttl = ttl
		for _, other := range set {
			other.Header().Ttl = ttl
		}
	}
	n.rrsets[h.Rrtype] = append(set, rr)
	n.cut = n.cut || h.Rrtype == dns.TypeNS && h.Name != z.origin
	return nil
}

// check looks for what one record alone cannot show.
func (z *Zone) check() []error {
	var errs []error
	apex := z.names[z.origin].rrsets
	if soa := apex[dns.TypeSOA]; len(soa) == 1 {
		z.soa = soa[0].(*dns.SOA)
	} else {
		errs = append(errs, fmt.Errorf("%s: zone %q has no SOA record; want one at its top", z.file, z.origin))
	}
	if len(apex[dns.TypeNS]) == 0 {
		errs = append(errs, fmt.Errorf("%s: zone %q has no NS record; want its name servers at its top", z.file, z.origin))
	}
	for owner, n := range z.names {
		if _, alias := n.rrsets[dns.TypeCNAME]; !alias {
			continue
		}
		for _, t := range n.types() {
			if t != dns.TypeCNAME && t != dns.TypeRRSIG && t != dns.TypeNSEC { // RFC 2181 §10.1, RFC 4034 §3, §4
				errs = append(errs, fmt.Errorf("%s: %q has a CNAME and a %s; want the CNAME alone", z.file, owner, dns.Type(t)))
				break
			}
		}
	}
	return errs
}
