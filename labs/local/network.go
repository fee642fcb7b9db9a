package local

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/catchment-net/catchment/internal/event"
	"github.com/catchment-net/catchment/internal/underlay"
	"github.com/catchment-net/catchment/labs/client"
	"github.com/catchment-net/catchment/labs/local/fabric"
	"github.com/catchment-net/catchment/labs/nameserver"
	"github.com/catchment-net/catchment/labs/origin"
	"github.com/catchment-net/catchment/labs/router"
	"github.com/catchment-net/catchment/labs/runner"
	"github.com/catchment-net/catchment/topology"
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
	for _, o := range l.topo.Internet.Origins {
		if err := l.startOrigin(ctx, o); err != nil {
			return err
		}
	}
	if err := l.startResolution(ctx); err != nil {
		return err
	}
	if err := l.makeClients(); err != nil {
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

// startOrigin runs one customer's web server inside the fabric, on each of its addresses.
func (l *Lab) startOrigin(ctx context.Context, o *topology.Origin) error {
	handler, err := origin.New(origin.Options{Host: o.Host, Limit: o.Limit})
	if err != nil {
		return err
	}
	l.origins = append(l.origins, handler)
	own, err := l.fabric.Server(o.Host)
	if err != nil {
		return err
	}
	front, err := origin.NewFront(origin.FrontOptions{Host: o.Host, Handler: handler, Addrs: ports(o.Addrs, topology.PortHTTP), Listen: own.Listen})
	if err != nil {
		return err
	}
	l.fronts[o.Host] = front
	return l.startPart(ctx, "origin "+o.Host, front.Run)
}

// ports are the addresses with a port.
func ports(addrs []netip.Addr, port uint16) []netip.AddrPort {
	all := make([]netip.AddrPort, len(addrs))
	for i, a := range addrs {
		all[i] = netip.AddrPortFrom(a, port)
	}
	return all
}

// startPart runs a part of the lab until ctx is done, and returns when it is ready.
func (l *Lab) startPart(ctx context.Context, what string, run func(ctx context.Context, ready func()) error) error {
	ready, failed := make(chan struct{}), make(chan error, 1)
	l.parts.Go(func() {
		err := run(ctx, func() { close(ready) })
		failed <- err
		select {
		case <-ready:
			l.ended(what, err)
		default: // whoever waits says it
		}
	})
	select {
	case <-ready:
		return nil
	case err := <-failed:
		return fmt.Errorf("start %s: %w", what, err)
	}
}

// startResolution runs the name servers of others and the resolvers.
func (l *Lab) startResolution(ctx context.Context) error {
	for _, n := range l.topo.Internet.NameServers {
		own, err := l.fabric.Server(n.Host)
		if err != nil {
			return err
		}
		o := nameserver.Options{Host: n.Host, Addrs: n.Addrs, Listen: own.ListenPacket}
		for _, z := range n.Zones {
			o.Zones = append(o.Zones, nameserver.Zone{Origin: z.Origin, Text: l.snap.Parents[z.File].Text})
		}
		s, err := nameserver.New(o)
		if err != nil {
			return err
		}
		if err := l.startPart(ctx, "name server "+n.Host, s.Run); err != nil {
			return err
		}
	}
	hints, err := runner.Hints(l.snap)
	if err != nil {
		return err
	}
	for _, res := range l.topo.Internet.Resolvers {
		own, err := l.fabric.Server(res.Name)
		if err != nil {
			return err
		}
		r, err := client.NewRecursor(client.RecursorOptions{Resolver: res, Topology: l.topo, Net: own, Hints: hints})
		if err != nil {
			return err
		}
		if err := l.startPart(ctx, "resolver "+res.Name, r.Run); err != nil {
			return err
		}
	}
	return nil
}

// makeClients gives every client network its user.
func (l *Lab) makeClients() error {
	var err error
	l.users, err = runner.NewUsers(l.snap, func(network string) (underlay.Net, error) { return l.fabric.Client(network) })
	return err
}

// openAccess lets people in.
func (l *Lab) openAccess(ctx context.Context) error {
	doors, err := runner.OpenDoors(len(l.users), l.block.port(0))
	if err != nil {
		return err
	}
	for i, u := range l.users {
		u.Let(ctx, doors[i], runner.AccessOptions{Topology: l.topo, Hosts: runner.Hosts(l.snap), Logger: l.o.Logger, Ended: l.ended}, &l.parts)
	}
	return nil
}
