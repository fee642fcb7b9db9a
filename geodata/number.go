package geodata

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
)

// number is an address as an integer: of 128 bits for IPv6, of 32 (hi is 0) for IPv4.
type number struct{ hi, lo uint64 }

// last4 and last6 are each family's highest address.
const last4 = 1<<32 - 1

func last6() number { return number{^uint64(0), ^uint64(0)} }

func numberOf(a netip.Addr) number {
	if a.Is4() {
		b := a.As4()
		return number{0, uint64(binary.BigEndian.Uint32(b[:]))}
	}
	b := a.As16()
	return number{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
}

func (n number) addr(width int) netip.Addr {
	if width == 32 {
		return netip.AddrFrom4([4]byte{byte(n.lo >> 24), byte(n.lo >> 16), byte(n.lo >> 8), byte(n.lo)})
	}
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], n.hi)
	binary.BigEndian.PutUint64(b[8:], n.lo)
	return netip.AddrFrom16(b)
}

func (n number) less(m number) bool { return n.hi < m.hi || n.hi == m.hi && n.lo < m.lo }

func (n number) compare(m number) int {
	switch {
	case n.less(m):
		return -1
	case n == m:
		return 0
	}
	return 1
}

func (n number) next() number {
	lo, carry := bits.Add64(n.lo, 1, 0)
	return number{n.hi + carry, lo}
}

func (n number) previous() number {
	lo, borrow := bits.Sub64(n.lo, 1, 0)
	return number{n.hi - borrow, lo}
}

// with sets the bit at depth, which counts from 0 for the highest of width.
func (n number) with(depth, width int) number {
	low := width - 1 - depth
	if low >= 64 {
		n.hi |= 1 << (low - 64)
	} else {
		n.lo |= 1 << low
	}
	return n
}

// bit is the bit at depth.
func (n number) bit(depth, width int) int {
	low := width - 1 - depth
	if low >= 64 {
		return int(n.hi >> (low - 64) & 1)
	}
	return int(n.lo >> low & 1)
}

// child is the i-th of the 256 blocks that the block of that length at n is made of.
func (n number) child(i, length, width int) number {
	low := width - length - 8
	if low >= 64 {
		n.hi |= uint64(i) << (low - 64)
	} else {
		n.lo |= uint64(i) << low
	}
	return n
}

// end is the last address of the block of length plen that begins at n.
func (n number) end(plen, width int) number {
	free := width - plen
	switch {
	case free >= 128:
		return last6()
	case free >= 64:
		return number{n.hi | (1<<(free-64) - 1), ^uint64(0)}
	}
	return number{n.hi, n.lo | (1<<free - 1)}
}

// common counts the leading bits that n and m share, at most width.
func (n number) common(m number, width int) int {
	var same int
	if width == 32 {
		same = bits.LeadingZeros32(uint32(n.lo ^ m.lo))
	} else if same = bits.LeadingZeros64(n.hi ^ m.hi); same == 64 {
		same += bits.LeadingZeros64(n.lo ^ m.lo)
	}
	return same
}

// widest is the length of the largest aligned block around n that lies in [first, last]: the block must be long enough
// to leave out both neighbours.
func (n number) widest(first, last number, width int) int {
	length := 0
	if first != (number{}) {
		length = n.common(first.previous(), width) + 1
	}
	top := last6()
	if width == 32 {
		top = number{0, last4}
	}
	if last != top {
		length = max(length, n.common(last.next(), width)+1)
	}
	return length
}

// aligned reports whether n is the first address of a block of that length.
func (n number) aligned(length, width int) bool {
	return number{}.end(length, width).and(n) == number{}
}

func (n number) and(m number) number { return number{n.hi & m.hi, n.lo & m.lo} }
