//go:build linux

package netns

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/catchment-net/catchment/internal/underlay"
	"github.com/catchment-net/catchment/labs/router"
	"github.com/catchment-net/catchment/labs/runner"
	"github.com/catchment-net/catchment/topology"
)

// start starts routers, origins, nodes and users.
func (l *Lab) start(ctx context.Context) error {
	if err := l.takeChanges(ctx); err != nil {
		return err
	}
	if err := l.startRouters(ctx); err != nil {
		return err
	}
	for _, m := range l.plan.Machines {
		if m.Node == nil {
			continue
		}
		if err := l.startNode(ctx, l.machines[m.Name]); err != nil {
			return err
		}
	}
	l.o.Progress(fmt.Sprintf("%d POP nodes started", len(l.topo.Nodes())))
	l.world = runner.NewWorld(runner.WorldOptions{
		Snap: l.snap, Server: l.serverOn, Client: l.clientOn, Resolve: l.resolve, Ended: l.ended, Parts: &l.parts,
	})
	if err := l.world.Start(ctx); err != nil {
		return err
	}
	for i, u := range l.world.Users {
		if i < len(l.o.Doors) {
			u.Let(ctx, l.o.Doors[i], runner.AccessOptions{Topology: l.topo, Hosts: runner.Hosts(l.snap), Logger: l.o.Logger, Ended: l.ended}, &l.parts)
		}
	}
	return nil
}

// clientOn opens sockets where a network's clients are.
func (l *Lab) clientOn(network string) (underlay.Net, error) {
	m := l.machines[network]
	return &within{ns: m.ns, local: m.Clients}, nil
}

// serverOn opens sockets where an origin, a name server or a resolver runs: on its network's machine, from its own
// addresses.
func (l *Lab) serverOn(name string) (underlay.Net, error) {
	for _, o := range l.topo.Internet.Origins {
		if o.Host == name {
			return &within{ns: l.machines[o.In.Name].ns, local: o.Addrs}, nil
		}
	}
	for _, n := range l.topo.Internet.NameServers {
		if n.Host == name {
			return &within{ns: l.machines[n.In.Name].ns, local: n.Addrs}, nil
		}
	}
	for _, r := range l.topo.Internet.Resolvers {
		if r.Name == name {
			return &within{ns: l.machines[r.In.Name].ns, local: r.Addrs}, nil
		}
	}
	return nil, fmt.Errorf("no origin, name server or resolver %q", name)
}

// startRouters starts the router of every network. FRR's two halves start one after the other, so all first ones start
// before any second one.
func (l *Lab) startRouters(ctx context.Context) error {
	frr, bird := l.routedBy(topology.FRR), l.routedBy(topology.BIRD)
	if frr+bird > 0 {
		if err := l.collect(ctx); err != nil {
			return err
		}
	}
	var ofFRR []*machine
	for _, plan := range l.plan.Machines {
		m, start := l.machines[plan.Name], l.startRouter
		switch plan.Software {
		case "":
			continue
		case topology.FRR:
			start, ofFRR = l.startZebra, append(ofFRR, m)
		case topology.BIRD:
			start = l.startBIRD
		}
		if err := start(m); err != nil {
			return err
		}
	}
	for _, m := range ofFRR {
		if err := l.startBGP(ctx, m); err != nil {
			return err
		}
	}
	what := fmt.Sprintf("%d routers started", len(l.topo.Internet.Networks))
	if frr > 0 {
		what += fmt.Sprintf(", %d of them FRR", frr)
	}
	if bird > 0 {
		what += fmt.Sprintf(", %d of them BIRD", bird)
	}
	l.o.Progress(what)
	return nil
}

// startRouter starts the router of a network that is ours.
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
	l.children = append(l.children, c)
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
		l.changed(c)
	}
}

// startNode prepares a node's folder and starts its process.
func (l *Lab) startNode(ctx context.Context, m *machine) error {
	if l.o.Alone {
		return l.startGuests(m)
	}
	dir, err := l.nodes.Folder(m.Name)
	if err != nil {
		return err
	}
	file := filepath.Join(dir, "lab.json")
	around := router.SurroundingsOf(m.Machine)
	around.Clock = l.nodes.Clock(m.Name)
	if err := around.Write(file); err != nil {
		return err
	}
	process := runner.NodeProcess{
		Node: m.Name, Binary: l.o.Binary, Config: l.o.Dir, Around: file, Env: l.o.Env, Split: l.o.Split, Within: m.ns.do, Folders: l.nodes,
	}
	if err := l.nodes.Start(m.Name, process.Processes()); err != nil {
		return err
	}
	l.parts.Go(func() { l.nodes.Follow(ctx, m.Name) })
	return l.startGuests(m)
}

// noMachine is the error about a machine that is not there.
func (l *Lab) noMachine(name string) error {
	var known []string
	for _, m := range l.plan.Machines {
		known = append(known, m.Name)
	}
	return fmt.Errorf("the lab has no machine called %q; it has %s", name, strings.Join(known, ", "))
}
