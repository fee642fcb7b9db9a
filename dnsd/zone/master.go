package zone

import (
	"fmt"

	"github.com/miekg/dns"

	"github.com/catchment-net/catchment/internal/conf"
	"github.com/catchment-net/catchment/internal/master"
)

// defaultTTL holds for records before any $TTL and without a TTL of their own, in seconds.
const defaultTTL = 3600

// Parse reads a zone from a master file (RFC 1035 §5). $INCLUDE is refused: a zone is one document. The error is a
// *conf.Problems with every mistake, one line each, as "file:line:col: what is wrong; what would be right". The text must not be changed afterwards.
func Parse(origin, file string, text []byte) (*Zone, error) {
	if file == "" {
		file = origin
	}
	if _, ok := dns.IsDomainName(origin); !ok || origin == "" {
		return nil, fmt.Errorf("%s: zone name %q is no domain name; want one like shop.example", file, origin)
	}
	z := &Zone{origin: Canonical(origin), file: file, text: text, names: map[string]*name{}}
	z.plain = z
	z.add(z.origin)
	doc := conf.Plain(file, text)
	master.Read(doc, z.origin, text, master.Options{DefaultTTL: defaultTTL}, z.insert)
	if err := doc.Err(); err != nil {
		return nil, err
	}
	z.soa = z.names[z.origin].own(dns.TypeSOA)[0].(*dns.SOA)
	return z, nil
}

// insert takes one record in. Of a zone with mistakes it may get any.
func (z *Zone) insert(rr dns.RR) {
	h := rr.Header()
	if !dns.IsSubDomain(z.origin, h.Name) {
		return
	}
	n := z.add(h.Name)
	set := n.own(h.Rrtype)
	for _, other := range set {
		if dns.IsDuplicate(other, rr) {
			return
		}
	}
	if len(set) > 0 {
		// RFC 2181 §5.2: the TTLs of one RRset are equal; treat a difference as the lowest.
		ttl := min(h.Ttl, set[0].Header().Ttl)
		h.Ttl = ttl
		for _, other := range set {
			other.Header().Ttl = ttl
		}
	}
	n.put(h.Rrtype, append(set, rr))
	n.cut = n.cut || h.Rrtype == dns.TypeNS && h.Name != z.origin
}
