package wire

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net/netip"
)

// TokenSize is the length of a listener's token in bytes.
const TokenSize = 16

// The kinds of a datagram.
const (
	KindData        = 0
	KindRefused     = 1 // nobody listens at the named address (ICMP port unreachable); for connected sockets
	KindUnreachable = 2 // no router knows the way to it (ICMP host unreachable); for connected sockets
)

// MaxHeader is the longest header of a datagram in bytes: kind, length, IPv6 address, port.
const MaxHeader = 1 + 1 + 16 + 2

var errToken = errors.New("preamble has the wrong token")

// AppendPreamble appends what the runner sends first on a connection to a listener.
func AppendPreamble(b, token []byte, src, dst netip.AddrPort) []byte {
	b = append(b, token...)
	b = appendAddr(b, src)
	return appendAddr(b, dst)
}

// ReadPreamble reads it. The token must be the listener's, so that no other process of the host can pretend a source.
func ReadPreamble(r io.Reader, token []byte) (src, dst netip.AddrPort, err error) {
	var got [TokenSize]byte
	if _, err := io.ReadFull(r, got[:]); err != nil {
		return src, dst, fmt.Errorf("read preamble: %w", err)
	}
	if subtle.ConstantTimeCompare(got[:], token) != 1 {
		return src, dst, errToken
	}
	if src, err = readAddr(r); err != nil {
		return src, dst, err
	}
	dst, err = readAddr(r)
	return src, dst, err
}

// AppendHeader appends a datagram's header; the payload follows it. peer is the destination on the way to the runner, the
// source on the way to a node.
func AppendHeader(b []byte, kind byte, peer netip.AddrPort) []byte {
	return appendAddr(append(b, kind), peer)
}

// ParseDatagram takes a datagram apart; payload is a part of b.
func ParseDatagram(b []byte) (kind byte, peer netip.AddrPort, payload []byte, err error) {
	if len(b) < 2 {
		return 0, peer, nil, fmt.Errorf("datagram of %d bytes has no header", len(b))
	}
	kind, n, rest := b[0], int(b[1]), b[2:]
	if kind > KindUnreachable {
		return 0, peer, nil, fmt.Errorf("datagram of unknown kind %d", kind)
	}
	if len(rest) < n {
		return 0, peer, nil, fmt.Errorf("datagram ends within its header")
	}
	if peer, err = parseAddr(rest[:n]); err != nil {
		return 0, peer, nil, err
	}
	return kind, peer, rest[n:], nil
}

func appendAddr(b []byte, ap netip.AddrPort) []byte {
	a := ap.Addr().Unmap().WithZone("").AsSlice()
	b = append(b, byte(len(a)+2))
	b = append(b, a...)
	return append(b, byte(ap.Port()>>8), byte(ap.Port()))
}

func readAddr(r io.Reader) (netip.AddrPort, error) {
	var b [1 + 18]byte
	if _, err := io.ReadFull(r, b[:1]); err != nil {
		return netip.AddrPort{}, fmt.Errorf("read preamble: %w", err)
	}
	n := int(b[0])
	if n > 18 {
		return netip.AddrPort{}, fmt.Errorf("address of %d bytes", n)
	}
	if _, err := io.ReadFull(r, b[1:1+n]); err != nil {
		return netip.AddrPort{}, fmt.Errorf("read preamble: %w", err)
	}
	return parseAddr(b[1 : 1+n])
}

func parseAddr(b []byte) (netip.AddrPort, error) {
	if len(b) != 4+2 && len(b) != 16+2 {
		return netip.AddrPort{}, fmt.Errorf("address of %d bytes", len(b))
	}
	a, _ := netip.AddrFromSlice(b[:len(b)-2])
	return netip.AddrPortFrom(a.Unmap(), uint16(b[len(b)-2])<<8|uint16(b[len(b)-1])), nil
}
