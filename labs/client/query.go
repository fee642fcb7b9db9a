package client

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/catchment-net/catchment/internal/underlay"
)

// payload is the UDP size that queries offer (RFC 9715 §3.1).
const payload = 1232

// askServer sends the A and the AAAA question to one name server and merges the two answers. Each carries NSID and, unless
// it goes to a resolver, ECS of the network's prefix of that family, as a resolver's question on behalf of this network
// would (RFC 7871).
func (r *resolver) askServer(ctx context.Context, host string, server netip.AddrPort) (Answer, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, r.o.DNSTimeout, errors.New("no answer in time"))
	defer cancel()
	at := netip.AddrPortFrom(server.Addr(), cmp.Or(server.Port(), 53))
	recursive := r.o.Recursive && slices.Contains(r.o.Servers, server)
	questions := []*dns.Msg{r.question(host, dns.TypeA, recursive), r.question(host, dns.TypeAAAA, recursive)}
	replies, err := overUDP(ctx, r.o.Net, at, questions)
	if err != nil {
		return Answer{}, because(ctx, err)
	}
	answer := Answer{Server: server.Addr(), Rcode: "NOERROR", TTL: maxTTL}
	for _, m := range replies {
		if err := answer.merge(m); err != nil {
			return Answer{}, err
		}
	}
	answer.Empty = len(answer.Addrs) == 0
	answer.Received = r.o.Mono()
	return answer, nil
}

func (r *resolver) question(host string, qtype uint16, recursive bool) *dns.Msg {
	m := new(dns.Msg)
	m.SetQuestion(dns.Fqdn(host), qtype)
	m.SetEdns0(payload, false)
	opt := m.IsEdns0()
	opt.Option = append(opt.Option, &dns.EDNS0_NSID{Code: dns.EDNS0NSID})
	m.RecursionDesired = recursive
	if p, ok := r.subnet(qtype == dns.TypeA); ok && !recursive {
		family := uint16(2)
		if p.Addr().Is4() {
			family = 1
		}
		opt.Option = append(opt.Option, &dns.EDNS0_SUBNET{
			Code: dns.EDNS0SUBNET, Family: family, SourceNetmask: uint8(p.Bits()), Address: net.IP(p.Addr().AsSlice()),
		})
	}
	return m
}

// subnet is the network's prefix to send: that of the asked family if there is one, never shorter than /24 or /48, for
// a shorter one the first of these (RFC 7871 §11.1 advises no more than that of a real resolver; a lab's networks may
// be smaller than /24, and then their whole length tells them apart).
func (r *resolver) subnet(four bool) (netip.Prefix, bool) {
	var any netip.Prefix
	for _, p := range r.o.Network.Prefixes {
		bits := max(p.Bits(), 24)
		if !p.Addr().Is4() {
			bits = max(p.Bits(), 48)
		}
		p = netip.PrefixFrom(p.Addr(), bits)
		if p.Addr().Is4() == four {
			return p, true
		}
		any = p
	}
	return any, any.IsValid()
}

// overUDP sends all questions on one socket and collects the answers in any order; a truncated one is asked for again
// over TCP (RFC 7766 §5).
func overUDP(ctx context.Context, from underlay.Net, at netip.AddrPort, questions []*dns.Msg) ([]*dns.Msg, error) {
	raw, err := from.DialContext(ctx, "udp", at.String())
	if err != nil {
		return nil, fmt.Errorf("open socket: %w", err)
	}
	defer raw.Close()
	stop := context.AfterFunc(ctx, func() { raw.Close() })
	defer stop()
	for _, q := range questions {
		text, err := q.Pack()
		if err != nil {
			return nil, fmt.Errorf("pack question: %w", err)
		}
		if _, err := raw.Write(text); err != nil {
			return nil, fmt.Errorf("send question: %w", err)
		}
	}
	replies := make([]*dns.Msg, len(questions))
	var buf [1 << 16]byte
	for missing := len(questions); missing > 0; {
		n, err := raw.Read(buf[:])
		if err != nil {
			return nil, fmt.Errorf("read answer: %w", err)
		}
		m := new(dns.Msg)
		err = m.Unpack(buf[:n])
		i := matching(questions, m)
		if err != nil || i < 0 || replies[i] != nil {
			continue // garbage, a stray or a second answer: wait for the real one
		}
		if m.Truncated {
			if m, err = overTCP(ctx, from, at, questions[i]); err != nil {
				return nil, err
			}
		}
		replies[i] = m
		missing--
	}
	return replies, nil
}

func overTCP(ctx context.Context, from underlay.Net, at netip.AddrPort, q *dns.Msg) (*dns.Msg, error) {
	raw, err := from.DialContext(ctx, "tcp", at.String())
	if err != nil {
		return nil, fmt.Errorf("connect over TCP: %w", err)
	}
	conn := &dns.Conn{Conn: raw}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if err := conn.WriteMsg(q); err != nil {
		return nil, fmt.Errorf("send question over TCP: %w", err)
	}
	m, err := conn.ReadMsg()
	if err != nil {
		return nil, fmt.Errorf("read answer over TCP: %w", err)
	}
	if matching([]*dns.Msg{q}, m) < 0 {
		return nil, errors.New("an answer to another question came over TCP")
	}
	return m, nil
}

// matching is the index of the question that m answers, or -1.
func matching(questions []*dns.Msg, m *dns.Msg) int {
	for i, q := range questions {
		if m.Id == q.Id && m.Response && len(m.Question) == 1 && m.Question[0].Qtype == q.Question[0].Qtype &&
			strings.EqualFold(m.Question[0].Name, q.Question[0].Name) {
			return i
		}
	}
	return -1
}

// merge adds one family's answer. Anything but NOERROR and NXDOMAIN is an error: another name server may know better.
func (a *Answer) merge(m *dns.Msg) error {
	if m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError {
		return fmt.Errorf("it answered %s", dns.RcodeToString[m.Rcode])
	}
	if m.Rcode == dns.RcodeNameError {
		a.Rcode = dns.RcodeToString[m.Rcode]
	}
	for _, rr := range m.Answer {
		switch rr := rr.(type) {
		case *dns.A:
			if ip, ok := netip.AddrFromSlice(rr.A); ok {
				a.Addrs = append(a.Addrs, ip.Unmap())
			}
		case *dns.AAAA:
			if ip, ok := netip.AddrFromSlice(rr.AAAA); ok {
				a.Addrs = append(a.Addrs, ip)
			}
		}
		a.lower(rr.Header().Ttl)
	}
	for _, rr := range m.Ns {
		if soa, ok := rr.(*dns.SOA); ok && len(m.Answer) == 0 {
			a.lower(min(soa.Hdr.Ttl, soa.Minttl))
		}
	}
	if opt := m.IsEdns0(); opt != nil {
		for _, o := range opt.Option {
			if nsid, ok := o.(*dns.EDNS0_NSID); ok {
				a.Node = nodeOf(nsid.Nsid)
			}
		}
	}
	return nil
}

func (a *Answer) lower(ttl uint32) { a.TTL = min(a.TTL, time.Duration(ttl)*time.Second) }

// nodeOf reads the NSID "POP/NODE", which the library gives in hexadecimal.
func nodeOf(nsid string) string {
	text, err := hex.DecodeString(nsid)
	if err != nil {
		return ""
	}
	if _, node, ok := strings.Cut(string(text), "/"); ok {
		return node
	}
	return string(text)
}
