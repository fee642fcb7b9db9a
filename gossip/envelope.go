package gossip

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
)

// A message, and one entry of a full exchange:
//
//	message   number (8 bytes, random) │ length of key (1) │ key │ payload
//	exchange  ( length of key (1) │ key │ length of payload (uvarint) │ payload ) …
//
// The number makes copies of one message known as such, whichever way they came.
const (
	numberSize   = 8
	envelopeSize = numberSize + 1
)

// What memberlist needs of a datagram besides a message (memberlist 0.7.0): the header of a compound packet, an entry in
// it, the message's type, a checksum; the label's frame; and the version, nonce and tag of the cipher.
const (
	datagramOverhead = 2 + 2 + 1 + 5 + 2
	cipherOverhead   = 1 + 12 + 16
)

var (
	errShort    = errors.New("gossip message is cut short")
	errExchange = errors.New("gossip exchange is malformed")
)

func seal(id uint64, key string, payload []byte) []byte {
	msg := make([]byte, 0, envelopeSize+len(key)+len(payload))
	msg = binary.BigEndian.AppendUint64(msg, id)
	msg = append(msg, byte(len(key)))
	msg = append(msg, key...)
	return append(msg, payload...)
}

// open takes a message apart; payload is a part of msg.
func open(msg []byte) (id uint64, key string, payload []byte, err error) {
	if len(msg) < envelopeSize {
		return 0, "", nil, errShort
	}
	id = binary.BigEndian.Uint64(msg)
	n := int(msg[numberSize])
	if n == 0 || n > maxKey || len(msg) < envelopeSize+n {
		return 0, "", nil, errShort
	}
	return id, string(msg[envelopeSize : envelopeSize+n]), msg[envelopeSize+n:], nil
}

func appendEntry(buf []byte, key string, payload []byte) []byte {
	buf = append(buf, byte(len(key)))
	buf = append(buf, key...)
	buf = binary.AppendUvarint(buf, uint64(len(payload)))
	return append(buf, payload...)
}

// entries calls fn for each entry of a full exchange; the payload is a part of buf. What comes before a mistake has been
// handed out by then, which does no harm: each entry stands for itself.
func entries(buf []byte, fn func(key string, payload []byte)) error {
	for len(buf) > 0 {
		n := int(buf[0])
		if n == 0 || n > maxKey || len(buf) < 1+n {
			return fmt.Errorf("%w: key of %d bytes", errExchange, n)
		}
		key := string(buf[1 : 1+n])
		size, used := binary.Uvarint(buf[1+n:])
		if used <= 0 || size > uint64(len(buf)-1-n-used) {
			return fmt.Errorf("%w: payload of %q", errExchange, key)
		}
		buf = buf[1+n+used:]
		fn(key, buf[:size:size])
		buf = buf[size:]
	}
	return nil
}

// seen remembers the numbers of the newest messages: at least maxSeen, at most twice as many.
type seen struct {
	mu       sync.Mutex // guards both; held for a lookup
	now, old map[uint64]struct{}
}

// first reports whether a number is new, and remembers it.
func (s *seen) first(id uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.now[id]; ok {
		return false
	}
	if _, ok := s.old[id]; ok {
		return false
	}
	if s.now == nil || len(s.now) >= maxSeen {
		s.old, s.now = s.now, make(map[uint64]struct{})
	}
	s.now[id] = struct{}{}
	return true
}
