package dnsd

import (
	"encoding/binary"
	"fmt"
	"hash/maphash"

	"github.com/miekg/dns"

	"github.com/catchment-net/catchment/dnsd/wire"
	"github.com/catchment-net/catchment/dnsd/zone"
)

// A body is the part of an answer behind its question. It does not know the question's case, nor, where it fits many
// names (NXDOMAIN, NODATA, wildcards, referrals), how long the question is:
//
//	header | question | ANSWER AUTHORITY ADDITIONAL | OPT
//	                    └────── the body ────────┘
//
// So names in it point to the whole question only as owners of answers, to the question's part within the zone never,
// to the zone's own name at its end and to earlier parts of the body freely. Pointers of the last two kinds are its
// moves: they shift by as much as another question is longer. A body is immutable once packed.
type body struct {
	key    uint64 // the zone's; answers with one kind, key and owner count together against the rate limit
	rcode  uint16
	zone   uint16    // the metrics' number of the zone
	chosen uint16    // the metrics' number of the POP; 0: nobody was steered
	counts [3]uint16 // of the sections
	size   uint16    // bytes of the data
	asked  uint8     // bytes of the name in the question that the data was packed for
	kind   kind
	aa     bool
	scoped bool // it holds for a network only, and an ECS option says for which
	alone  bool // all records of the answer belong to the name asked for, and none leads on within the zone

	// The data lies here if it fits, else in far. With what is above, an answer of one address fills one line of cache.
	near  [nearSize]byte
	far   []byte
	moves []uint16 // where in the data a pointer is that depends on the question's length
}

// appendKey appends all that two bodies without moves differ in.
func (b *body) appendKey(key []byte) []byte {
	key = binary.BigEndian.AppendUint64(key, b.key)
	for _, n := range [...]uint16{b.rcode, b.zone, b.chosen, b.counts[0], b.counts[1], b.counts[2]} {
		key = binary.BigEndian.AppendUint16(key, n)
	}
	for _, yes := range [...]bool{b.aa, b.scoped, b.alone} {
		if yes {
			key = append(key, 1)
		} else {
			key = append(key, 0)
		}
	}
	return append(append(key, byte(b.kind)), b.data()...)
}

// nearSize makes a body as large as three lines of cache, so that it begins with one.
const nearSize = 3*64 - 32 - 2*24

func (b *body) data() []byte {
	if b.far != nil {
		return b.far
	}
	return b.near[:b.size]
}

// kind sorts answers for the rate limit.
type kind uint8

const (
	kindError kind = iota
	kindAnswer
	kindNoData
	kindNXDomain
	kindReferral
)

func kindOf(a zone.Answer) kind {
	switch {
	case a.Rcode == dns.RcodeNameError:
		return kindNXDomain
	case a.Rcode != dns.RcodeSuccess:
		return kindError
	case len(a.Answer) > 0:
		return kindAnswer
	case a.Authoritative:
		return kindNoData
	}
	return kindReferral
}

// maxTarget is the farthest place in a body that a pointer may go to, so that with the longest question before it the
// 14 bits of a pointer suffice (RFC 1035 §4.1.4).
const maxTarget = 1<<14 - 1 - headerSize - wire.MaxName - 4

// packBody packs an answer for a name in its lower-case wire form.
func packBody(a zone.Answer, name []byte, seed maphash.Seed) (*body, error) {
	b := &body{rcode: uint16(a.Rcode), aa: a.Authoritative, asked: uint8(len(name)), alone: true, kind: kindOf(a)}
	if a.Zone == nil {
		return b, nil
	}
	origin, err := wire.AppendName(nil, a.Zone.Origin())
	if err != nil {
		return nil, err
	}
	b.key = maphash.Bytes(seed, origin)
	p := packer{body: b, name: name, origin: len(origin), seen: map[string]int{}}
	for section, rrs := range [...][]dns.RR{a.Answer, a.Authority, a.Additional} {
		b.counts[section] = uint16(len(rrs))
		for _, rr := range rrs {
			if c, ok := rr.(*dns.CNAME); ok && dns.IsSubDomain(a.Zone.Origin(), zone.Canonical(c.Target)) {
				b.alone = false
			}
			if err := p.record(rr, section == 0); err != nil {
				return nil, fmt.Errorf("pack %v: %w", rr, err)
			}
		}
	}
	return b, p.settle()
}

