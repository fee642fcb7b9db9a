package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
)

// The message types (RFC 4271 §4.1) and what their header takes.
const (
	typeUpdate       = 2
	typeNotification = 3

	headBytes  = 19
	maxMessage = 65535 // extended messages included (RFC 8654)
)

// The path attributes that say something here, and the community GRACEFUL_SHUTDOWN.
const (
	attrCommunities = 8
	attrReach       = 14 // RFC 4760
	attrUnreach     = 15

	flagExtended = 0x10

	gshut = 0xffff0000
)

var errNoBGP = errors.New("no BGP message")

// message reads the message that buf begins with; size is 0 while it is not whole.
func message(buf []byte) (kind byte, body []byte, size int, err error) {
	if len(buf) < headBytes {
		if !bytes.Equal(buf[:min(len(buf), 16)], bytes.Repeat([]byte{0xff}, min(len(buf), 16))) {
			return 0, nil, 0, errNoBGP
		}
		return 0, nil, 0, nil
	}
	size = int(binary.BigEndian.Uint16(buf[16:]))
	if !bytes.Equal(buf[:16], bytes.Repeat([]byte{0xff}, 16)) || size < headBytes {
		return 0, nil, 0, errNoBGP
	}
	if len(buf) < size {
		return 0, nil, 0, nil
	}
	return buf[18], buf[headBytes:size], size, nil
}

// update reads an UPDATE (RFC 4271 §4.3). What cannot be read ends the list.
func update(b []byte) []Event {
	gone, b, ok := counted(b)
	if !ok {
		return nil
	}
	attrs, nlri, ok := counted(b)
	if !ok {
		return nil
	}
	all := events(Withdraw, prefixes(gone, true))
	told := events(Announce, prefixes(nlri, true))
	shut := false
	for len(attrs) >= 3 {
		kind, value, rest, ok := attribute(attrs)
		if !ok {
			break
		}
		attrs = rest
		switch kind {
		case attrCommunities:
			for ; len(value) >= 4; value = value[4:] {
				shut = shut || binary.BigEndian.Uint32(value) == gshut
			}
		case attrUnreach:
			if four, list, ok := family(value); ok {
				all = append(all, events(Withdraw, prefixes(list, four))...)
			}
		case attrReach:
			told = append(told, events(Announce, reached(value))...)
		}
	}
	for _, e := range told {
		e.GSHUT = shut
		all = append(all, e)
	}
	return all
}

// counted splits what a two-octet length is in front of.
func counted(b []byte) (part, rest []byte, ok bool) {
	if len(b) < 2 || len(b)-2 < int(binary.BigEndian.Uint16(b)) {
		return nil, nil, false
	}
	n := 2 + int(binary.BigEndian.Uint16(b))
	return b[2:n], b[n:], true
}

// attribute reads the path attribute that b begins with; b has at least three octets.
func attribute(b []byte) (kind byte, value, rest []byte, ok bool) {
	head, n := 3, int(b[2])
	if b[0]&flagExtended != 0 {
		if len(b) < 4 {
			return 0, nil, nil, false
		}
		head, n = 4, int(binary.BigEndian.Uint16(b[2:]))
	}
	if len(b) < head+n {
		return 0, nil, nil, false
	}
	return b[1], b[head : head+n], b[head+n:], true
}

// family reads AFI and SAFI of MP_REACH_NLRI and MP_UNREACH_NLRI; false for all but unicast.
func family(b []byte) (four bool, rest []byte, ok bool) {
	if len(b) < 3 || b[2] != 1 {
		return false, nil, false
	}
	afi := binary.BigEndian.Uint16(b)
	return afi == 1, b[3:], afi == 1 || afi == 2
}

// reached are the prefixes of an MP_REACH_NLRI (RFC 4760 §3): after the next hop and a reserved octet.
func reached(b []byte) []netip.Prefix {
	four, b, ok := family(b)
	if !ok || len(b) < 2+int(b[0]) {
		return nil
	}
	return prefixes(b[2+int(b[0]):], four)
}

// prefixes reads a list of prefixes (RFC 4271 §4.3).
func prefixes(b []byte, four bool) []netip.Prefix {
	var all []netip.Prefix
	for len(b) > 0 {
		bits := int(b[0])
		n := (bits + 7) / 8
		if bits > 128 || four && bits > 32 || len(b) < 1+n {
			break
		}
		var a netip.Addr
		if four {
			var raw [4]byte
			copy(raw[:], b[1:1+n])
			a = netip.AddrFrom4(raw)
		} else {
			var raw [16]byte
			copy(raw[:], b[1:1+n])
			a = netip.AddrFrom16(raw)
		}
		all = append(all, netip.PrefixFrom(a, bits).Masked())
		b = b[1+n:]
	}
	return all
}

func events(k Kind, list []netip.Prefix) []Event {
	all := make([]Event, len(list))
	for i, p := range list {
		all[i] = Event{Kind: k, Prefix: p}
	}
	return all
}
