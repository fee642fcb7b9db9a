package local

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/catchment-net/catchment/geodata"
	"github.com/catchment-net/catchment/internal/event"
	"github.com/catchment-net/catchment/internal/underlay"
	"github.com/catchment-net/catchment/keys"
	"github.com/catchment-net/catchment/labs/client"
	"github.com/catchment-net/catchment/labs/local/fabric"
	"github.com/catchment-net/catchment/labs/origin"
	"github.com/catchment-net/catchment/labs/router"
	"github.com/catchment-net/catchment/topology"
)

// prepare writes what the nodes read: their keys and the lab's geodata.
func (l *Lab) prepare() error {
	fleet := keys.Fleet{Name: l.o.Name}
	for _, n := range l.topo.Nodes() {
		fleet.Nodes = append(fleet.Nodes, keys.Node{Name: n.Name, Addrs: n.Addrs})
	}
	if err := keys.Init(l.state.file("keys"), fleet, time.Now()); err != nil {
		return err
	}
	file, err := os.OpenFile(l.state.file("geo.mmdb"), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("make geodata of the lab: %w", err)
	}
	if err := geodata.Build(file, geoRows(l.topo)); err != nil {
		file.Close()
		return err
	}
	return file.Close()
}

// startNetwork starts routers, links, origins, clients and access ports.
func (l *Lab) startNetwork(ctx context.Context) error {
	l.bests = newBests(l.topo)
	lookups := map[string]fabric.Router{}
	for _, n := range l.topo.Internet.Networks {
		r, err := router.New(router.Options{
			Name: n.Name, ASN: n.ASN, Addr: l.plan.routers[n.Name], Port: bgpPort, Prefixes: ownPrefixes(l.topo, n),
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
		Topology: l.topo, Routers: lookups, Socket: l.state.file("fabric.sock"), Bind: l.plan.runner, Events: l.ring, Logger: l.o.Logger,
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
	if err := l.makeClients(); err != nil {
		return err
	}
	return l.openAccess(ctx)
}

// ownPrefixes are those that a network's router originates: its clients' and those of the origins that hang on it.
func ownPrefixes(t *topology.Topology, n *topology.Network) []netip.Prefix {
	own := slices.Clone(n.Prefixes)
	for _, o := range t.Internet.Origins {
		if o.In == n {
			own = append(own, o.Prefixes...)
		}
	}
	return own
}

// ended notes a part of the runner that ended by itself, which is a defect.
func (l *Lab) ended(what string, err error) {
	if err != nil {
		l.o.Logger.Error("part of the lab ended", "part", what, "error", err)
		l.ring.Add(event.Event{Kind: event.Process, Subject: what, State: exited, Cause: err.Error()})
	}
}

// routeChanged records a router's new best path and makes the flows follow it.
func (l *Lab) routeChanged(c router.Change) {
	e := l.bests.note(c)
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
	own, err := l.fabric.Origin(o.Host)
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	l.parts.Go(func() {
		<-ctx.Done()
		srv.Close()
	})
	for _, a := range o.Addrs {
		listener, err := own.Listen(ctx, "tcp", netip.AddrPortFrom(a, topology.PortHTTP).String())
		if err != nil {
			return err
		}
		l.parts.Go(func() {
			if err := srv.Serve(listener); ctx.Err() == nil {
				l.ended("origin "+o.Host, err)
			}
		})
	}
	return nil
}

// makeClients gives every client network its user.
func (l *Lab) makeClients() error {
	servers, err := nameServers(l.snap)
	if err != nil {
		return err
	}
	for i, n := range l.topo.Internet.Networks {
		if n.Users == 0 {
			continue
		}
		own, err := l.fabric.Client(n.Name)
		if err != nil {
			return err
		}
		c, err := client.New(client.Options{Topology: l.topo, Network: n, Net: own, Servers: servers, Verify: origin.Verify, Seed: uint64(i) + 1})
		if err != nil {
			return err
		}
		l.users = append(l.users, &user{network: n, client: c, net: own})
	}
	return nil
}

// user is the person at a client network.
type user struct {
	network   *topology.Network
	client    *client.Client
	net       underlay.Net
	http, dns string // access addresses
}
