// Package zone holds zones read from master files and answers from them as RFC 1034 §4.3.2 says: delegations, wildcards
// (RFC 4592), CNAME and DNAME (RFC 6672), negative answers (RFC 2308). Steered hosts lie over a zone: their names exist
// whatever the file says, and their addresses come from a Steerer.
//
// It is pure. A Zone and a Set are immutable and safe for concurrent use.
package zone

import (
	"maps"
	"slices"

	"github.com/miekg/dns"

	"github.com/catchment-net/catchment/internal/master"
)

// Zone is one zone. All its names are lower case and end with a dot.
type Zone struct {
	origin string
	file   string
	text   []byte // what it was read from
	soa    *dns.SOA
	names  map[string]*name // every name at or below the origin, empty non-terminals included; none of a broken zone

	plain *Zone    // without the hosts; itself if it has none
	hosts []string // that are steered, sorted
}

// name is a node of the tree. One without records is an empty non-terminal (RFC 4592 §2.2.2).
type name struct {
	rrsets  []rrset // by type, lowest first
	steered bool    // A, AAAA and CNAME are the Steerer's
	cut     bool    // NS below the apex: a delegation; what is below is not ours to answer
}

// rrset is the records of one type. Most names have one or two, so that a list is smaller than a map and as fast.
type rrset struct {
	qtype uint16
	rrs   []dns.RR
}

// own returns the zone's own records of a type.
func (n *name) own(qtype uint16) []dns.RR {
	for _, set := range n.rrsets {
		if set.qtype == qtype {
			return set.rrs
		}
	}
	return nil
}

// put replaces the records of a type.
func (n *name) put(qtype uint16, rrs []dns.RR) {
	i, there := slices.BinarySearchFunc(n.rrsets, qtype, func(s rrset, t uint16) int { return int(s.qtype) - int(t) })
	if !there {
		n.rrsets = slices.Insert(n.rrsets, i, rrset{qtype: qtype})
	}
	n.rrsets[i].rrs = rrs
}

// Origin returns the zone's name, lower case with its final dot.
func (z *Zone) Origin() string { return z.origin }

// Serial returns the serial number of the zone's SOA record, 0 of a broken zone.
func (z *Zone) Serial() uint32 {
	if z.Broken() {
		return 0
	}
	return z.soa.Serial
}

// Broken reports whether the zone has nothing to answer from.
func (z *Zone) Broken() bool { return z.soa == nil }

// NewBroken is a zone that we should serve and cannot: its names are SERVFAIL (RFC 1035 §4.1.1), so that a resolver asks
// another server. Without it a zone above would say that they do not exist.
func NewBroken(origin, file string) *Zone {
	z := &Zone{origin: Canonical(origin), file: file}
	z.plain = z
	return z
}

// rrset returns the records that the zone itself answers for a type; at a steered name the Steerer's types are hidden.
func (n *name) rrset(qtype uint16) []dns.RR {
	if n.steered && (qtype == dns.TypeA || qtype == dns.TypeAAAA || qtype == dns.TypeCNAME) {
		return nil
	}
	return n.own(qtype)
}

// add puts the name and its ancestors up to the origin into the tree.
func (z *Zone) add(owner string) *name {
	n := z.names[owner]
	if n == nil {
		n = &name{}
		z.names[owner] = n
		if owner != z.origin {
			z.add(parent(owner))
		}
	}
	return n
}

// withSteered returns a copy of the zone in which the hosts, sorted, exist.
func (z *Zone) withSteered(hosts []string) *Zone {
	c := &Zone{origin: z.origin, file: z.file, text: z.text, soa: z.soa, names: maps.Clone(z.names), plain: z, hosts: hosts}
	for _, h := range hosts {
		n := *c.add(h)
		n.steered = true
		c.names[h] = &n
	}
	return c
}

// occluded reports whether owner lies below a delegation or a DNAME, so that its records are never an answer.
func (z *Zone) occluded(owner string) (by string, yes bool) {
	for owner != z.origin {
		owner = parent(owner)
		n := z.names[owner]
		if n != nil && (n.cut || len(n.rrset(dns.TypeDNAME)) > 0) {
			return owner, true
		}
	}
	return "", false
}

// negativeSOA is the SOA record of a negative answer: its TTL is the lower of its own and MINIMUM (RFC 2308 §3).
func (z *Zone) negativeSOA() dns.RR {
	soa := dns.Copy(z.soa).(*dns.SOA)
	soa.Hdr.Ttl = min(soa.Hdr.Ttl, soa.Minttl)
	return soa
}

// types lists the types that the name has, lowest first.
func (n *name) types() []uint16 {
	types := make([]uint16, len(n.rrsets))
	for i, set := range n.rrsets {
		types[i] = set.qtype
	}
	return types
}

// parent cuts the first label off; the root's parent is the root.
func parent(owner string) string {
	i, end := dns.NextLabel(owner, 0)
	if end || owner == "." {
		return "."
	}
	return owner[i:]
}

// Canonical is the form in which names are compared: lower case, final dot, and no needless escapes.
func Canonical(owner string) string { return master.Canonical(owner) }
