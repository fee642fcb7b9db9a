// Package router is the router of one network in a lab: a BGP speaker with the policies of its relations, and a lookup
// of where its best paths lead.
//
// Routers of one lab share a process. Call Listen on each before Run on any (see speaker.Speaker.Listen). They never
// dial: the lab's links connect both ends, each from the other's address, so that a link can be cut or slowed.
package router

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/catchment-net/catchment/bgpd/speaker"
	"github.com/catchment-net/catchment/internal/event"
)

// Relation says what a neighbour is to the router's network.
type Relation = speaker.Relation

// The relations.
const (
	Customer = speaker.Customer
	Peer     = speaker.Peer
	Provider = speaker.Provider
)

// Neighbor is the router or POP node at the other end of a link.
type Neighbor struct {
	Name     string
	ASN      uint32
	Addr     netip.Addr // that its connection comes from
	Relation Relation
	Prepend  int           // how often our ASN is added to the path towards it
	NextHop4 netip.Addr    // our address on the link to it; the zero Addr means Options.Addr
	NextHop6 netip.Addr    // the same for IPv6; the zero Addr means one made of Options.Addr
	Default  bool          // it hears a default route
	HoldTime time.Duration // 0 means 9 s
}

// Options configures a Router. Name, ASN and Addr are required.
type Options struct {
	Name      string
	ASN       uint32
	Addr      netip.Addr     // an address of 127.0.0.0/8 of its own
	RouterID  netip.Addr     // the zero Addr means Addr
	Port      uint16         // 0 picks a free one
	Prefixes  []netip.Prefix // its own
	Neighbors []Neighbor

	// OnChange is called for each change of a best path, OnSession for each change of a session, in order and from one
	// goroutine; nil means nobody listens. They must not block. Lookup knows a change before OnChange is called with it.
	OnChange  func(Change)
	OnSession func(speaker.Session)
	OnUpdate  func(speaker.Best) // each path that a neighbour sends or withdraws
	Logger    *slog.Logger       // nil discards
}

// Change is a change of a router's best path.
type Change struct {
	Mono      int64 // CLOCK_MONOTONIC in nanoseconds (event.Mono)
	Router    string
	Prefix    netip.Prefix
	Withdrawn bool     // no path is left; the following are zero
	Via       string   // the neighbour's name; "" for its own prefix
	ASPath    []uint32 // as received, the neighbour first
	POPIndex  int      // which POP announced it, by its large community ASN:1:INDEX; -1 for none
	GSHUT     bool     // it came with the graceful-shutdown community
}

// Router is one network's router. Its methods are safe for concurrent use.
type Router struct {
	o       Options
	speaker *speaker.Speaker
	ready   chan struct{}
	table   atomic.Pointer[table]

	mu   sync.Mutex             // guards best; held to build the next table
	best map[netip.Prefix]route // what table is built from
}

// New checks the options and starts nothing.
func New(o Options) (*Router, error) {
	r := &Router{o: o, ready: make(chan struct{}), best: map[netip.Prefix]route{}}
	r.table.Store(&table{})
	sp, err := speaker.New(speaker.Options{
		ASN: o.ASN, RouterID: cmp.Or(o.RouterID, o.Addr), Listen: []netip.AddrPort{netip.AddrPortFrom(o.Addr, o.Port)}, Neighbors: neighbors(&o),
		OnBest: r.heard, OnSession: o.OnSession, OnUpdate: o.OnUpdate, Logger: o.Logger, Ready: func() { close(r.ready) },
	})
	if err != nil {
		return nil, fmt.Errorf("router %q: %w", o.Name, err)
	}
	r.speaker = sp
	var own []speaker.Route
	for _, p := range o.Prefixes {
		own = append(own, speaker.Route{Prefix: p})
	}
	if err := sp.Set(own); err != nil {
		return nil, fmt.Errorf("router %q: %w", o.Name, err)
	}
	return r, nil
}

func neighbors(o *Options) []speaker.Neighbor {
	var all []speaker.Neighbor
	for _, n := range o.Neighbors {
		all = append(all, speaker.Neighbor{
			Name: n.Name, Address: n.Addr, ASN: n.ASN, Local: o.Addr, Passive: true, HoldTime: n.HoldTime,
			Relation: n.Relation, Prepend: n.Prepend, NextHop4: n.NextHop4, NextHop6: cmp.Or(n.NextHop6, v6(o.Addr)), Default: n.Default,
		})
	}
	return all
}

// v6 is the router's IPv6 address on its links: sessions run over IPv4, but an IPv6 route needs an IPv6 next hop. It
// lies in a unique local prefix (RFC 4193) and carries no packets.
func v6(a netip.Addr) netip.Addr {
	b := [16]byte{0: 0xfd, 1: 0xca}
	four := a.As4()
	copy(b[12:], four[:])
	return netip.AddrFrom16(b)
}

// Listen opens the router's listener, and no session yet.
func (r *Router) Listen(ctx context.Context) error {
	if err := r.speaker.Listen(ctx); err != nil {
		return fmt.Errorf("router %q: %w", r.o.Name, err)
	}
	return nil
}

// Run routes until ctx is done. It calls Listen if nobody has.
func (r *Router) Run(ctx context.Context) error {
	if err := r.speaker.Run(ctx); err != nil {
		return fmt.Errorf("router %q: %w", r.o.Name, err)
	}
	return nil
}

// Ready is closed when the router takes sessions.
func (r *Router) Ready() <-chan struct{} { return r.ready }

// Addr is where the router listens; its port is 0 before Listen.
func (r *Router) Addr() netip.AddrPort {
	if addrs := r.speaker.Addrs(); len(addrs) > 0 {
		return addrs[0]
	}
	return netip.AddrPortFrom(r.o.Addr, r.o.Port)
}

// Sessions returns the neighbours with the states of their sessions.
func (r *Router) Sessions() []speaker.Session { return r.speaker.Neighbors() }

// RIB lists the paths to a prefix, the best one first, or all paths if it is the zero Prefix.
func (r *Router) RIB(prefix netip.Prefix) ([]speaker.Best, error) { return r.speaker.RIB(prefix) }

// heard is called by the speaker, in order, from one goroutine.
func (r *Router) heard(b speaker.Best) {
	mono := event.Mono()
	r.mu.Lock()
	if b.Withdrawn {
		delete(r.best, b.Prefix)
	} else {
		r.best[b.Prefix] = route{prefix: b.Prefix, via: b.Neighbor}
	}
	r.table.Store(newTable(r.best))
	r.mu.Unlock()
	if r.o.OnChange == nil {
		return
	}
	c := Change{Mono: mono, Router: r.o.Name, Prefix: b.Prefix, Withdrawn: b.Withdrawn, POPIndex: -1}
	if !b.Withdrawn {
		c.Via, c.ASPath, c.POPIndex = b.Neighbor, b.ASPath, popIndex(b)
		c.GSHUT = slices.Contains(b.Communities, speaker.GracefulShutdown)
	}
	r.o.OnChange(c)
}

// popIndex reads the large community ASN:1:INDEX of the network that originated the route.
func popIndex(b speaker.Best) int {
	if len(b.ASPath) == 0 {
		return -1
	}
	origin := b.ASPath[len(b.ASPath)-1]
	for _, c := range b.LargeCommunities {
		if c[0] == origin && c[1] == 1 {
			return int(c[2])
		}
	}
	return -1
}
