// Package local runs a lab on one machine without any rights: a process for each POP node (our own binary, started
// again), the networks' routers in the runner, and a model network that carries every connection between them.
//
//	runner ── routers (one a network, real BGP) ── relays ──┐
//	   │   ── fabric: follows the routers' best paths       │ BGP, gossip, HTTP, DNS
//	   │   ── clients, origins, access ports                │
//	   └─ catchment node ams1 · nyc1 · sin1 ────────────────┘
//
// Faults are real: a killed node gets SIGKILL, a frozen one SIGSTOP, a cut link loses its relays.
package local

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/catchment-net/catchment/control"
	"github.com/catchment-net/catchment/internal/event"
	"github.com/catchment-net/catchment/labs"
	"github.com/catchment-net/catchment/labs/local/fabric"
	"github.com/catchment-net/catchment/labs/router"
	"github.com/catchment-net/catchment/labs/runner"
	"github.com/catchment-net/catchment/topology"
)

// Options says what to bring up. All but Progress and Logger are required.
type Options struct {
	Dir      string       // the lab's folder
	Name     string       // what to call it
	Root     string       // runner.StateRoot()
	Binary   string       // the catchment binary, for the nodes
	Env      []string     // added to the nodes' environment
	Split    bool         // each node as three processes (bgpd, dnsd, popd) that the link joins
	Progress func(string) // one line a step that takes a while; nil is silent
	Logger   *slog.Logger // nil discards
}

// upTimeout bounds how long a lab may take to converge. The reference lab needs about two seconds.
const upTimeout = 60 * time.Second

// Lab is a lab that is up in this process.
type Lab struct {
	o       Options
	snap    *control.Snapshot
	topo    *topology.Topology
	block   *block
	state   *runner.State
	plan    *plan
	ring    *event.Ring
	nodes   *runner.Nodes
	nursery *runner.Nursery
	routers map[string]*router.Router
	bests   *runner.Bests
	fabric  *fabric.Fabric
	world   *runner.World
	since   time.Time

	cancel   context.CancelFunc // ends routers, fabric, origins, access ports
	parts    sync.WaitGroup
	downOnce sync.Once
	downErr  error
	gone     chan struct{} // closed when Down has finished

	turn runner.Turn
}

var _ labs.Lab = (*Lab)(nil)

// Up brings the lab up and returns when every client is served by some POP. When it fails, nothing is left behind.
func Up(ctx context.Context, o Options) (*Lab, error) {
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	snap, err := control.Load(o.Dir)
	if err != nil {
		return nil, err
	}
	l := &Lab{
		o: o, snap: snap, topo: snap.Topology, ring: event.NewRing(event.Options{Node: "lab", Size: 1 << 16}),
		routers: map[string]*router.Router{}, gone: make(chan struct{}),
	}
	ctx, stop := context.WithTimeoutCause(ctx, upTimeout, fmt.Errorf("lab %q did not converge within %v", o.Name, upTimeout))
	defer stop()
	if err := l.up(ctx); err != nil {
		if cause := context.Cause(ctx); cause != nil && errors.Is(err, ctx.Err()) && !errors.Is(err, cause) {
			err = cause
		}
		return nil, errors.Join(err, l.Down(context.WithoutCancel(ctx)))
	}
	return l, nil
}