// packer writes one body.
type packer struct {
	*body
	name    []byte
	data    []byte
	origin  int            // bytes of the zone's name, at the end of the question's
	seen    map[string]int // names in data, with their places
	scratch []byte
}

// settle puts the data into the body.
func (p *packer) settle() error {
	if len(p.data) > maxTCP {
		return fmt.Errorf("an answer of %d bytes", len(p.data))
	}
	p.size = uint16(len(p.data))
	if copy(p.near[:], p.data) < len(p.data) {
		p.far = p.data
	}
	return nil
}

func (p *packer) record(rr dns.RR, answer bool) error {
	h := rr.Header()
	owner, err := wire.AppendName(p.scratch[:0], h.Name)
	if err != nil {
		return err
	}
	p.scratch = owner
	whole := answer && string(owner) == string(p.name)
	p.alone = p.alone && (whole || !answer)
	if whole && len(owner) > p.origin {
		p.data = append(p.data, 0xc0, headerSize)
	} else {
		p.compressed(owner)
	}
	p.data = binary.BigEndian.AppendUint16(p.data, h.Rrtype)
	p.data = binary.BigEndian.AppendUint16(p.data, h.Class)
	p.data = binary.BigEndian.AppendUint32(p.data, h.Ttl)
	at := len(p.data)
	p.data = append(p.data, 0, 0)
	if err := p.rdata(rr); err != nil {
		return err
	}
	n := len(p.data) - at - 2
	if n > 0xffff {
		return fmt.Errorf("%d bytes of data, want at most 65535", n)
	}
	binary.BigEndian.PutUint16(p.data[at:], uint16(n))
	return nil
}

// rdata compresses names in the types of RFC 1035 only (RFC 3597 §4).
func (p *packer) rdata(rr dns.RR) error {
	switch rr := rr.(type) {
	case *dns.NS:
		return p.text(rr.Ns)
	case *dns.CNAME:
		return p.text(rr.Target)
	case *dns.PTR:
		return p.text(rr.Ptr)
	case *dns.MX:
		p.data = binary.BigEndian.AppendUint16(p.data, rr.Preference)
		return p.text(rr.Mx)
	case *dns.SOA:
		if err := p.text(rr.Ns); err != nil {
			return err
		}
		if err := p.text(rr.Mbox); err != nil {
			return err
		}
		for _, n := range [...]uint32{rr.Serial, rr.Refresh, rr.Retry, rr.Expire, rr.Minttl} {
			p.data = binary.BigEndian.AppendUint32(p.data, n)
		}
		return nil
	}
	buf := make([]byte, dns.Len(rr)+wire.MaxName)
	n, err := dns.PackRR(dns.Copy(rr), buf, 0, nil, false) // it writes into the record, which other readers pack, too
	if err != nil {
		return err
	}
	owner := wire.NameLen(buf)
	p.data = append(p.data, buf[owner+10:n]...)
	return nil
}

func (p *packer) text(name string) error {
	n, err := wire.AppendName(p.scratch[:0], name)
	if err != nil {
		return err
	}
	p.scratch = n
	p.compressed(n)
	return nil
}

// compressed writes a name, its end as a pointer if it stands somewhere already.
func (p *packer) compressed(name []byte) {
	for rest := name; rest[0] != 0; rest = wire.Parent(rest) {
		target := -1
		if at, ok := p.seen[string(rest)]; ok {
			target = len(p.name) + 4 + at
		} else if from := len(p.name) - len(rest); len(rest) <= p.origin && rest[0] != 0 && p.endsAt(from, rest) {
			target = from
		}
		if target >= 0 {
			p.moves = append(p.moves, uint16(len(p.data)))
			p.data = binary.BigEndian.AppendUint16(p.data, 0xc000|uint16(headerSize+target))
			return
		}
		if len(p.data) <= maxTarget {
			p.seen[string(rest)] = len(p.data)
		}
		p.data = append(p.data, rest[:1+int(rest[0])]...)
	}
	p.data = append(p.data, 0)
}

// endsAt reports whether the question's name from there on is rest, label by label.
func (p *packer) endsAt(from int, rest []byte) bool {
	at := len(p.name) - p.origin
	for at < from {
		at += 1 + int(p.name[at])
	}
	return at == from && string(p.name[from:]) == string(rest)
}
