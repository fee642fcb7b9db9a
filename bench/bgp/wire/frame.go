// Package wire reads BGP sessions off a cable: what each end says, with the time at which the frame crossed. It follows
// TCP far enough for a cable that loses and reorders nothing.
//
//	Ethernet frame ──► IP ──► TCP, one stream a direction ──► BGP messages (RFC 4271 §4) ──► Event
package wire

import (
	"encoding/binary"
	"net/netip"
	"time"
)

// Kind says what an Event is.
type Kind uint8

// The kinds.
const (
	Announce     Kind = iota // of Prefix
	Withdraw                 // of Prefix
	Notification             // the session ends, and BGP says so
	Fin                      // the connection's end, of this direction
	Reset                    // the same, without ceremony
)

func (k Kind) String() string {
	return [...]string{"announce", "withdraw", "notification", "fin", "reset"}[k]
}

// Event is one thing that an end of a session has said.
type Event struct {
	At       time.Time
	From, To netip.AddrPort // which tell the connection, too
	Kind     Kind
	Prefix   netip.Prefix // of Announce and Withdraw
	GSHUT    bool         // an Announce that carries GRACEFUL_SHUTDOWN (RFC 8326)
	Update   int          // which UPDATE of this stream it came in, from 1
}

// bgpPort is where sessions are taken (RFC 4271 §8.2.1).
const bgpPort = 179

// segment is the TCP part of a frame.
type segment struct {
	from, to      netip.AddrPort
	seq           uint32
	syn, fin, rst bool
	payload       []byte
}

// IsBGP reports whether a frame carries a segment of a BGP session.
func IsBGP(frame []byte) bool {
	s, ok := parse(frame)
	return ok && (s.from.Port() == bgpPort || s.to.Port() == bgpPort)
}

// The places of what is read in headers (RFC 791, 8200, 9293), and the flags of TCP.
const (
	ethernetBytes = 14
	etherIPv4     = 0x0800
	etherIPv6     = 0x86dd
	protoTCP      = 6

	flagFIN = 1
	flagSYN = 2
	flagRST = 4
)

// parse reads a frame as far as TCP's payload; false for any other.
func parse(f []byte) (segment, bool) {
	if len(f) < ethernetBytes {
		return segment{}, false
	}
	kind, f := binary.BigEndian.Uint16(f[12:]), f[ethernetBytes:]
	var src, dst netip.Addr
	switch {
	case kind == etherIPv4 && len(f) >= 20 && f[9] == protoTCP:
		head, total := int(f[0]&15)*4, int(binary.BigEndian.Uint16(f[2:]))
		src, dst = netip.AddrFrom4([4]byte(f[12:])), netip.AddrFrom4([4]byte(f[16:]))
		if total == 0 { // a segment larger than the field, which only large receive offload makes
			total = len(f)
		}
		if head < 20 || total < head || len(f) < total {
			return segment{}, false
		}
		f = f[head:total]
	case kind == etherIPv6 && len(f) >= 40 && f[6] == protoTCP:
		src, dst = netip.AddrFrom16([16]byte(f[8:])), netip.AddrFrom16([16]byte(f[24:]))
		total := 40 + int(binary.BigEndian.Uint16(f[4:]))
		if total == 40 {
			total = len(f)
		}
		if len(f) < total {
			return segment{}, false
		}
		f = f[40:total]
	default:
		return segment{}, false
	}
	if len(f) < 20 {
		return segment{}, false
	}
	head := int(f[12]>>4) * 4
	if head < 20 || len(f) < head {
		return segment{}, false
	}
	flags := f[13]
	return segment{
		from: netip.AddrPortFrom(src, binary.BigEndian.Uint16(f)), to: netip.AddrPortFrom(dst, binary.BigEndian.Uint16(f[2:])),
		seq: binary.BigEndian.Uint32(f[4:]), syn: flags&flagSYN != 0, fin: flags&flagFIN != 0, rst: flags&flagRST != 0, payload: f[head:],
	}, true
}
