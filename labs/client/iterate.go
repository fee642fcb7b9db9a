package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/miekg/dns"

	"github.com/catchment-net/catchment/topology"
)

// Limits of one question, so that no zone can keep a Recursor busy.
const (
	maxReferrals = 16
	maxDepth     = 6 // of aliases and of name servers' own names, one within the other
)

// question is what a Recursor is to find out, and for whom.
type question struct {
	name   string
	qtype  uint16
	subnet netip.Prefix // what ECS tells; the zero Prefix is nothing
}

// resolve answers from the cache or finds out.
func (r *Recursor) resolve(ctx context.Context, q question, depth int) (*dns.Msg, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("resolve %q: more than %d aliases and name servers within one another", q.name, maxDepth)
	}
	if m := r.cached(q); m != nil {
		return m, nil
	}
	m, scope, err := r.iterate(ctx, q, depth)
	if err != nil {
		return nil, err
	}
	if target := alias(m, q); target != "" {
		further, err := r.resolve(ctx, question{target, q.qtype, q.subnet}, depth+1)
		if err != nil {
			return nil, err
		}
		m.Rcode, m.Ns = further.Rcode, further.Ns
		m.Answer = append(m.Answer, further.Answer...)
	}
	r.keep(q, m, scope)
	return m, nil
}

// alias is the name that an answer ends at without the type that was asked for.
func alias(m *dns.Msg, q question) string {
	target := ""
	for _, rr := range m.Answer {
		if rr.Header().Rrtype == q.qtype {
			return ""
		}
		if c, ok := rr.(*dns.CNAME); ok {
			target = c.Target
		}
	}
	return target
}

// iterate follows referrals from the deepest zone that is known.
func (r *Recursor) iterate(ctx context.Context, q question, depth int) (*dns.Msg, netip.Prefix, error) {
	for range maxReferrals {
		zone, servers := r.closest(q.name)
		if zone == "" {
			return nil, netip.Prefix{}, fmt.Errorf("resolve %q: no server to begin at", q.name)
		}
		reply, err := r.askZone(ctx, zone, servers, q)
		if err != nil {
			return nil, netip.Prefix{}, err
		}
		child := referral(reply, zone, q.name)
		if child == "" {
			m := &dns.Msg{Answer: reply.Answer, Ns: onlySOA(reply.Ns)}
			m.Rcode = reply.Rcode
			return m, scopeOf(reply, q.subnet), nil
		}
		if err := r.descend(ctx, reply, child, depth); err != nil {
			return nil, netip.Prefix{}, err
		}
	}
	return nil, netip.Prefix{}, fmt.Errorf("resolve %q: more than %d referrals", q.name, maxReferrals)
}

// closest is the deepest known zone that holds a name, and who serves it.
func (r *Recursor) closest(name string) (string, []netip.AddrPort) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.o.Mono()
	name = dns.CanonicalName(name)
	for off, end := 0, false; !end; off, end = dns.NextLabel(name, off) {
		if d, ok := r.delegations[name[off:]]; ok && (d.expires == 0 || now < d.expires) {
			return name[off:], d.servers
		}
	}
	if d, ok := r.delegations["."]; ok {
		return ".", d.servers
	}
	return "", nil
}

// askZone asks the servers of a zone, from the last good one on, until one answers what a server of that zone would.
func (r *Recursor) askZone(ctx context.Context, zone string, servers []netip.AddrPort, q question) (*dns.Msg, error) {
	r.mu.Lock()
	first := r.good[zone]
	r.mu.Unlock()
	var last error
	for i := range servers {
		n := (first + i) % len(servers)
		m, err := r.askOne(ctx, servers[n], q)
		if err == nil && (m.Rcode == dns.RcodeSuccess || m.Rcode == dns.RcodeNameError) && (m.Authoritative || referral(m, zone, q.name) != "") {
			r.mu.Lock()
			r.good[zone] = n
			r.mu.Unlock()
			return m, nil
		}
		if err == nil {
			err = fmt.Errorf("%s answered %s and does not serve %s", servers[n].Addr(), dns.RcodeToString[m.Rcode], zone)
		}
		if last = err; ctx.Err() != nil {
			break
		}
	}
	return nil, fmt.Errorf("resolve %q: %w", q.name, last)
}

