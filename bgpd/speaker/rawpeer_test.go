package speaker

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"
)

// rawPeer is a BGP neighbour that does no more than open a session and note what it reads, with the time: what it saw
// was on the wire, in that order. It is written against RFC 4271 and 4760 alone, so that it does not share gobgp's
// mistakes.
type rawPeer struct {
	asn   uint32
	extra []byte // further capabilities of its OPEN, encoded
	four  bool   // it offers IPv4 alone

	mu       sync.Mutex // guards the following
	updates  []rawUpdate
	open     []byte // the body of the OPEN that it was sent
	notified []byte // the body of the last NOTIFICATION
	conn     net.Conn
	up       bool
}

// rawUpdate is one UPDATE message.
type rawUpdate struct {
	at        time.Time
	size      int // bytes on the wire
	announced []netip.Prefix
	withdrawn []netip.Prefix
	attrs     map[byte][]byte // by type
}

// The message and attribute types that a rawPeer reads (RFC 4271 §4.1, §4.3; RFC 4760 §3, §4).
const (
	msgOpen, msgUpdate, msgNotification, msgKeepalive = 1, 2, 3, 4
	attrMPReach, attrMPUnreach                        = 14, 15
)

// serve speaks on every connection that l accepts, one after the other, until l is closed.
func (p *rawPeer) serve(tb testing.TB, l net.Listener) {
	tb.Helper()
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_ = p.speak(conn)
		}
	})
	tb.Cleanup(func() {
		l.Close()
		p.close()
		running.Wait()
	})
}

// call dials a speaker again and again, and speaks on every connection, until the test ends.
func (p *rawPeer) call(tb testing.TB, from netip.Addr, to netip.AddrPort) {
	tb.Helper()
	ctx, cancel := context.WithCancel(tb.Context())
	var running sync.WaitGroup
	running.Go(func() {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: from.AsSlice()}}
		for ctx.Err() == nil {
			if conn, err := d.DialContext(ctx, "tcp", to.String()); err == nil {
				stop := context.AfterFunc(ctx, func() { conn.Close() })
				_ = p.speak(conn)
				stop()
			}
			select {
			case <-ctx.Done():
			case <-time.After(5 * time.Millisecond):
			}
		}
	})
	tb.Cleanup(func() {
		cancel()
		running.Wait()
	})
}

func (p *rawPeer) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conn != nil {
		p.conn.Close()
	}
}

// speak opens a session on conn and reads until it ends.
func (p *rawPeer) speak(conn net.Conn) error {
	defer conn.Close()
	p.mu.Lock()
	p.conn, p.up = conn, false
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		p.up = false
		p.mu.Unlock()
	}()
	if _, err := conn.Write(p.openMessage()); err != nil {
		return err
	}
	r := bufio.NewReaderSize(conn, 1<<16)
	for {
		kind, body, err := readRaw(r)
		if err != nil {
			return err
		}
		now := time.Now()
		switch kind {
		case msgOpen:
			p.mu.Lock()
			p.open = body
			p.mu.Unlock()
			if _, err := conn.Write(rawMessage(msgKeepalive, nil)); err != nil {
				return err
			}
		case msgKeepalive:
			p.mu.Lock()
			p.up = true
			p.mu.Unlock()
			if _, err := conn.Write(rawMessage(msgKeepalive, nil)); err != nil {
				return err
			}
		case msgUpdate:
			u, err := parseUpdate(body)
			if err != nil {
				return err
			}
			u.at, u.size = now, len(body)+19
			p.mu.Lock()
			p.updates = append(p.updates, u)
			p.mu.Unlock()
		case msgNotification:
			p.mu.Lock()
			p.notified = body
			p.mu.Unlock()
		}
	}
}

// openMessage offers IPv4 and, as a rule, IPv6 unicast, four-octet ASNs and a hold time of 90 s.
func (p *rawPeer) openMessage() []byte {
	caps := []byte{1, 4, 0, 1, 0, 1}
	if !p.four {
		caps = append(caps, 1, 4, 0, 2, 0, 1)
	}
	caps = append(caps, 65, 4)
	caps = append(binary.BigEndian.AppendUint32(caps, p.asn), p.extra...)
	body := []byte{4, byte(p.asn >> 8), byte(p.asn), 0, 90, 198, 18, 0, 1, byte(len(caps) + 2), 2, byte(len(caps))}
	return rawMessage(msgOpen, append(body, caps...))
}

func rawMessage(kind byte, body []byte) []byte {
	m := make([]byte, 16, 19+len(body))
	for i := range m {
		m[i] = 0xff
	}
	m = binary.BigEndian.AppendUint16(m, uint16(19+len(body)))
	return append(append(m, kind), body...)
}

