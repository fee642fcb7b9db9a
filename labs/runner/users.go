package runner

import (
	"context"
	"errors"
	"net/netip"
	"sync/atomic"

	"github.com/catchment-net/catchment/control"
	"github.com/catchment-net/catchment/internal/underlay"
	"github.com/catchment-net/catchment/labs"
	"github.com/catchment-net/catchment/labs/client"
	"github.com/catchment-net/catchment/labs/origin"
	"github.com/catchment-net/catchment/topology"
)

// User is the person at a client network.
type User struct {
	Network *topology.Network
	Client  *client.Client
	Net     underlay.Net

	http, dns string // access addresses
}

// Users are all of a lab, in file order.
type Users []*User

// NewUsers gives every client network its user; net is how a network's hosts reach the world.
func NewUsers(snap *control.Snapshot, net func(network string) (underlay.Net, error)) (Users, error) {
	servers, err := NameServers(snap)
	if err != nil {
		return nil, err
	}
	var all Users
	for i, n := range snap.Topology.Internet.Networks {
		if n.Users == 0 {
			continue
		}
		own, err := net(n.Name)
		if err != nil {
			return nil, err
		}
		o := client.Options{Topology: snap.Topology, Network: n, Net: own, Servers: servers, Verify: origin.Verify, Seed: uint64(i) + 1}
		if n.Resolver != nil {
			o.Recursive, o.Servers = true, nil
			for _, a := range n.Resolver.Addrs {
				o.Servers = append(o.Servers, netip.AddrPortFrom(a, topology.PortDNS))
			}
		}
		c, err := client.New(o)
		if err != nil {
			return nil, err
		}
		all = append(all, &User{Network: n, Client: c, Net: own})
	}
	return all, nil
}

// Status is where the user lands by the best paths of its router.
func (u *User) Status(b *Bests) labs.ClientStatus {
	cs := labs.ClientStatus{
		Name: u.Network.Name, City: u.Network.At.City, Users: u.Network.Users, HTTP: u.http, DNS: u.dns, Lands: map[string]string{},
	}
	best := b.Of(u.Network.Name)
	for _, p := range b.topo.Anycast.Prefixes {
		cs.Lands[p.String()] = best[p.String()].POP
	}
	return cs
}

// Sample runs the loads from their clients until ctx is done.
func (us Users) Sample(ctx context.Context, loads []labs.Load, fn func(labs.Sample)) error {
	clients := make([]*client.Client, len(us))
	for i, u := range us {
		clients[i] = u.Client
	}
	return client.RunAll(ctx, clients, loads, fn)
}

// ErrSampling is the answer to a second drill in one lab.
var ErrSampling = errors.New("another drill is running in this lab")

// Turn lets one drill sample at a time: two would judge each other's faults. The zero value is ready for use.
type Turn struct{ taken atomic.Bool }

// Take returns what gives the turn back, or ErrSampling.
func (t *Turn) Take() (done func(), err error) {
	if !t.taken.CompareAndSwap(false, true) {
		return nil, ErrSampling
	}
	return func() { t.taken.Store(false) }, nil
}