// askOne asks one server without recursion.
func (r *Recursor) askOne(ctx context.Context, server netip.AddrPort, q question) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, r.o.Timeout, errors.New("no answer in time"))
	defer cancel()
	m := new(dns.Msg)
	m.SetQuestion(dns.Fqdn(q.name), q.qtype)
	m.RecursionDesired = false
	m.SetEdns0(payload, false)
	if q.subnet.IsValid() {
		family := uint16(2)
		if q.subnet.Addr().Is4() {
			family = 1
		}
		m.IsEdns0().Option = append(m.IsEdns0().Option, &dns.EDNS0_SUBNET{
			Code: dns.EDNS0SUBNET, Family: family, SourceNetmask: uint8(q.subnet.Bits()), Address: net.IP(q.subnet.Addr().AsSlice()),
		})
	}
	replies, err := overUDP(ctx, r.o.Net, server, []*dns.Msg{m})
	if err != nil {
		return nil, because(ctx, err)
	}
	return replies[0], nil
}

// referral is the zone below zone that a reply sends us to, for a name; "" if it is none (RFC 1034 §4.3.2).
func referral(m *dns.Msg, zone, name string) string {
	if m.Authoritative || len(m.Answer) > 0 || m.Rcode != dns.RcodeSuccess {
		return ""
	}
	for _, rr := range m.Ns {
		owner := dns.CanonicalName(rr.Header().Name)
		if rr.Header().Rrtype == dns.TypeNS && owner != zone && dns.IsSubDomain(zone, owner) && dns.IsSubDomain(owner, name) {
			return owner
		}
	}
	return ""
}

// descend learns who serves a zone that was referred to: by glue, else by the names of its servers.
func (r *Recursor) descend(ctx context.Context, m *dns.Msg, child string, depth int) error {
	d := delegation{expires: r.o.Mono() + int64(maxTTL)}
	var bare []string
	for _, rr := range m.Ns {
		ns, ok := rr.(*dns.NS)
		if !ok || dns.CanonicalName(ns.Hdr.Name) != child {
			continue
		}
		d.expires = min(d.expires, r.o.Mono()+int64(max(seconds(ns.Hdr.Ttl), r.o.Resolver.MinTTL)))
		glue := addresses(m.Extra, ns.Ns)
		if len(glue) == 0 {
			bare = append(bare, ns.Ns)
		}
		d.servers = append(d.servers, glue...)
	}
	for _, name := range bare {
		if len(d.servers) > 0 {
			break // glue is enough to go on
		}
		for _, qtype := range []uint16{dns.TypeA, dns.TypeAAAA} {
			if a, err := r.resolve(ctx, question{name: name, qtype: qtype}, depth+1); err == nil {
				d.servers = append(d.servers, addresses(a.Answer, name)...)
			}
		}
	}
	if len(d.servers) == 0 {
		return fmt.Errorf("zone %s is delegated to servers without addresses", child)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.delegations) >= maxKept {
		r.forget()
	}
	r.delegations[child] = d
	return nil
}

// addresses are those that records give a name, with the port of DNS.
func addresses(records []dns.RR, name string) []netip.AddrPort {
	var all []netip.AddrPort
	for _, rr := range records {
		var ip net.IP
		switch rr := rr.(type) {
		case *dns.A:
			ip = rr.A
		case *dns.AAAA:
			ip = rr.AAAA
		}
		if a, ok := netip.AddrFromSlice(ip); ok && strings.EqualFold(rr.Header().Name, name) {
			all = append(all, netip.AddrPortFrom(a.Unmap(), topology.PortDNS))
		}
	}
	return all
}

func onlySOA(records []dns.RR) []dns.RR {
	var all []dns.RR
	for _, rr := range records {
		if rr.Header().Rrtype == dns.TypeSOA {
			all = append(all, rr)
		}
	}
	return all
}

// scopeOf is whom an answer is for: all whose addresses share as much as the server says of the subnet that was sent.
func scopeOf(m *dns.Msg, sent netip.Prefix) netip.Prefix {
	opt := m.IsEdns0()
	if opt == nil || !sent.IsValid() {
		return netip.Prefix{}
	}
	for _, o := range opt.Option {
		if s, ok := o.(*dns.EDNS0_SUBNET); ok && s.SourceScope > 0 {
			if p, err := sent.Addr().Prefix(min(int(s.SourceScope), sent.Bits())); err == nil {
				return p
			}
		}
	}
	return netip.Prefix{}
}
