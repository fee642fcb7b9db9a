package dnsd

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"time"

	"github.com/miekg/dns"

	"github.com/catchment-net/catchment/dnsd/cookie"
	"github.com/catchment-net/catchment/dnsd/rrl"
	"github.com/catchment-net/catchment/dnsd/wire"
)

// The sizes of packets in bytes.
const (
	headerSize = 12
	plainUDP   = 512 // without EDNS, RFC 1035 §2.3.4
	maxTCP     = 65535
)

// asker is where a query came from.
type asker struct {
	addr    netip.Addr
	tcp     bool
	anycast bool // it came to an address that we share with other POPs
}

// worker answers one packet after the other. It belongs to one goroutine.
type worker struct {
	s      *Server
	count  *counters
	now    time.Time // of the packet or of the batch that it came in
	q      wire.Query
	lower  [wire.MaxName]byte
	names  suffixes // of the name asked for
	st     steering
	owner  uint64 // of the answer: tells names of a zone apart for the rate limit
	tally  tally
	server [cookie.ServerSize]byte // the cookie that the client gets, where he has one himself

	unlogged int  // queries since one was written down
	plain    bool // never the fast path: what the tests hold it against
}

func (s *Server) newWorker(c *counters) *worker {
	return &worker{s: s, count: c, st: steering{server: s}}
}

// one answers one packet and counts it, for readers that take no batches.
func (w *worker) one(packet, out []byte, from asker) []byte {
	out = w.answer(packet, out, from)
	w.count.mu.Lock()
	defer w.count.mu.Unlock()
	w.count.add(&w.tally, w.now.UnixNano())
	return out
}

// answer appends the answer to a packet to out, which it returns, or returns nil for what gets none. What there is to
// count is in w.tally then. It reads the state once, so that one answer never mixes two of them.
func (w *worker) answer(packet, out []byte, from asker) []byte {
	w.tally, w.owner = tally{tcp: from.tcp}, 0
	q, s := &w.q, w.s
	err := q.Parse(packet)
	if errors.Is(err, wire.ErrDrop) {
		return nil
	}
	var b *body
	var scope uint8
	switch {
	case errors.Is(err, wire.ErrNotImpl):
		b = s.notImplemented
	case err != nil:
		b = s.formError
	case q.EDNS.Version != 0:
		b = s.badVersion // its upper bits go into the OPT record
	case !q.Asked:
		b = s.empty
	case q.TSIG: // we hold no keys (RFC 8945 §5.2.1)
		b = s.notAuth
	case q.Class == dns.ClassINET:
		b, scope = w.answerInternet(from)
	case q.Class == dns.ClassCHAOS:
		b = w.answerChaos()
	default:
		b = s.refused
	}
	if w.tally.cookie = w.bake(from); !w.tally.cookie && !from.tcp {
		key := b.key + uint64(b.kind)
		if b.kind == kindAnswer { // all else is alike for the whole zone
			key += w.owner
		}
		w.tally.verdict = s.limiter.Take(from.addr, key, w.now)
	}
	switch {
	case w.tally.verdict == rrl.Drop:
		return nil
	case w.tally.verdict == rrl.Truncate && q.EDNS.Cookie != nil:
		b = s.badCookie // its sender can prove himself without TCP (RFC 7873 §5.2.3)
	}
	start := len(out)
	out = w.write(out, b, scope, from)
	w.tally.body = b
	w.sample(b, scope, from, len(out)-start)
	return out
}

// bake checks the client's cookie, and makes the server's that he gets. It reports whether his proved his address.
func (w *worker) bake(from asker) (valid bool) {
	c := w.q.EDNS.Cookie
	if c == nil {
		return false
	}
	now := uint32(w.now.Unix())
	valid, renew := w.s.cookies.Check(c, from.addr, now)
	if renew {
		w.s.cookies.Make(&w.server, c[:cookie.ClientSize], from.addr, now)
	} else {
		copy(w.server[:], c[cookie.ClientSize:])
	}
	return valid
}

