// Package edge plays what hangs on one network in a container of a lab that nobody drives: customers' web servers, name
// servers of others, resolvers. Clients come with a runner.
package edge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/catchment-net/catchment/control"
	"github.com/catchment-net/catchment/internal/underlay"
	"github.com/catchment-net/catchment/labs/runner"
	"github.com/catchment-net/catchment/topology"
)

// Options says what to play. All but Logger are required.
type Options struct {
	Dir     string // the lab's folder
	Network string
	Logger  *slog.Logger // nil discards
}

// Run plays until ctx is done.
func Run(ctx context.Context, o Options) error {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	snap, err := control.Load(o.Dir)
	if err != nil {
		return err
	}
	only := Of(snap.Topology, o.Network)
	part := *snap
	part.Topology = only
	hosts := map[string][]netip.Addr{}
	for _, h := range only.Internet.Origins {
		hosts[h.Host] = h.Addrs
	}
	for _, n := range only.Internet.NameServers {
		hosts[n.Host] = n.Addrs
	}
	for _, r := range only.Internet.Resolvers {
		hosts[r.Name] = r.Addrs
	}
	for _, addrs := range hosts {
		if err := addressed(ctx, addrs); err != nil {
			return err
		}
	}
	var parts sync.WaitGroup
	defer parts.Wait()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	world := runner.NewWorld(runner.WorldOptions{
		Snap: &part, Parts: &parts, Client: func(string) (underlay.Net, error) { return underlay.Host{}, nil },
		Server: func(name string) (underlay.Net, error) { return underlay.Host{Local: firsts(hosts[name])}, nil },
		Ended: func(what string, err error) {
			if err != nil {
				stop(fmt.Errorf("%s: %w", what, err))
			}
		},
	})
	if err := world.Start(ctx); err != nil {
		return err
	}
	<-ctx.Done()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// Of is the topology with nothing on other networks than this one.
func Of(t *topology.Topology, network string) *topology.Topology {
	part := *t
	part.Internet.Origins = slices.DeleteFunc(slices.Clone(t.Internet.Origins), func(o *topology.Origin) bool { return o.In.Name != network })
	part.Internet.NameServers = slices.DeleteFunc(slices.Clone(t.Internet.NameServers), func(n *topology.NameServer) bool { return n.In.Name != network })
	part.Internet.Resolvers = slices.DeleteFunc(slices.Clone(t.Internet.Resolvers), func(r *topology.Resolver) bool { return r.In.Name != network })
	return &part
}

// Empty reports whether nothing hangs on any network.
func Empty(t *topology.Topology) bool {
	i := &t.Internet
	return len(i.Origins)+len(i.NameServers)+len(i.Resolvers) == 0
}

// firsts are the first address of each family.
func firsts(addrs []netip.Addr) []netip.Addr {
	var all []netip.Addr
	for _, a := range addrs {
		if !slices.ContainsFunc(all, func(f netip.Addr) bool { return f.Is4() == a.Is4() }) {
			all = append(all, a)
		}
	}
	return all
}

// addressedWithin is how long the addresses may take to appear: beside a router that is FRR they come with it.
const addressedWithin = 30 * time.Second

// addressed waits until this machine has the addresses.
func addressed(ctx context.Context, addrs []netip.Addr) error {
	for _, a := range addrs {
		for began := time.Now(); ; {
			socket, err := underlay.Host{}.ListenPacket(ctx, "udp", netip.AddrPortFrom(a, 0).String())
			if err == nil {
				socket.Close()
				break
			}
			if time.Since(began) > addressedWithin {
				return fmt.Errorf("this machine has no address %s: %w", a, err)
			}
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(50 * time.Millisecond):
			}
		}
	}
	return nil
}
