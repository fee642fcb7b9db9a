// Package wire reads DNS queries from the wire as they are: the case of the name, the exact bytes of the ECS option.
// It takes only what a name server needs of a query and looks at every byte of the rest.
//
//	header 12 | question: name type class | … | OPT: 0 type=41 size ttl(rcode version DO) len options
//
// It is pure and safe for concurrent use.
package wire

import (
	"encoding/binary"
	"errors"

	"github.com/miekg/dns"
)

// What is wrong with a packet. Only ErrDrop gets no answer.
var (
	ErrDrop    = errors.New("no query: shorter than a header, or a response")
	ErrFormat  = errors.New("malformed query")
	ErrNotImpl = errors.New("opcode not implemented")
)

const (
	headerSize   = 12
	maxNameBytes = 255
	maxLabel     = 63
)

// Query is one parsed query. Its slices are parts of the packet.
type Query struct {
	ID     uint16
	Opcode uint8
	RD, CD bool
	Name   []byte // as the client wrote it, in wire form with the root's byte at its end; read only
	Type   uint16
	Class  uint16
	Asked  bool // Name, Type and Class were read
	EDNS   EDNS
	TSIG   bool // the last record is a TSIG (RFC 8945), which we do not check
}

// Parse reads a packet into q, whatever was in it before, and allocates nothing. With ErrFormat and ErrNotImpl the query
// holds as much as could be read, for the answer.
func (q *Query) Parse(packet []byte) error {
	*q = Query{}
	if len(packet) < headerSize || packet[2]&0x80 != 0 {
		return ErrDrop
	}
	q.ID, q.Opcode = binary.BigEndian.Uint16(packet), packet[2]>>3&0xf
	q.RD, q.CD = packet[2]&1 != 0, packet[3]&0x10 != 0
	if q.Opcode != dns.OpcodeQuery {
		return ErrNotImpl
	}
	count := func(at int) int { return int(binary.BigEndian.Uint16(packet[at:])) }
	r := reader{packet: packet, at: headerSize}
	switch count(4) {
	case 0: // RFC 9619, but for a client that wants a cookie and nothing else (RFC 7873 §5.4)
		if count(6)+count(8) != 0 || q.additional(&r, count(10)) != nil || q.EDNS.Cookie == nil {
			return ErrFormat // an OPT is answered with one all the same (RFC 6891 §6.1.1)
		}
		return nil
	case 1:
	default:
		return ErrFormat
	}
	if !q.question(&r) {
		return ErrFormat
	}
	authority := count(8)
	if count(6) != 0 || authority != 0 && (q.Type != dns.TypeIXFR || authority != 1) { // RFC 1995 §3
		return ErrFormat
	}
	for range authority {
		if _, ok := r.record(); !ok {
			return ErrFormat
		}
	}
	return q.additional(&r, count(10))
}

func (q *Query) question(r *reader) bool {
	start := r.at
	if !r.plainName() || len(r.packet)-r.at < 4 {
		return false
	}
	q.Name, q.Asked = r.packet[start:r.at:r.at], true
	q.Type, q.Class = binary.BigEndian.Uint16(r.packet[r.at:]), binary.BigEndian.Uint16(r.packet[r.at+2:])
	r.at += 4
	return true
}

// additional reads the OPT record, of which there may be one (RFC 6891 §6.1.1), and notes a TSIG at the end.
func (q *Query) additional(r *reader, n int) error {
	for i := range n {
		rr, ok := r.record()
		if !ok || q.TSIG { // nothing may follow a TSIG
			return ErrFormat
		}
		switch rr.kind {
		case dns.TypeOPT:
			if q.EDNS.Present || !rr.root {
				q.EDNS = EDNS{} // which of them would we answer?
				return ErrFormat
			}
			if err := q.EDNS.read(rr); err != nil {
				return err
			}
		case dns.TypeTSIG:
			q.TSIG = i == n-1
			if !q.TSIG {
				return ErrFormat
			}
		}
	}
	return nil
}

// record is one resource record, unread.
type record struct {
	root        bool // its owner is the root
	kind, class uint16
	ttl         uint32
	data        []byte
}

// reader walks through a packet.
type reader struct {
	packet []byte
	at     int
}

// plainName steps over a name without compression.
func (r *reader) plainName() bool {
	start := r.at
	for r.at < len(r.packet) {
		n := int(r.packet[r.at])
		r.at++
		if n == 0 {
			return r.at-start <= maxNameBytes
		}
		if n > maxLabel || r.at+n > len(r.packet) {
			return false
		}
		r.at += n
	}
	return false
}

// name steps over a name that may end in a pointer to an earlier place.
func (r *reader) name() bool {
	start := r.at
	for r.at < len(r.packet) {
		n := int(r.packet[r.at])
		switch {
		case n == 0:
			r.at++
			return r.at-start <= maxNameBytes
		case n&0xc0 == 0xc0:
			if r.at+2 > len(r.packet) {
				return false
			}
			target := int(binary.BigEndian.Uint16(r.packet[r.at:]) & 0x3fff)
			r.at += 2
			return target >= headerSize && target < start
		case n > maxLabel || r.at+1+n > len(r.packet):
			return false
		}
		r.at += 1 + n
	}
	return false
}

func (r *reader) record() (record, bool) {
	root := r.at < len(r.packet) && r.packet[r.at] == 0
	if !r.name() || len(r.packet)-r.at < 10 {
		return record{}, false
	}
	p := r.packet[r.at:]
	n := int(binary.BigEndian.Uint16(p[8:]))
	if len(p)-10 < n {
		return record{}, false
	}
	r.at += 10 + n
	return record{
		root: root, kind: binary.BigEndian.Uint16(p), class: binary.BigEndian.Uint16(p[2:]),
		ttl: binary.BigEndian.Uint32(p[4:]), data: p[10 : 10+n],
	}, true
}
