package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"

	"github.com/catchment-net/catchment/internal/event"
	"github.com/catchment-net/catchment/internal/underlay"
	"github.com/catchment-net/catchment/topology"
)

// RecursorOptions configures a Recursor. All but the last three are required.
type RecursorOptions struct {
	Resolver *topology.Resolver
	Topology *topology.Topology
	Net      underlay.Net                // of the resolver: it listens and asks from its own addresses
	Hints    map[string][]netip.AddrPort // by zone: where it begins, as a resolver's root hints and stub zones

	Timeout    time.Duration // for one server; 0 means 400 ms
	MaxPending int           // questions at once; one beyond it is dropped; 0 means 1024
	Mono       func() int64  // nil means event.Mono
}

// Recursor is a recursive resolver: it begins at its hints, follows referrals with their glue, and keeps what it learns
// as long as the TTL says, or its own minimum. All clients that ask it share its cache.
//
//	client ── A www.shop.example ──► Recursor ──► root or parent ── referral ──► ns1.shop.example ── answer
//
// It does not validate, knows no prefetching and serves nothing stale. That is what makes a user's wait after a failover:
// whatever a resolver does better shortens it.
type Recursor struct {
	o       RecursorOptions
	pending chan struct{} // a slot for each question at once

	mu          sync.Mutex // guards the following
	answers     map[cacheKey][]kept
	delegations map[string]delegation
	good        map[string]int // by zone: the server that answered last
}

// maxKept bounds the entries of a Recursor's caches; beyond it a cache starts anew.
const maxKept = 1 << 14

type cacheKey struct {
	name  string
	qtype uint16
}

// kept is an answer, for those whose address lies in the scope (RFC 7871 §7.3).
type kept struct {
	scope   netip.Prefix // the zero Prefix is for everybody
	answer  *dns.Msg
	expires int64
}

// delegation is who serves a zone.
type delegation struct {
	servers []netip.AddrPort
	expires int64 // 0 is never
}

// NewRecursor checks the options; it opens nothing.
func NewRecursor(o RecursorOptions) (*Recursor, error) {
	switch {
	case o.Resolver == nil || o.Topology == nil:
		return nil, errors.New("recursor: no resolver or no topology")
	case o.Net == nil:
		return nil, fmt.Errorf("resolver %q: no underlay", o.Resolver.Name)
	case len(o.Hints) == 0:
		return nil, fmt.Errorf("resolver %q: no servers to begin at", o.Resolver.Name)
	}
	if o.Timeout <= 0 {
		o.Timeout = 400 * time.Millisecond
	}
	if o.MaxPending <= 0 {
		o.MaxPending = 1024
	}
	if o.Mono == nil {
		o.Mono = event.Mono
	}
	r := &Recursor{o: o, pending: make(chan struct{}, o.MaxPending), good: map[string]int{}}
	r.Forget()
	return r, nil
}

// Forget drops every answer and referral that was learned.
func (r *Recursor) Forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answers = map[cacheKey][]kept{}
	r.forget()
}

// forget makes the hints all that is known of zones.
func (r *Recursor) forget() {
	r.delegations = map[string]delegation{}
	for zone, servers := range r.o.Hints {
		r.delegations[dns.CanonicalName(zone)] = delegation{servers: servers}
	}
}

// Run answers questions on the resolver's addresses until ctx is done; it calls ready once they are open. It returns when
// every question has ended.
func (r *Recursor) Run(ctx context.Context, ready func()) error {
	var sockets []net.PacketConn
	defer func() {
		for _, s := range sockets {
			s.Close()
		}
	}()
	for _, a := range r.o.Resolver.Addrs {
		s, err := r.o.Net.ListenPacket(ctx, "udp", netip.AddrPortFrom(a, topology.PortDNS).String())
		if err != nil {
			return fmt.Errorf("resolver %q: listen: %w", r.o.Resolver.Name, err)
		}
		sockets = append(sockets, s)
	}
	var work sync.WaitGroup
	defer work.Wait()
	for _, s := range sockets {
		work.Go(func() { r.serve(ctx, s, &work) })
	}
	ready()
	<-ctx.Done()
	for _, s := range sockets {
		s.Close()
	}
	sockets = nil
	return nil
}