func (w *worker) answerInternet(from asker) (*body, uint8) {
	s, q := w.s, &w.q
	if from.anycast {
		w.tally.client = true
	}
	now := s.state.Load()
	if now == nil {
		return s.refused, 0
	}
	name := wire.AppendLower(w.lower[:0], q.Name)
	switch q.Type {
	case dns.TypeAXFR, dns.TypeIXFR:
		if now.config.zones.Inside(wire.Text(name)) {
			return s.notAuth, 0 // ours, but no zone's top (RFC 5936 §2.2.1)
		}
		return s.refused, 0
	case dns.TypeOPT, dns.TypeTSIG: // never the subject of a question
		return s.formError, 0
	case dns.TypeTKEY:
		return s.notImplemented, 0
	}
	st := &w.st
	st.state, st.client, st.resolver, st.bits, st.chosen = now, q.EDNS.ECS.Addr(), from.addr, 0, 0
	w.names.set(name)
	var b *body
	var scope uint8
	if !w.plain {
		b, scope = w.fast(st, q.Type, name)
	}
	if b == nil {
		w.tally.slow, w.owner = true, 0
		return w.slow(st, name)
	}
	if !st.client.IsValid() || !b.scoped {
		scope = 0
	}
	return b, scope
}

// slow resolves a query and packs its answer.
func (w *worker) slow(st *steering, name []byte) (*body, uint8) {
	a := st.state.config.zones.Resolve(wire.Text(name), w.q.Type, st)
	st.settle(&a)
	b, err := packBody(a, name, st.state.config.index.seed)
	if err != nil { // a record of a zone that cannot be written
		return w.s.failed, 0
	}
	if zx := st.state.config.index.find(&w.names); zx != nil {
		b.zone = uint16(zx.number)
	}
	b.chosen = uint16(st.chosen)
	return b, st.scope(a)
}

// answerChaos says who we are (RFC 4892); what we run is nobody's business.
func (w *worker) answerChaos() *body {
	name := wire.AppendLower(w.lower[:0], w.q.Name)
	if w.s.identity == "" || string(name) != "\x02id\x06server\x00" && string(name) != "\x08hostname\x04bind\x00" {
		return w.s.refused
	}
	if w.q.Type != dns.TypeTXT && w.q.Type != dns.TypeANY {
		return w.s.chaosEmpty
	}
	return w.s.chaos
}

// limit is the largest packet that the client gets.
func (w *worker) limit(tcp bool) int {
	switch {
	case tcp:
		return maxTCP
	case !w.q.EDNS.Present:
		return plainUDP
	}
	return min(max(int(w.q.EDNS.Size), plainUDP), PayloadSize)
}

// write appends the whole packet. What does not fit goes out empty with TC: a part of an RRset helps nobody (RFC 2181
// §9), and a short packet amplifies nothing.
func (w *worker) write(out []byte, b *body, scope uint8, from asker) []byte {
	q, start := &w.q, len(out)
	out = w.question(out)
	asked := len(out)
	out = b.appendTo(out, len(q.Name))
	out = w.opt(out, b, scope, from)
	limit := w.limit(from.tcp)
	if w.tally.verdict == rrl.Truncate && b.rcode != dns.RcodeBadCookie {
		limit = 0
	}
	if len(out)-start > limit {
		w.tally.truncated = true
		out = w.opt(out[:asked], b, scope, from)
	}
	w.header(out[start:], b, w.tally.truncated)
	return out
}