// up does what Up promises; what it has begun is recorded in l, so that Down can end it.
func (l *Lab) up(ctx context.Context) error {
	began := time.Now()
	err := labs.Routable(l.topo, func(*topology.Network) string { return topology.Ours })
	if err != nil {
		return err
	}
	if l.state, err = runner.Claim(l.o.Root, l.o.Name); err != nil {
		return err
	}
	if l.block, err = claimBlock(); err != nil {
		return err
	}
	if l.plan, err = makePlan(l.block, l.topo); err != nil {
		return err
	}
	if err := runner.Prepare(l.state, l.o.Name, l.topo); err != nil {
		return err
	}
	life, cancel := context.WithCancel(context.Background()) //nolint:contextcheck // the lab's life ends with Down, not with Up's context
	l.cancel = cancel
	if err := l.startNetwork(life); err != nil {
		return err
	}
	l.o.Progress(fmt.Sprintf("%d routers, %d links, %d origins in the runner", len(l.routers), len(l.topo.Internet.Links), len(l.topo.Internet.Origins)))
	if slices.ContainsFunc(l.topo.Internet.Links, func(k *topology.Link) bool { return k.BFD != 0 }) {
		l.o.Progress("no BFD here, though links ask for it: a local lab's links carry whole connections; use --runner netns")
	}
	l.nursery = runner.NewNursery()
	l.nodes = &runner.Nodes{Lab: l.o.Name, Topology: l.topo, State: l.state, Nursery: l.nursery, Ring: l.ring, Logger: l.o.Logger}
	for _, n := range l.topo.Nodes() {
		if err := l.startNode(life, n); err != nil {
			return err
		}
	}
	l.o.Progress(fmt.Sprintf("%d POP nodes started", len(l.topo.Nodes())))
	if err := l.nodes.Converge(ctx, l.missing); err != nil {
		return err
	}
	l.bests.Stand()
	l.since = time.Now()
	l.o.Progress(fmt.Sprintf("converged after %v: every client network is served", time.Since(began).Round(10*time.Millisecond)))
	return nil
}

// startNode prepares a node's folder and starts its process.
func (l *Lab) startNode(ctx context.Context, n *topology.Node) error {
	dir, err := l.nodes.Folder(n.Name)
	if err != nil {
		return err
	}
	around := &labs.Surroundings{
		Socket: l.state.File("fabric.sock"), Bind: l.plan.nodes[n.Name],
		BGPListen: []netip.AddrPort{l.plan.bgp(n.Name)}, Neighbors: nodeNeighbors(l.topo, l.plan, n), Clock: l.nodes.Clock(n.Name),
	}
	file := filepath.Join(dir, "lab.json")
	if err := around.Write(file); err != nil {
		return err
	}
	process := runner.NodeProcess{
		Node: n.Name, Binary: l.o.Binary, Config: l.o.Dir, Around: file, Env: l.o.Env, Split: l.o.Split, Folders: l.nodes,
	}
	if err := l.nodes.Start(n.Name, process.Processes()); err != nil {
		return err
	}
	l.parts.Go(func() { l.nodes.Follow(ctx, n.Name) })
	return nil
}

// Serve offers the lab to other processes of this user until ctx is done or somebody asks for its end. It calls ready once
// the lab answers. The caller still calls Down.
func (l *Lab) Serve(ctx context.Context, ready func()) error {
	s := runner.Server{Lab: l, Runner: "local", Dir: l.o.Dir, Snap: l.snap, Socket: l.state.Socket(), Ring: l.ring, Turn: &l.turn, Logger: l.o.Logger}
	return s.Serve(ctx, ready)
}

// Topology is the network that the lab runs.
func (l *Lab) Topology() *topology.Topology { return l.topo }

// Events calls fn for every event from now on.
func (l *Lab) Events(ctx context.Context, fn func(event.Event)) error {
	_, next, _ := l.ring.After(^uint64(0))
	l.ring.Follow(ctx, next, func(e event.Event) bool {
		fn(e)
		return true
	})
	return nil
}

// Down ends the lab: nodes first, so that nobody sees the network go, then the network, then the files. Only the first
// call does anything; the others wait for it.
func (l *Lab) Down(context.Context) error {
	l.downOnce.Do(func() {
		defer close(l.gone)
		if l.nodes != nil {
			l.nodes.Stop()
			l.nursery.Close()
		}
		if l.cancel != nil {
			l.cancel()
		}
		l.parts.Wait()
		var errs []error
		if l.block != nil {
			errs = append(errs, l.block.release())
		}
		if l.state != nil {
			errs = append(errs, l.state.Release())
		}
		l.downErr = errors.Join(errs...)
	})
	<-l.gone
	return l.downErr
}