// serve answers what comes in on one socket until it is closed.
func (r *Recursor) serve(ctx context.Context, s net.PacketConn, work *sync.WaitGroup) {
	buf := make([]byte, 4096)
	for {
		n, from, err := s.ReadFrom(buf)
		if errors.Is(err, net.ErrClosed) || ctx.Err() != nil {
			return
		}
		q := new(dns.Msg)
		if err != nil || q.Unpack(buf[:n]) != nil || q.Response || len(q.Question) != 1 {
			continue
		}
		select {
		case r.pending <- struct{}{}:
		default:
			continue // more than it can bear
		}
		work.Go(func() {
			defer func() { <-r.pending }()
			text, err := r.reply(ctx, q, from).Pack()
			if err == nil {
				_, _ = s.WriteTo(text, from) // lost, as a datagram may be
			}
		})
	}
}

// reply answers one client's question.
func (r *Recursor) reply(ctx context.Context, q *dns.Msg, from net.Addr) *dns.Msg {
	m := new(dns.Msg)
	m.SetReply(q)
	m.RecursionAvailable = true
	if q.IsEdns0() != nil {
		m.SetEdns0(payload, false)
	}
	found, err := r.resolve(ctx, question{q.Question[0].Name, q.Question[0].Qtype, r.subnet(from)}, 0)
	if err != nil {
		m.Rcode = dns.RcodeServerFailure
		return m
	}
	m.Rcode, m.Answer, m.Ns = found.Rcode, found.Answer, found.Ns
	return m
}

// subnet is the network that a client is in, as far as authoritative servers may know it: nothing without ECS. It is as
// long as the topology says, since a lab's networks may be smaller than the /24 that RFC 7871 §11.1 advises.
func (r *Recursor) subnet(from net.Addr) netip.Prefix {
	if !r.o.Resolver.ECS {
		return netip.Prefix{}
	}
	ap, err := netip.ParseAddrPort(from.String())
	if err != nil {
		return netip.Prefix{}
	}
	a := ap.Addr().Unmap()
	for _, n := range r.o.Topology.Internet.Networks {
		for _, p := range n.Prefixes {
			if p.Contains(a) {
				return p
			}
		}
	}
	return netip.Prefix{}
}

// cached is an answer that may still be used, with what is left of its TTLs; nil if there is none.
func (r *Recursor) cached(q question) *dns.Msg {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.o.Mono()
	for _, k := range r.answers[cacheKey{strings.ToLower(q.name), q.qtype}] {
		if now < k.expires && (!k.scope.IsValid() || k.scope.Contains(q.subnet.Addr())) {
			m := k.answer.Copy()
			left := uint32((k.expires - now + int64(time.Second) - 1) / int64(time.Second))
			for _, rr := range append(m.Answer, m.Ns...) {
				rr.Header().Ttl = left
			}
			return m
		}
	}
	return nil
}

// keep stores an answer for its TTL, or the resolver's minimum; the TTLs in it become that.
func (r *Recursor) keep(q question, m *dns.Msg, scope netip.Prefix) {
	ttl := maxTTL
	for _, rr := range m.Answer {
		ttl = min(ttl, seconds(rr.Header().Ttl))
	}
	for _, rr := range m.Ns {
		if soa, ok := rr.(*dns.SOA); ok && len(m.Answer) == 0 {
			ttl = min(ttl, seconds(min(soa.Hdr.Ttl, soa.Minttl)))
		}
	}
	ttl = max(ttl, r.o.Resolver.MinTTL)
	for _, rr := range append(append([]dns.RR(nil), m.Answer...), m.Ns...) {
		rr.Header().Ttl = uint32(ttl / time.Second)
		if soa, ok := rr.(*dns.SOA); ok {
			soa.Minttl = max(soa.Minttl, uint32(r.o.Resolver.MinTTL/time.Second))
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.answers) >= maxKept {
		r.answers = map[cacheKey][]kept{}
	}
	key, now := cacheKey{strings.ToLower(q.name), q.qtype}, r.o.Mono()
	var all []kept
	for _, k := range r.answers[key] {
		if now < k.expires && k.scope != scope {
			all = append(all, k)
		}
	}
	r.answers[key] = append(all, kept{scope, m.Copy(), now + int64(ttl)})
}

func seconds(n uint32) time.Duration { return time.Duration(n) * time.Second }
