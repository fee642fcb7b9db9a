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

// EDNS is what the client's OPT record says (RFC 6891).
type EDNS struct {
	Size    uint16 // bytes that he can take by UDP, as he says
	Version uint8
	DO      bool
	NSID    bool // asked for (RFC 5001)
	ECS     *ECS
}

// ECS is the client subnet (RFC 7871), with all rules of §6 and §7.1 kept except that Family may be unknown to us.
type ECS struct {
	Family  uint16
	Source  uint8
	Address []byte // as received: as many bytes as Source needs
}

// readEDNS reads an OPT record. Of another version than 0 it reads the version only: the rest may mean something else.
// One whose options do not fit is no OPT record; one with a wrong option is answered as what it is.
func readEDNS(rr record) (*EDNS, error) {
	e := &EDNS{Size: rr.class, Version: uint8(rr.ttl >> 16), DO: rr.ttl&0x8000 != 0}
	if e.Version != 0 {
		return e, nil
	}
	for data := rr.data; len(data) > 0; {
		if len(data) < 4 {
			return nil, ErrFormat
		}
		code, n := binary.BigEndian.Uint16(data), int(binary.BigEndian.Uint16(data[2:]))
		if len(data)-4 < n {
			return nil, ErrFormat
		}
		value := data[4 : 4+n]
		data = data[4+n:]
		switch code {
		case dns.EDNS0NSID:
			e.NSID = true
		case dns.EDNS0SUBNET:
			if e.ECS != nil { // which of two subnets is meant?
				return e, ErrFormat
			}
			var err error
			if e.ECS, err = readECS(value); err != nil {
				return e, err
			}
		}
	}
	return e, nil
}

func readECS(b []byte) (*ECS, error) {
	if len(b) < 4 {
		return nil, ErrFormat
	}
	c := &ECS{Family: binary.BigEndian.Uint16(b), Source: b[2], Address: b[4:]}
	if b[3] != 0 { // SCOPE in a query
		return nil, ErrFormat
	}
	limit := c.bits()
	if limit == 0 {
		return c, nil
	}
	if int(c.Source) > limit || len(c.Address) != (int(c.Source)+7)/8 {
		return nil, ErrFormat
	}
	if rest := c.Source % 8; rest != 0 && c.Address[len(c.Address)-1]&(0xff>>rest) != 0 {
		return nil, ErrFormat
	}
	return c, nil
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

// Addr is the first address of the subnet. It is not valid when the option does not steer: with SOURCE 0, which asks
// not to be located (§7.1.2), and for families that we do not know.
func (c *ECS) Addr() netip.Addr {
	if c == nil || c.Source == 0 {
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

// Reply is the option's value in the answer: family, SOURCE and address echoed exactly (§7.2.1), and the scope.
func (c *ECS) Reply(scope uint8) []byte {
	b := make([]byte, 4, 4+len(c.Address))
	binary.BigEndian.PutUint16(b, c.Family)
	b[2], b[3] = c.Source, scope
	return append(b, c.Address...)
}

// Subnet is the first address of the client's subnet, not valid where there is none to steer by. A nil EDNS has none.
func (e *EDNS) Subnet() netip.Addr {
	if e == nil {
		return netip.Addr{}
	}
	return e.ECS.Addr()
}
