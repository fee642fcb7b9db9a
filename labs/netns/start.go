//go:build linux

package netns

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/catchment-net/catchment/internal/underlay"
	"github.com/catchment-net/catchment/labs"
	"github.com/catchment-net/catchment/labs/layout"
	"github.com/catchment-net/catchment/labs/origin"
	"github.com/catchment-net/catchment/labs/router"
	"github.com/catchment-net/catchment/labs/runner"
	"github.com/catchment-net/catchment/topology"
)

// nodeMemory is the cache of a lab's node.
const nodeMemory = "32MiB"

// start starts routers, origins, nodes and users.
func (l *Lab) start(ctx context.Context) error {
	if err := l.takeChanges(ctx); err != nil {
		return err
	}
	for _, m := range l.plan.Machines {
		if m.Network == nil {
			continue
		}
		if err := l.startRouter(l.machines[m.Name]); err != nil {
			return err
		}
	}
	l.o.Progress(fmt.Sprintf("%d routers started", len(l.routers)))
	for _, m := range l.plan.Machines {
		if m.Node == nil {
			continue
		}
		if err := l.startNode(ctx, l.machines[m.Name]); err != nil {
			return err
		}
	}
	l.o.Progress(fmt.Sprintf("%d POP nodes started", len(l.topo.Nodes())))
	for _, o := range l.topo.Internet.Origins {
		if err := l.startOrigin(ctx, o); err != nil {
			return err
		}
	}
	var err error
	l.users, err = runner.NewUsers(l.snap, func(network string) (underlay.Net, error) { return l.inside(l.machines[network]), nil })
	if err != nil {
		return err
	}
	for i, u := range l.users {
		if i < len(l.o.Doors) {
			u.Let(ctx, l.o.Doors[i], runner.AccessOptions{Topology: l.topo, Hosts: runner.Hosts(l.snap), Logger: l.o.Logger, Ended: l.ended}, &l.parts)
		}
	}
	return nil
}

// inside opens sockets on a network's machine, from its clients' addresses.
func (l *Lab) inside(m *machine) *within {
	return &within{ns: m.ns, local: m.Own[:min(len(m.Own), len(clientAddrs(m.Machine)))]}
}

// clientAddrs are a network's own first hosts, which come first among a machine's addresses.
func clientAddrs(m *layout.Machine) []netip.Addr {
	return slices.DeleteFunc(slices.Clone(m.Own), func(a netip.Addr) bool {
		return !slices.ContainsFunc(m.Network.Prefixes, func(p netip.Prefix) bool { return p.Contains(a) })
	})
}

// startRouter starts the router of a network.
func (l *Lab) startRouter(m *machine) error {
	dir := filepath.Join(l.state.Path, "routers")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make folder of routers: %w", err)
	}
	f := router.FileOf(m.Machine)
	f.Changes = l.state.File("changes.sock")
	file := filepath.Join(dir, m.Name+".json")
	if err := f.Write(file); err != nil {
		return err
	}
	c := &runner.Child{
		Name: m.Name, Argv: []string{l.o.Binary, "lab", "router", "--file", file}, Log: filepath.Join(dir, m.Name+".log"),
		Env:     append(os.Environ(), "GOMAXPROCS=1", "GOMEMLIMIT=16MiB", "GOGC=50"),
		Nursery: l.nodes.Nursery, Within: m.ns.do, OnExit: l.routerExited,
	}
	l.routers = append(l.routers, c)
	return c.Start()
}

func (l *Lab) routerExited(name, state string, err error) {
	if state == runner.Exited {
		l.ended("router "+name, err)
	}
}

// takeChanges listens for the routers' best paths.
func (l *Lab) takeChanges(ctx context.Context) error {
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "unix", l.state.File("changes.sock"))
	if err != nil {
		return fmt.Errorf("listen for routers: %w", err)
	}
	l.parts.Go(func() {
		stop := context.AfterFunc(ctx, func() { listener.Close() })
		defer stop()
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			l.parts.Go(func() { l.readChanges(ctx, conn) })
		}
	})
	return nil
}

func (l *Lab) readChanges(ctx context.Context, conn net.Conn) {
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	defer conn.Close()
	dec := json.NewDecoder(conn)
	for {
		var c router.Change
		if err := dec.Decode(&c); err != nil {
			return
		}
		if e := l.bests.Note(c); e != nil {
			l.ring.Add(*e)
		}
	}
}

// startNode prepares a node's folder and starts its process.
func (l *Lab) startNode(ctx context.Context, m *machine) error {
	dir, err := l.nodes.Folder(m.Name)
	if err != nil {
		return err
	}
	file := filepath.Join(dir, "lab.json")
	if err := surroundings(m.Machine).Write(file); err != nil {
		return err
	}
	err = l.nodes.Start(m.Name, []runner.Process{{
		Name: m.Name, Log: "log", Within: m.ns.do, Env: append([]string{"GOMAXPROCS=2", "GOMEMLIMIT=64MiB"}, l.o.Env...),
		Argv: []string{
			l.o.Binary, "node", m.Name, "-c", l.o.Dir, "--state", dir, "--keys", l.state.File(runner.KeysFolder), "--lab", file,
			"--admin", l.nodes.Admin(m.Name), "--mmdb", l.state.File(runner.GeodataFile), "--memory", nodeMemory,
		},
	}})
	if err != nil {
		return err
	}
	l.parts.Go(func() { l.nodes.Follow(ctx, m.Name) })
	return nil
}

// surroundings are a node's neighbours over its cables.
func surroundings(m *layout.Machine) *labs.Surroundings {
	s := &labs.Surroundings{Kernel: true}
	for _, i := range m.Interfaces {
		far := i.Peer.Machine
		s.BGPListen = append(s.BGPListen, netip.AddrPortFrom(i.V4, topology.PortBGP))
		s.Neighbors = append(s.Neighbors, labs.NeighborOnHost{
			Name: far.Name, Address: i.Peer.V4, ASN: far.ASN, Local: i.V4, Local6: i.V6, Relation: string(i.Relation), Prepend: i.Prepend,
		})
	}
	return s
}

// startOrigin runs one customer's web server on its network's machine, on each of its addresses.
func (l *Lab) startOrigin(ctx context.Context, o *topology.Origin) error {
	handler, err := origin.New(origin.Options{Host: o.Host, Limit: o.Limit})
	if err != nil {
		return err
	}
	l.origins = append(l.origins, handler)
	srv := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	l.parts.Go(func() {
		<-ctx.Done()
		srv.Close()
	})
	own := l.inside(l.machines[o.In.Name])
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

// noMachine is the error about a machine that is not there.
func (l *Lab) noMachine(name string) error {
	var known []string
	for _, m := range l.plan.Machines {
		known = append(known, m.Name)
	}
	return fmt.Errorf("the lab has no machine called %q; it has %s", name, strings.Join(known, ", "))
}
