package containerlab

import (
	"context"

	"github.com/catchment-net/catchment/labs/collector"
)

// Routers that are FRR tell their best paths by BGP, over the management network, to a collector in the runner:
//
//	FRR 172.28.16.14 ◄── dials ── collector 172.28.16.1, AS 4294967294 ──► router.Change ──► as from our own routers

// collect asks every router that is FRR until ctx is done.
func (l *Lab) collect(ctx context.Context) error {
	o := collector.Options{Plan: l.plan, RouterID: l.folder.Mgmt.Addr().Next(), OnChange: l.changed, Logger: l.o.Logger}
	for _, c := range l.folder.nodes {
		if c.frr {
			o.Routers = append(o.Routers, collector.Router{Name: c.name, ASN: c.machine.ASN, Address: c.mgmt})
		}
	}
	if len(o.Routers) == 0 {
		return nil
	}
	c, err := collector.New(o)
	if err != nil {
		return err
	}
	l.parts.Go(func() { l.partEnded("collector", c.Run(ctx)) })
	return nil
}
