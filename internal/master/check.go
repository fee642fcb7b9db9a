package master

import (
	"fmt"
	"strings"

	"github.com/miekg/dns"

	"github.com/catchment-net/catchment/internal/conf"
)

// check looks at the records of one zone, in the order of its file.
type check struct {
	doc     *conf.Doc
	origin  string
	records int
	soa, ns bool // at the top
	owners  map[string]owner
}

// owner is what a name has.
type owner struct{ cname, dname, others bool }

func (c *check) fail(line int, what, fix string) { c.doc.Fail(line, 0, what, fix) }

func (c *check) record(rr dns.RR, line int) {
	h := rr.Header()
	c.records++
	switch {
	case h.Rrtype == dns.TypeSOA && h.Name != c.origin:
		c.fail(line, fmt.Sprintf("the SOA is that of %q, but this zone is %s", h.Name, c.origin),
			fmt.Sprintf("give that zone a file of its own named %s, or mend $ORIGIN", strings.TrimSuffix(h.Name, ".")))
		c.soa = true
		return
	case !dns.IsSubDomain(c.origin, h.Name):
		c.fail(line, fmt.Sprintf("record of %q is outside the zone %s", h.Name, c.origin),
			"remove it, or write the name without the final dot if it is meant to lie inside")
		return
	case h.Class != dns.ClassINET:
		c.fail(line, fmt.Sprintf("record of %q has the class %s", h.Name, dns.Class(h.Class)), "write IN, or leave the class out")
		return
	case h.Ttl > maxTTL:
		c.fail(line, fmt.Sprintf("TTL %d is too long", h.Ttl), fmt.Sprintf("write at most %d seconds (RFC 2181 §8)", maxTTL))
	}
	switch h.Rrtype {
	case dns.TypeSOA:
		if c.soa {
			c.fail(line, "a second SOA", "keep one: a zone has exactly one")
		}
		c.soa = true
	case dns.TypeNS:
		c.ns = c.ns || h.Name == c.origin
	}
	c.alone(h, line)
}

// alone sees to it that a CNAME stands alone but for its proofs (RFC 1034 §3.6.2, RFC 4034 §3 and §4), and that there is
// one DNAME at a name at most (RFC 6672 §2.4).
func (c *check) alone(h *dns.RR_Header, line int) {
	o := c.owners[h.Name]
	switch {
	case h.Rrtype == dns.TypeRRSIG || h.Rrtype == dns.TypeNSEC:
		return
	case o.cname || h.Rrtype == dns.TypeCNAME && o.others:
		c.fail(line, fmt.Sprintf("%q has a CNAME and other records", h.Name), "keep one of them: a CNAME stands alone (RFC 1034 §3.6.2)")
	case o.dname && h.Rrtype == dns.TypeDNAME:
		c.fail(line, fmt.Sprintf("a second DNAME at %q", h.Name), "keep one: a name is moved to one place (RFC 6672 §2.4)")
	}
	o.cname = o.cname || h.Rrtype == dns.TypeCNAME
	o.dname = o.dname || h.Rrtype == dns.TypeDNAME
	o.others = o.others || h.Rrtype != dns.TypeCNAME
	c.owners[h.Name] = o
}

// whole reports what a zone must have.
func (c *check) whole() {
	switch {
	case c.records == 0:
		c.fail(0, fmt.Sprintf("zone %s has no records", c.origin), "begin with $TTL, an SOA and the NS records")
		return
	case !c.soa:
		c.fail(1, fmt.Sprintf("zone %s has no SOA", c.origin), "add `@ SOA ns1 hostmaster 1 3600 600 1209600 60` as its first record")
	}
	if !c.ns {
		c.fail(1, fmt.Sprintf("zone %s has no NS record", c.origin), "add `@ NS ns1` and an address for it")
	}
}
