package containerlab

import (
	"context"
	"fmt"
	"slices"

	"github.com/catchment-net/catchment/bgpd/speaker"
	"github.com/catchment-net/catchment/internal/event"
	"github.com/catchment-net/catchment/labs/layout"
	"github.com/catchment-net/catchment/labs/router"
)

// Routers that are FRR tell their best paths by BGP, over the management network, to a collector in the runner: a
// neighbour that hears everything and says nothing. What a router sends it is its best path, and nothing else.
//
//	FRR 172.28.16.14 ◄── dials ── collector 172.28.16.1, AS 4294967294 ──► router.Change ──► as from our own routers

// collectorASN is the last of the private ones (RFC 6996).
const collectorASN = 4294967294

// collect asks every router that is FRR until ctx is done.
func (l *Lab) collect(ctx context.Context) error {
	o := speaker.Options{ASN: collectorASN, RouterID: l.folder.Mgmt.Addr().Next(), OnUpdate: l.heard, Logger: l.o.Logger}
	for _, c := range l.folder.nodes {
		if c.frr {
			o.Neighbors = append(o.Neighbors, speaker.Neighbor{Name: c.name, Address: c.mgmt, ASN: c.machine.ASN})
		}
	}
	if len(o.Neighbors) == 0 {
		return nil
	}
	s, err := speaker.New(o)
	if err != nil {
		return fmt.Errorf("collector: %w", err)
	}
	l.parts.Go(func() { l.partEnded("collector", s.Run(ctx)) })
	return nil
}

func (l *Lab) heard(b speaker.Best) {
	if c, ok := changeOf(l.plan, b); ok {
		c.Mono = event.Mono()
		l.changed(c)
	}
}

// changeOf is what a router's message says of its best path; false for one that is none of the plan's.
func changeOf(p *layout.Plan, b speaker.Best) (router.Change, bool) {
	m := p.Machine(b.Neighbor)
	if m == nil {
		return router.Change{}, false
	}
	c := router.Change{Router: m.Name, Prefix: b.Prefix, Withdrawn: b.Withdrawn, POPIndex: -1}
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
func via(m *layout.Machine, c router.Change) string {
	for _, i := range m.Interfaces {
		far := i.Peer.Machine
		if len(c.ASPath) > 0 && far.ASN == c.ASPath[0] && (far.Node == nil || far.Node.POP.Index == c.POPIndex) {
			return far.Name
		}
	}
	return ""
}
