package local

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/catchment-net/catchment/internal/event"
	"github.com/catchment-net/catchment/internal/underlay"
	"github.com/catchment-net/catchment/labs/local/fabric"
	"github.com/catchment-net/catchment/labs/router"
	"github.com/catchment-net/catchment/labs/runner"
)

// startNetwork starts routers, links, origins, clients and access ports.
func (l *Lab) startNetwork(ctx context.Context) error {
	l.bests = runner.NewBests(l.topo)
	lookups := map[string]fabric.Router{}
	for _, n := range l.topo.Internet.Networks {
		r, err := router.New(router.Options{
			Name: n.Name, ASN: n.ASN, Addr: l.plan.routers[n.Name], Port: bgpPort, Prefixes: runner.OwnPrefixes(l.topo, n),
			Neighbors: routerNeighbors(l.topo, l.plan, n.Name), OnChange: l.routeChanged, Logger: l.o.Logger.With("router", n.Name),
		})
		if err != nil {
			return err
		}
		l.routers[n.Name], lookups[n.Name] = r, r
	}
	for _, r := range l.routers { // all of them before the first session
		if err := r.Listen(ctx); err != nil {
			return err
		}
	}
	var err error
	if l.fabric, err = fabric.New(fabric.Options{
		Topology: l.topo, Routers: lookups, Socket: l.state.File("fabric.sock"), Bind: l.plan.runner, Events: l.ring, Logger: l.o.Logger,
	}); err != nil {
		return err
	}
	if err := l.joinSpeakers(); err != nil {
		return err
	}
	for name, r := range l.routers {
		l.parts.Go(func() { l.ended("router "+name, r.Run(ctx)) })
	}
	l.parts.Go(func() { l.ended("fabric", l.fabric.Run(ctx)) })
	select {
	case <-l.fabric.Ready():
	case <-time.After(5 * time.Second):
		return fmt.Errorf("the lab's fabric did not start within 5 s")
	}
	l.world = runner.NewWorld(runner.WorldOptions{
		Snap: l.snap, Ended: l.ended, Parts: &l.parts,
		Server: func(name string) (underlay.Net, error) { return l.fabric.Server(name) },
		Client: func(network string) (underlay.Net, error) { return l.fabric.Client(network) },
	})
	if err := l.world.Start(ctx); err != nil {
		return err
	}
	return l.openAccess(ctx)
}

// ended notes a part of the runner that ended by itself, which is a defect.
func (l *Lab) ended(what string, err error) {
	if err != nil {
		l.o.Logger.Error("part of the lab ended", "part", what, "error", err)
		l.ring.Add(event.Event{Kind: event.Process, Subject: what, State: runner.Exited, Cause: err.Error()})
	}
}

// routeChanged records a router's new best path and makes the flows follow it.
func (l *Lab) routeChanged(c router.Change) {
	e := l.bests.Note(c)
	l.fabric.RouteChanged()
	if e != nil {
		l.ring.Add(*e)
	}
}

// joinSpeakers tells the fabric which speakers each link joins.
func (l *Lab) joinSpeakers() error {
	for _, link := range l.topo.Internet.Links {
		for _, a := range ends(l.topo, link.A) {
			for _, b := range ends(l.topo, link.B) {
				if err := l.fabric.AddBGP(fabric.Adjacency{Link: link, A: l.speaker(a.name), B: l.speaker(b.name)}); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (l *Lab) speaker(name string) fabric.Speaker {
	addr := l.plan.addr(name)
	return fabric.Speaker{Name: name, Addr: addr, Port: func() (uint16, bool) { return bgpPort, true }}
}

// bgp is where a node's speaker listens.
func (p *plan) bgp(node string) netip.AddrPort { return netip.AddrPortFrom(p.nodes[node], bgpPort) }

// openAccess lets people in.
func (l *Lab) openAccess(ctx context.Context) error {
	doors, err := runner.OpenDoors(len(l.world.Users), l.block.port(0))
	if err != nil {
		return err
	}
	for i, u := range l.world.Users {
		u.Let(ctx, doors[i], runner.AccessOptions{Topology: l.topo, Hosts: runner.Hosts(l.snap), Logger: l.o.Logger, Ended: l.ended}, &l.parts)
	}
	return nil
}
