package rpki

import (
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"time"
	"unicode/utf8"
)

// The exchange (RFC 8210 §8; version 0 is RFC 6810):
//
//	router                          cache
//	  Reset Query          ───────►            all that it has; or
//	  Serial Query(serial) ───────►            what has changed since
//	                       ◄───────  Cache Response
//	                       ◄───────  IPv4 Prefix, IPv6 Prefix, … (announced or withdrawn)
//	                       ◄───────  End of Data(serial, refresh, retry, expire)
//	                       ◄───────  Serial Notify(serial)     at any time: ask again
//	                       ◄───────  Cache Reset               instead of a response: ask for all

// kind is a PDU type (RFC 8210 §5).
type kind uint8

const (
	serialNotify  kind = 0
	serialQuery   kind = 1
	resetQuery    kind = 2
	cacheResponse kind = 3
	ipv4Prefix    kind = 4
	ipv6Prefix    kind = 6
	endOfData     kind = 7
	cacheReset    kind = 8
	routerKey     kind = 9
	errorReport   kind = 10
)

// The error codes (RFC 8210 §12) that we send or act on.
const (
	corruptData             = 0
	noDataAvailable         = 2
	invalidRequest          = 3
	unsupportedVersion      = 4
	unsupportedType         = 5
	withdrawalOfUnknown     = 6
	duplicateAnnouncement   = 7
	unexpectedVersion       = 8
	highestVersion          = 1
	headerLen               = 8
	maxPDU                  = 64 << 10 // bytes; only error reports and router keys come near a kilobyte
	maxText                 = 1024     // bytes of an error report's text that are kept
	announceFlag            = 1
	secondsOf               = time.Second
	endOfDataV0, endOfData1 = 12, 24
)

// pdu is a message. Which fields count depends on the kind.
type pdu struct {
	version  uint8
	kind     kind
	session  uint16 // or an error report's code
	serial   uint32
	announce bool // else withdraw
	vrp      VRP

	refresh, retry, expire time.Duration // of End of Data; zero in version 0
	text                   string        // of an error report
}

// protocolError is a mistake of the server's that it is told before we leave.
type protocolError struct {
	code uint16
	text string
}

func (e *protocolError) Error() string { return e.text }

func mistake(code uint16, format string, args ...any) *protocolError {
	return &protocolError{code, fmt.Sprintf(format, args...)}
}

// readPDU reads one message. The kinds that no router must know come back with nothing but their header.
func readPDU(r io.Reader) (pdu, error) {
	var head [headerLen]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return pdu{}, err
	}
	p := pdu{version: head[0], kind: kind(head[1]), session: binary.BigEndian.Uint16(head[2:])}
	size := binary.BigEndian.Uint32(head[4:])
	if size < headerLen || size > maxPDU {
		return p, mistake(corruptData, "a PDU of %d bytes", size)
	}
	body := make([]byte, size-headerLen)
	if _, err := io.ReadFull(r, body); err != nil {
		return p, fmt.Errorf("in a PDU of type %d: %w", p.kind, err)
	}
	return p, p.decode(body)
}

func (p *pdu) decode(body []byte) error {
	if p.version > highestVersion && p.kind != errorReport {
		return mistake(unsupportedVersion, "version %d; we speak 0 and 1", p.version)
	}
	size, known := bodySize(p.kind, p.version)
	if !known {
		return mistake(unsupportedType, "a PDU of type %d", p.kind)
	}
	if size >= 0 && len(body) != size {
		return mistake(corruptData, "a PDU of type %d with %d bytes, want %d", p.kind, len(body)+headerLen, size+headerLen)
	}
	switch p.kind {
	case serialNotify, serialQuery:
		p.serial = binary.BigEndian.Uint32(body)
	case ipv4Prefix, ipv6Prefix:
		return p.decodePrefix(body)
	case endOfData:
		p.serial = binary.BigEndian.Uint32(body)
		if p.version >= 1 {
			for i, d := range []*time.Duration{&p.refresh, &p.retry, &p.expire} {
				*d = time.Duration(binary.BigEndian.Uint32(body[4+4*i:])) * secondsOf
			}
		}
	case errorReport:
		return p.decodeReport(body)
	}
	return nil
}

// bodySize returns how long the body of a kind must be, or -1 where that varies.
func bodySize(k kind, version uint8) (size int, known bool) {
	switch k {
	case resetQuery, cacheResponse, cacheReset:
		return 0, true
	case serialNotify, serialQuery:
		return 4, true
	case ipv4Prefix:
		return 12, true
	case ipv6Prefix:
		return 24, true
	case endOfData:
		if version == 0 {
			return endOfDataV0 - headerLen, true
		}
		return endOfData1 - headerLen, true
	case errorReport:
		return -1, true
	case routerKey:
		return -1, version >= 1
	}
	return 0, false
}

// decodePrefix reads flags, length, longest length, zero, address and ASN (RFC 8210 §5.6).
func (p *pdu) decodePrefix(body []byte) error {
	end := len(body) - 4
	addr, _ := netip.AddrFromSlice(body[4:end])
	bits, longest := int(body[1]), int(body[2])
	p.announce = body[0]&announceFlag != 0
	prefix := netip.PrefixFrom(addr, bits)
	if !prefix.IsValid() || prefix != prefix.Masked() || longest < bits || longest > addr.BitLen() {
		return mistake(corruptData, "a VRP for %v/%d up to /%d", addr, bits, longest)
	}
	p.vrp = VRP{Prefix: prefix, MaxLength: uint8(longest), ASN: binary.BigEndian.Uint32(body[end:])}
	return nil
}

// decodeReport reads the PDU at fault, which we skip, and a text (RFC 8210 §5.11).
func (p *pdu) decodeReport(body []byte) error {
	short := mistake(corruptData, "an error report of %d bytes", len(body)+headerLen)
	for i := range 2 {
		if len(body) < 4 || uint64(binary.BigEndian.Uint32(body)) > uint64(len(body)-4) {
			return short
		}
		n := binary.BigEndian.Uint32(body)
		if i == 1 {
			text := body[4:min(4+n, 4+maxText)]
			for !utf8.Valid(text) {
				text = text[:len(text)-1]
			}
			p.text = string(text)
		}
		body = body[4+n:]
	}
	if len(body) > 0 {
		return short
	}
	return nil
}

// encode writes what we send: queries and error reports; and, for tests, what a server does.
func (p pdu) encode() []byte {
	b := []byte{p.version, byte(p.kind)}
	b = binary.BigEndian.AppendUint16(b, p.session)
	b = append(b, 0, 0, 0, 0)
	word := func(all ...uint32) {
		for _, w := range all {
			b = binary.BigEndian.AppendUint32(b, w)
		}
	}
	switch p.kind {
	case serialNotify, serialQuery:
		word(p.serial)
	case ipv4Prefix, ipv6Prefix:
		flags := byte(0)
		if p.announce {
			flags = announceFlag
		}
		b = append(b, flags, byte(p.vrp.Prefix.Bits()), p.vrp.MaxLength, 0)
		b = append(b, p.vrp.Prefix.Addr().AsSlice()...)
		word(p.vrp.ASN)
	case endOfData:
		word(p.serial)
		if p.version >= 1 {
			word(uint32(p.refresh/secondsOf), uint32(p.retry/secondsOf), uint32(p.expire/secondsOf))
		}
	case errorReport:
		word(0, uint32(len(p.text)))
		b = append(b, p.text...)
	}
	binary.BigEndian.PutUint32(b[4:], uint32(len(b)))
	return b
}
