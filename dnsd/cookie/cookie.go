// Package cookie makes and checks server cookies (RFC 7873) in the form that all servers with one secret understand
// (RFC 9018), so that the nodes behind one anycast address, of whatever make, take each other's.
//
//	client cookie 8 | version 1 | reserved 3 | time 4 | SipHash-2-4 of all that and the client's address 8
//	                  └───────────── the server cookie, 16 bytes ─────────────┘
//
// It is pure, allocates nothing per cookie and is safe for concurrent use.
package cookie

import (
	"crypto/subtle"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"
)

// The sizes in bytes.
const (
	SecretSize = 16
	ClientSize = 8
	ServerSize = 16

	hashed = 8 // of a server cookie, before its hash
)

// How long a cookie is good, in seconds (RFC 9018 §4.3).
const (
	lifetime = 3600
	early    = 300  // that its maker's clock may be ahead of ours
	renewal  = 1800 // after which the client gets a new one
)

// Secrets are what cookies are made with: the first signs, all are accepted, so that secrets can be exchanged one node
// after the other (RFC 9018 §5).
type Secrets struct{ list []secret }

type secret struct{ k0, k1 uint64 }

// New takes secrets of SecretSize bytes, the newest first.
func New(secrets ...[]byte) (*Secrets, error) {
	if len(secrets) == 0 {
		return nil, fmt.Errorf("no cookie secret; want at least one of %d bytes", SecretSize)
	}
	s := &Secrets{}
	for i, b := range secrets {
		if len(b) != SecretSize {
			return nil, fmt.Errorf("cookie secret %d has %d bytes; want %d", i+1, len(b), SecretSize)
		}
		s.list = append(s.list, secret{binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])})
	}
	return s, nil
}

// Parse reads a file of secrets: one a line in hexadecimal digits, the newest first; lines that begin with # do not
// count. No secret gets into an error.
func Parse(file string, text []byte) (*Secrets, error) {
	var all [][]byte
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		b, err := hex.DecodeString(line)
		if err != nil || len(b) != SecretSize {
			return nil, fmt.Errorf("%s:%d: not a cookie secret; want %d hexadecimal digits, as `openssl rand -hex %d` makes them", file, n, 2*SecretSize, SecretSize)
		}
		all = append(all, b)
	}
	s, err := New(all...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return s, nil
}

// Check reports whether a COOKIE option (the client's cookie and behind it the server's) proves that its sender gets
// what is sent to addr, and whether he is due for a new one. Time is in seconds since 1970, modulo 2³² (RFC 9018 §4.3).
func (s *Secrets) Check(option []byte, addr netip.Addr, now uint32) (valid, renew bool) {
	if len(option) != ClientSize+ServerSize || option[ClientSize] != 1 {
		return false, true
	}
	age := int32(now - binary.BigEndian.Uint32(option[ClientSize+4:]))
	if age > lifetime || age < -early {
		return false, true
	}
	for i := range s.list {
		var want [8]byte
		s.list[i].sign(want[:], option[:ClientSize+hashed], addr)
		if subtle.ConstantTimeCompare(want[:], option[ClientSize+hashed:]) == 1 {
			return true, i > 0 || age > renewal || age < 0
		}
	}
	return false, true
}

// Make writes the server cookie for a client.
func (s *Secrets) Make(server *[ServerSize]byte, client []byte, addr netip.Addr, now uint32) {
	var in [ClientSize + hashed]byte
	copy(in[:ClientSize], client)
	in[ClientSize] = 1
	binary.BigEndian.PutUint32(in[ClientSize+4:], now)
	copy(server[:hashed], in[ClientSize:])
	s.list[0].sign(server[hashed:], in[:], addr)
}

// sign hashes the cookies and the address.
func (k *secret) sign(out, cookies []byte, addr netip.Addr) {
	var in [ClientSize + hashed + 16]byte
	n := copy(in[:], cookies)
	if addr.Is4() {
		a := addr.As4()
		n += copy(in[n:], a[:])
	} else {
		a := addr.As16()
		n += copy(in[n:], a[:])
	}
	binary.LittleEndian.PutUint64(out, sipHash(k.k0, k.k1, in[:n]))
}