// question appends room for the header, and the question as the client wrote it.
func (w *worker) question(out []byte) []byte {
	out = append(out, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	if q := &w.q; q.Asked {
		out = append(out, q.Name...)
		out = append(out, byte(q.Type>>8), byte(q.Type), byte(q.Class>>8), byte(q.Class))
	}
	return out
}

// appendTo appends the body of a packet behind a question for a name of so many bytes.
func (b *body) appendTo(out []byte, asked int) []byte {
	at := len(out)
	out = append(out, b.data()...)
	if d := asked - int(b.asked); d != 0 {
		for _, m := range b.moves {
			p := out[at+int(m):]
			binary.BigEndian.PutUint16(p, uint16(int(binary.BigEndian.Uint16(p))+d))
		}
	}
	return out
}

func (w *worker) header(p []byte, b *body, truncated bool) {
	q := &w.q
	binary.BigEndian.PutUint16(p, q.ID)
	p[2] = 0x80 | q.Opcode<<3
	if q.RD {
		p[2] |= 1
	}
	if b.aa {
		p[2] |= 4
	}
	p[3] = byte(b.rcode & 0xf)
	if q.Asked {
		p[5] = 1
	}
	if truncated {
		p[2] |= 2
	} else {
		for i, n := range b.counts {
			binary.BigEndian.PutUint16(p[6+2*i:], n)
		}
	}
	if q.EDNS.Present {
		binary.BigEndian.PutUint16(p[10:], binary.BigEndian.Uint16(p[10:])+1)
	}
}

// opt appends the OPT record that answers the client's.
func (w *worker) opt(out []byte, b *body, scope uint8, from asker) []byte {
	e := &w.q.EDNS
	if !e.Present {
		return out
	}
	o := wire.BeginOPT(out, PayloadSize, int(b.rcode), e.DO)
	if e.NSID && w.s.identity != "" {
		o.Add(dns.EDNS0NSID, []byte(w.s.identity), nil)
	}
	if e.ECS.Present && b.rcode != dns.RcodeFormatError {
		o.AddECS(&e.ECS, scope)
	}
	if e.Cookie != nil {
		o.Add(dns.EDNS0COOKIE, e.Cookie[:cookie.ClientSize], w.server[:])
	}
	if e.Keepalive && from.tcp { // RFC 7828 §3.3.2: in units of 100 ms
		idle := [2]byte{byte(IdleTimeout / (100 * time.Millisecond) >> 8), byte(IdleTimeout / (100 * time.Millisecond) & 0xff)}
		o.Add(dns.EDNS0TCPKEEPALIVE, idle[:], nil)
	}
	return o.End()
}

// bodies are the answers that depend on no zone. They are made once.
type bodies struct {
	empty, refused, formError, notImplemented, badVersion, notAuth, badCookie, failed, chaos, chaosEmpty *body
	identity                                                                                             string
}

func newBodies(identity string) bodies {
	bare := func(rcode int) *body { return &body{rcode: uint16(rcode)} }
	txt := &dns.TXT{Hdr: dns.RR_Header{Name: "id.server.", Rrtype: dns.TypeTXT, Class: dns.ClassCHAOS}, Txt: []string{identity}}
	return bodies{
		empty: bare(dns.RcodeSuccess), refused: bare(dns.RcodeRefused), formError: bare(dns.RcodeFormatError),
		notImplemented: bare(dns.RcodeNotImplemented), badVersion: bare(dns.RcodeBadVers), notAuth: bare(dns.RcodeNotAuth),
		badCookie: bare(dns.RcodeBadCookie),
		failed:    bare(dns.RcodeServerFailure), chaosEmpty: &body{aa: true, kind: kindNoData}, chaos: chaosBody(txt), identity: identity,
	}
}

func chaosBody(txt *dns.TXT) *body {
	b := &body{aa: true, kind: kindAnswer, counts: [3]uint16{1, 0, 0}}
	p := packer{body: b, name: []byte("\x02id\x06server\x00"), seen: map[string]int{}}
	if p.record(txt, true) != nil || p.settle() != nil { // an identity of more than 255 bytes
		return &body{aa: true, kind: kindNoData}
	}
	return b
}
