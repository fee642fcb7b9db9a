package dnsd

import (
	"encoding/hex"
	"errors"
	"net/netip"
	"slices"

	"github.com/miekg/dns"

	"github.com/catchment-net/catchment/dnsd/wire"
	"github.com/catchment-net/catchment/dnsd/zone"
)

// The sizes of answers in bytes.
const (
	plainUDP = 512 // without EDNS, RFC 1035 §2.3.4
	maxTCP   = 65535
)

// asker is where a query came from.
type asker struct {
	addr    netip.Addr
	tcp     bool
	anycast bool // it came to an address that we share with other POPs
}

// answer turns one packet into one packet, or into nothing for what is no query. It reads the configuration and the
// view once, so that one answer never mixes two of them.
func (s *Server) answer(packet []byte, from asker) []byte {
	q, err := wire.Parse(packet)
	if errors.Is(err, wire.ErrDrop) {
		s.metrics.dropped.Inc()
		return nil
	}
	r := &reply{q: q, from: from}
	r.m.Compress = true
	switch {
	case errors.Is(err, wire.ErrNotImpl):
		r.m.Rcode = dns.RcodeNotImplemented
	case err != nil:
		r.m.Rcode = dns.RcodeFormatError
	case q.EDNS != nil && q.EDNS.Version != 0:
		r.m.Rcode = dns.RcodeBadVers // its upper bits go into the OPT record
	case q.TSIG: // we hold no keys (RFC 8945 §5.2.1)
		r.m.Rcode = dns.RcodeNotAuth
	case q.Class == dns.ClassCHAOS:
		s.answerChaos(r)
	case q.Class != dns.ClassINET:
		r.m.Rcode = dns.RcodeRefused
	default:
		s.answerInternet(r)
	}
	out, rcode := r.pack(s.identity())
	s.metrics.answered(from.tcp, rcode, r.truncated)
	return out
}

func (s *Server) answerInternet(r *reply) {
	if r.from.anycast {
		s.last.Store(s.o.Now().UnixNano())
		s.clients.Add(1)
	}
	now := s.state.Load()
	switch r.q.Type {
	case dns.TypeAXFR, dns.TypeIXFR:
		r.m.Rcode = dns.RcodeRefused
		if now != nil && now.config.zones.Inside(zone.Canonical(r.q.Name)) {
			r.m.Rcode = dns.RcodeNotAuth // ours, but no zone's top (RFC 5936 §2.2.1)
		}
		return
	case dns.TypeOPT, dns.TypeTSIG: // never the subject of a question
		r.m.Rcode = dns.RcodeFormatError
		return
	case dns.TypeTKEY:
		r.m.Rcode = dns.RcodeNotImplemented
		return
	}
	if now == nil {
		r.m.Rcode = dns.RcodeRefused
		return
	}
	st := &steering{server: s, state: now, client: r.q.EDNS.Subnet(), resolver: r.from.addr}
	a := now.config.zones.Resolve(r.q.Name, r.q.Type, st)
	r.m.Rcode, r.m.Authoritative = a.Rcode, a.Authoritative
	r.m.Answer, r.m.Ns, r.m.Extra = a.Answer, a.Authority, a.Additional
	r.scope = st.scope(a)
}

// answerChaos says who we are (RFC 4892); what we run is nobody's business.
func (s *Server) answerChaos(r *reply) {
	name, id := zone.Canonical(r.q.Name), s.identity()
	if id == "" || name != "id.server." && name != "hostname.bind." {
		r.m.Rcode = dns.RcodeRefused
		return
	}
	r.m.Authoritative = true
	if r.q.Type == dns.TypeTXT || r.q.Type == dns.TypeANY {
		r.m.Answer = []dns.RR{&dns.TXT{
			Hdr: dns.RR_Header{Name: r.q.Name, Rrtype: dns.TypeTXT, Class: dns.ClassCHAOS}, Txt: []string{id},
		}}
	}
}

// identity is "POP/NODE", or as much of it as we have.
func (s *Server) identity() string {
	if s.o.POP == "" || s.o.Node == "" {
		return s.o.POP + s.o.Node
	}
	return s.o.POP + "/" + s.o.Node
}

// reply is an answer in the making.
type reply struct {
	q         wire.Query
	from      asker
	m         dns.Msg
	scope     uint8 // of the ECS option
	truncated bool
}

// limit is the largest packet that the client gets.
func (r *reply) limit() int {
	switch {
	case r.from.tcp:
		return maxTCP
	case r.q.EDNS == nil:
		return plainUDP
	}
	return min(max(int(r.q.EDNS.Size), plainUDP), PayloadSize)
}

// pack finishes the header and the OPT record and writes the packet. What does not fit goes out empty with TC: a part
// of an RRset helps nobody (RFC 2181 §9), and a short packet amplifies nothing.
func (r *reply) pack(identity string) (out []byte, rcode int) {
	m := &r.m
	m.Id, m.Response, m.Opcode, m.RecursionDesired = r.q.ID, true, r.q.Opcode, r.q.RD
	if r.q.Asked {
		m.Question = []dns.Question{{Name: r.q.Name, Qtype: r.q.Type, Qclass: r.q.Class}}
	}
	rcode = m.Rcode
	var opt *dns.OPT
	if r.q.EDNS != nil {
		opt = r.opt(identity)
		m.Extra = append(slices.Clip(m.Extra), opt)
	}
	out, err := m.Pack()
	switch {
	case err != nil: // a record of a zone that cannot be written
		r.strip(opt)
		m.Rcode, m.Authoritative = dns.RcodeServerFailure, false
		rcode = m.Rcode
	case len(out) > r.limit():
		r.strip(opt)
		m.Truncated, r.truncated = true, true
	default:
		return out, rcode
	}
	if out, err = m.Pack(); err != nil {
		return nil, rcode
	}
	return out, rcode
}

func (r *reply) strip(opt *dns.OPT) {
	r.m.Answer, r.m.Ns, r.m.Extra = nil, nil, nil
	if opt != nil {
		r.m.Extra = []dns.RR{opt}
	}
}

func (r *reply) opt(identity string) *dns.OPT {
	e := r.q.EDNS
	opt := &dns.OPT{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeOPT}}
	opt.SetUDPSize(PayloadSize)
	if e.DO {
		opt.SetDo()
	}
	if e.NSID && identity != "" {
		opt.Option = append(opt.Option, &dns.EDNS0_NSID{Code: dns.EDNS0NSID, Nsid: hex.EncodeToString([]byte(identity))})
	}
	if e.ECS != nil && r.m.Rcode != dns.RcodeFormatError {
		opt.Option = append(opt.Option, &dns.EDNS0_LOCAL{Code: dns.EDNS0SUBNET, Data: e.ECS.Reply(r.scope)})
	}
	return opt
}
