package runner

import (
	"context"
	"fmt"
	"net/netip"
	"sync"

	"github.com/catchment-net/catchment/control"
	"github.com/catchment-net/catchment/internal/underlay"
	"github.com/catchment-net/catchment/labs"
	"github.com/catchment-net/catchment/labs/client"
	"github.com/catchment-net/catchment/labs/nameserver"
	"github.com/catchment-net/catchment/labs/origin"
	"github.com/catchment-net/catchment/topology"
)

// WorldOptions configures a World. All but Resolve are required.
type WorldOptions struct {
	Snap *control.Snapshot
	// Server and Client open sockets where an origin, a name server of others or a resolver runs, and where a network's
	// clients are.
	Server, Client func(name string) (underlay.Net, error)
	// Resolve starts a resolver in software of others and reports whether it did; nil means that none can be.
	Resolve func(ctx context.Context, r *topology.Resolver) (bool, error)
	Ended   func(what string, err error) // a part that ended by itself
	Parts   *sync.WaitGroup              // counts what runs until Start's context ends
}

// World is what a lab has besides nodes and routers: origins, name servers of others, resolvers, and users.
type World struct {
	o       WorldOptions
	origins []*origin.Server         // as the topology's
	fronts  map[string]*origin.Front // by host
	caches  []*client.Recursor
	Users   Users
}

// NewWorld starts nothing.
func NewWorld(o WorldOptions) *World { return &World{o: o, fronts: map[string]*origin.Front{}} }

// Start starts everything and returns when it is ready. It ends with ctx.
func (w *World) Start(ctx context.Context) error {
	for _, o := range w.o.Snap.Topology.Internet.Origins {
		if err := w.startOrigin(ctx, o); err != nil {
			return err
		}
	}
	for _, n := range w.o.Snap.Topology.Internet.NameServers {
		if err := w.startNameServer(ctx, n); err != nil {
			return err
		}
	}
	if err := w.startResolvers(ctx); err != nil {
		return err
	}
	var err error
	w.Users, err = NewUsers(w.o.Snap, w.o.Client)
	return err
}

// Forget empties the caches of users, and of the resolvers that are ours.
func (w *World) Forget() {
	for _, u := range w.Users {
		u.Client.Forget()
	}
	for _, r := range w.caches {
		r.Forget()
	}
}

// Front is where faults reach an origin; nil for a name that is none's.
func (w *World) Front(host string) *origin.Front { return w.fronts[host] }

// Status is how many requests each origin has had.
func (w *World) Status() []labs.OriginStatus {
	var all []labs.OriginStatus
	for i, o := range w.origins {
		all = append(all, labs.OriginStatus{Host: w.o.Snap.Topology.Internet.Origins[i].Host, Requests: o.Counts().Requests()})
	}
	return all
}

// startOrigin runs one customer's web server, on each of its addresses.
func (w *World) startOrigin(ctx context.Context, o *topology.Origin) error {
	handler, err := origin.New(origin.Options{Host: o.Host, Limit: o.Limit})
	if err != nil {
		return err
	}
	w.origins = append(w.origins, handler)
	own, err := w.o.Server(o.Host)
	if err != nil {
		return err
	}
	front, err := origin.NewFront(origin.FrontOptions{Host: o.Host, Handler: handler, Addrs: ports(o.Addrs, topology.PortHTTP), Listen: own.Listen})
	if err != nil {
		return err
	}
	w.fronts[o.Host] = front
	return w.startPart(ctx, "origin "+o.Host, front.Run)
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
func (w *World) startPart(ctx context.Context, what string, run func(ctx context.Context, ready func()) error) error {
	ready, failed := make(chan struct{}), make(chan error, 1)
	w.o.Parts.Go(func() {
		err := run(ctx, func() { close(ready) })
		failed <- err
		select {
		case <-ready:
			w.o.Ended(what, err)
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

// startNameServer runs a name server of others with its zones.
func (w *World) startNameServer(ctx context.Context, n *topology.NameServer) error {
	own, err := w.o.Server(n.Host)
	if err != nil {
		return err
	}
	o := nameserver.Options{Host: n.Host, Addrs: n.Addrs, Listen: own.ListenPacket}
	for _, z := range n.Zones {
		o.Zones = append(o.Zones, nameserver.Zone{Origin: z.Origin, Text: w.o.Snap.Parents[z.File].Text})
	}
	s, err := nameserver.New(o)
	if err != nil {
		return err
	}
	return w.startPart(ctx, "name server "+n.Host, s.Run)
}

// startResolvers runs the resolvers, in the software that is wanted where it can be had, else in ours.
func (w *World) startResolvers(ctx context.Context) error {
	if len(w.o.Snap.Topology.Internet.Resolvers) == 0 {
		return nil
	}
	hints, err := Hints(w.o.Snap)
	if err != nil {
		return err
	}
	for _, res := range w.o.Snap.Topology.Internet.Resolvers {
		if w.o.Resolve != nil && res.Software == topology.Unbound {
			if done, err := w.o.Resolve(ctx, res); err != nil || done {
				if err != nil {
					return err
				}
				continue
			}
		}
		own, err := w.o.Server(res.Name)
		if err != nil {
			return err
		}
		r, err := client.NewRecursor(client.RecursorOptions{Resolver: res, Topology: w.o.Snap.Topology, Net: own, Hints: hints})
		if err != nil {
			return err
		}
		if err := w.startPart(ctx, "resolver "+res.Name, r.Run); err != nil {
			return err
		}
		w.caches = append(w.caches, r)
	}
	return nil
}
