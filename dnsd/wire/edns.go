package wire

import (
	"encoding/binary"
	"net/netip"

	"github.com/miekg/dns"
)

// The address families of ECS (RFC 7871 §6).
const (
	FamilyIPv4 = 1
	FamilyIPv6 = 2
)

// The sizes of cookies in bytes (RFC 7873 §4).
const (
	clientCookie    = 8
	minServerCookie = 8
	maxServerCookie = 32
)

// EDNS is what the client's OPT record says (RFC 6891).
type EDNS struct {
	Present   bool
	Size      uint16 // bytes that he can take by UDP, as he says
	Version   uint8
	DO        bool
	NSID      bool   // asked for (RFC 5001)
	Keepalive bool   // asked for (RFC 7828)
	Cookie    []byte // the client's cookie of 8 bytes and perhaps the server's behind it (RFC 7873); nil: none
	ECS       ECS
}

// ECS is the client subnet (RFC 7871), with all rules of §6 and §7.1 kept except that Family may be unknown to us.
type ECS struct {
	Present bool
	Family  uint16
	Source  uint8
	Address []byte // as received: as many bytes as Source needs
}

// read reads an OPT record. Of another version than 0 it reads the version only: the rest may mean something else. One
// whose options do not fit is no OPT record; one with a wrong option is answered as what it is.
func (e *EDNS) read(rr record) error {
	*e = EDNS{Present: true, Size: rr.class, Version: uint8(rr.ttl >> 16), DO: rr.ttl&0x8000 != 0}
	if e.Version != 0 {
		return nil
	}
	for data := rr.data; len(data) > 0; {
		if len(data) < 4 {
			*e = EDNS{}
			return ErrFormat
		}
		code, n := binary.BigEndian.Uint16(data), int(binary.BigEndian.Uint16(data[2:]))
		if len(data)-4 < n {
			*e = EDNS{}
			return ErrFormat
		}
		value := data[4 : 4+n : 4+n]
		data = data[4+n:]
		if err := e.option(code, value); err != nil {
			return err
		}
	}
	return nil
}

func (e *EDNS) option(code uint16, value []byte) error {
	switch code {
	case dns.EDNS0NSID:
		e.NSID = true
	case dns.EDNS0TCPKEEPALIVE:
		if len(value) != 0 { // RFC 7828 §3.2.1: a client says no time
			return ErrFormat
		}
		e.Keepalive = true
	case dns.EDNS0COOKIE:
		if e.Cookie != nil { // RFC 7873 §5.2: the first one counts
			return nil
		}
		if server := len(value) - clientCookie; server != 0 && (server < minServerCookie || server > maxServerCookie) {
			return ErrFormat
		}
		e.Cookie = value
	case dns.EDNS0SUBNET:
		if e.ECS.Present { // which of two subnets is meant?
			return ErrFormat
		}
		return e.ECS.read(value)
	}
	return nil
}

func (c *ECS) read(b []byte) error {
	if len(b) < 4 {
		return ErrFormat
	}
	s := ECS{Present: true, Family: binary.BigEndian.Uint16(b), Source: b[2], Address: b[4:]}
	if b[3] != 0 { // SCOPE in a query
		return ErrFormat
	}
	if limit := s.bits(); limit != 0 {
		if int(s.Source) > limit || len(s.Address) != (int(s.Source)+7)/8 {
			return ErrFormat
		}
		if rest := s.Source % 8; rest != 0 && s.Address[len(s.Address)-1]&(0xff>>rest) != 0 {
			return ErrFormat
		}
	}
	*c = s
	return nil
}

// bits is the length of the family's addresses, 0 for a family that we do not know.
func (c *ECS) bits() int {
	switch c.Family {
	case FamilyIPv4:
		return 32
	case FamilyIPv6:
		return 128
	}
	return 0
}

// Addr is the first address of the subnet. It is not valid when the option does not steer: without one, with SOURCE 0,
// which asks not to be located (§7.1.2), and for families that we do not know.
func (c *ECS) Addr() netip.Addr {
	if c.Source == 0 {
		return netip.Addr{}
	}
	switch c.Family {
	case FamilyIPv4:
		var a [4]byte
		copy(a[:], c.Address)
		return netip.AddrFrom4(a)
	case FamilyIPv6:
		var a [16]byte
		copy(a[:], c.Address)
		return netip.AddrFrom16(a)
	}
	return netip.Addr{}
}