func readRaw(r io.Reader) (kind byte, body []byte, err error) {
	var head [19]byte
	if _, err = io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	n := int(binary.BigEndian.Uint16(head[16:])) - len(head)
	if n < 0 {
		return 0, nil, errShort
	}
	body = make([]byte, n)
	_, err = io.ReadFull(r, body)
	return head[18], body, err
}

var errShort = errors.New("message is shorter than it says")

func parseUpdate(b []byte) (rawUpdate, error) {
	u := rawUpdate{attrs: map[byte][]byte{}}
	withdrawn, b, err := cutSized(b)
	if err != nil {
		return u, err
	}
	if u.withdrawn, err = parsePrefixes(withdrawn, 4); err != nil {
		return u, err
	}
	attrs, b, err := cutSized(b)
	if err != nil {
		return u, err
	}
	for len(attrs) > 0 {
		if len(attrs) < 3 {
			return u, errShort
		}
		kind, n, skip := attrs[1], int(attrs[2]), 3
		if attrs[0]&0x10 != 0 { // extended length
			if len(attrs) < 4 {
				return u, errShort
			}
			n, skip = int(binary.BigEndian.Uint16(attrs[2:])), 4
		}
		if len(attrs) < skip+n {
			return u, errShort
		}
		u.attrs[kind], attrs = attrs[skip:skip+n], attrs[skip+n:]
	}
	if u.announced, err = parsePrefixes(b, 4); err != nil {
		return u, err
	}
	if reach := u.attrs[attrMPReach]; len(reach) >= 5 {
		six, err := parsePrefixes(reach[4+int(reach[3])+1:], 16)
		if err != nil {
			return u, err
		}
		u.announced = append(u.announced, six...)
	}
	if unreach := u.attrs[attrMPUnreach]; len(unreach) >= 3 {
		six, err := parsePrefixes(unreach[3:], 16)
		if err != nil {
			return u, err
		}
		u.withdrawn = append(u.withdrawn, six...)
	}
	return u, nil
}

// cutSized cuts what a two-octet length in front of it bounds.
func cutSized(b []byte) (in, rest []byte, err error) {
	if len(b) < 2 || len(b) < 2+int(binary.BigEndian.Uint16(b)) {
		return nil, nil, errShort
	}
	n := int(binary.BigEndian.Uint16(b))
	return b[2 : 2+n], b[2+n:], nil
}

func parsePrefixes(b []byte, size int) ([]netip.Prefix, error) {
	var all []netip.Prefix
	for len(b) > 0 {
		bits := int(b[0])
		n := (bits + 7) / 8
		if n > size || len(b) < 1+n {
			return nil, errShort
		}
		addr := make([]byte, size)
		copy(addr, b[1:1+n])
		a, _ := netip.AddrFromSlice(addr)
		all, b = append(all, netip.PrefixFrom(a, bits)), b[1+n:]
	}
	return all, nil
}

// routes returns what the neighbour has now by the UPDATEs that are noted, and when the last one came.
func (p *rawPeer) routes() (have map[netip.Prefix]rawUpdate, last time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	have = map[netip.Prefix]rawUpdate{}
	for _, u := range p.updates {
		for _, w := range u.withdrawn {
			delete(have, w)
		}
		for _, a := range u.announced {
			have[a] = u
		}
		last = u.at
	}
	return have, last
}

// forget drops the UPDATEs that were noted.
func (p *rawPeer) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.updates = nil
}

// count returns how many prefixes were withdrawn and announced since forget, in how many UPDATEs, and when the last came.
func (p *rawPeer) count() (withdrawn, announced, updates int, last time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, u := range p.updates {
		withdrawn += len(u.withdrawn)
		announced += len(u.announced)
		last = u.at
	}
	return withdrawn, announced, len(p.updates), last
}

// without returns when the last of these prefixes had been withdrawn, and by how many UPDATEs; false while some are left.
func (p *rawPeer) without(all []Route) (at time.Time, updates int, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	left := map[netip.Prefix]bool{}
	for _, r := range all {
		left[r.Prefix] = true
	}
	for i, u := range p.updates {
		for _, w := range u.withdrawn {
			delete(left, w)
		}
		if len(left) == 0 {
			return u.at, i + 1, true
		}
	}
	return time.Time{}, 0, false
}

// newRawPeer listens at addr.
func newRawPeer(tb testing.TB, addr netip.Addr, asn uint32) (*rawPeer, netip.AddrPort) {
	tb.Helper()
	l, err := net.Listen("tcp", netip.AddrPortFrom(addr, 0).String())
	if err != nil {
		tb.Fatal(err)
	}
	p := &rawPeer{asn: asn}
	p.serve(tb, l)
	return p, l.Addr().(*net.TCPAddr).AddrPort()
}
