// Package collector hears the best paths of a lab's routers that others wrote: a BGP neighbour of each of them that hears
// everything and says nothing.
//
//	FRR, BIRD ── BGP ──► Collector ──► router.Change, as from our own routers
package collector

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"

	"github.com/catchment-net/catchment/bgpd/speaker"
	"github.com/catchment-net/catchment/internal/event"
	"github.com/catchment-net/catchment/labs/layout"
	labrouter "github.com/catchment-net/catchment/labs/router"
)

// ASN is the collector's, the last of the private ones (RFC 6996).
const ASN = 4294967294

// Router is one that the collector hears.
type Router struct {
	Name    string
	ASN     uint32
	Address netip.Addr // where the router speaks
	Local   netip.Addr // where the collector does; the zero Addr lets the kernel choose
}

// Options configures a Collector. All but Listen and Logger are required.
type Options struct {
	Plan     *layout.Plan
	RouterID netip.Addr
	Routers  []Router
	Listen   []netip.AddrPort       // where the routers connect; empty means that the collector does
	OnChange func(labrouter.Change) // in order, from one goroutine; must not block
	Logger   *slog.Logger           // nil discards
}

// Collector hears the best paths of routers. What a router sends it is its best path, and nothing else.
type Collector struct {
	o       Options
	speaker *speaker.Speaker
}

// New checks the options and starts nothing.
func New(o Options) (*Collector, error) {
	c := &Collector{o: o}
	s := speaker.Options{ASN: ASN, RouterID: o.RouterID, Listen: o.Listen, OnUpdate: c.heard, Logger: o.Logger}
	for _, r := range o.Routers {
		s.Neighbors = append(s.Neighbors, speaker.Neighbor{
			Name: r.Name, Address: r.Address, ASN: r.ASN, Local: r.Local, Passive: len(o.Listen) > 0,
		})
	}
	var err error
	if c.speaker, err = speaker.New(s); err != nil {
		return nil, fmt.Errorf("collector: %w", err)
	}
	return c, nil
}

// Listen opens the listeners, and no session yet. Run calls it if nobody has.
func (c *Collector) Listen(ctx context.Context) error {
	if err := c.speaker.Listen(ctx); err != nil {
		return fmt.Errorf("collector: %w", err)
	}
	return nil
}

// Run hears the routers until ctx is done.
func (c *Collector) Run(ctx context.Context) error {
	if err := c.speaker.Run(ctx); err != nil {
		return fmt.Errorf("collector: %w", err)
	}
	return nil
}

func (c *Collector) heard(b speaker.Best) {
	if change, ok := ChangeOf(c.o.Plan, b); ok {
		change.Mono = event.Mono()
		c.o.OnChange(change)
	}
}

// ChangeOf is what a router's message to the collector says of its best path; false for one that is none of the plan's.
func ChangeOf(p *layout.Plan, b speaker.Best) (labrouter.Change, bool) {
	m := p.Machine(b.Neighbor)
	if m == nil {
		return labrouter.Change{}, false
	}
	c := labrouter.Change{Router: m.Name, Prefix: b.Prefix, Withdrawn: b.Withdrawn, POPIndex: -1}
	if b.Withdrawn {
		return c, true
	}
	if len(b.ASPath) > 0 {
		c.ASPath = b.ASPath[1:] // without the router itself, as it received the path
	}
	for _, large := range b.LargeCommunities {
		if large[0] == p.Topology.ASN && large[1] == 1 {
			c.POPIndex = int(large[2])
		}
	}
	c.Via, c.GSHUT = via(m, c), slices.Contains(b.Communities, speaker.GracefulShutdown)
	return c, true
}

// via is the neighbour that a path came from: the one with the first AS of the path, and where the POPs share it, a node of
// the POP that announced it.
func via(m *layout.Machine, c labrouter.Change) string {
	for _, i := range m.Interfaces {
		far := i.Peer.Machine
		if len(c.ASPath) > 0 && far.ASN == c.ASPath[0] && (far.Node == nil || far.Node.POP.Index == c.POPIndex) {
			return far.Name
		}
	}
	for _, i := range m.Interfaces { // the other router of the same AS, which adds no AS to the path
		if far := i.Peer.Machine; len(c.ASPath) > 0 && far.ASN == m.ASN {
			return far.Name
		}
	}
	return ""
}
