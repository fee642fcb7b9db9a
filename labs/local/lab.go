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
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/catchment-net/catchment/admin"
	"github.com/catchment-net/catchment/control"
	"github.com/catchment-net/catchment/internal/event"
	"github.com/catchment-net/catchment/labs"
	"github.com/catchment-net/catchment/labs/local/fabric"
	"github.com/catchment-net/catchment/labs/router"
	"github.com/catchment-net/catchment/topology"
)

// Options says what to bring up. All but Progress and Logger are required.
type Options struct {
	Dir      string       // the lab's folder
	Name     string       // what to call it
	Root     string       // StateRoot()
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
	state   *stateDir
	plan    *plan
	ring    *event.Ring
	nursery *nursery
	nodes   map[string][]*child // a node's processes, the one with its hub first
	routers map[string]*router.Router
	bests   *bests
	fabric  *fabric.Fabric
	users   []*user
	since   time.Time

	cancel   context.CancelFunc // ends routers, fabric, origins, access ports
	parts    sync.WaitGroup
	downOnce sync.Once
	downErr  error
	gone     chan struct{} // closed when Down has finished

	sampling atomic.Bool // a drill is under way

	mu     sync.Mutex           // guards the following
	drains map[string]bool      // POPs and nodes that a fault drains
	cuts   map[string]labs.Verb // links that a fault took
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
		nodes: map[string][]*child{}, routers: map[string]*router.Router{}, drains: map[string]bool{}, cuts: map[string]labs.Verb{}, gone: make(chan struct{}),
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
	var err error
	if l.state, err = claimState(l.o.Root, l.o.Name); err != nil {
		return err
	}
	if l.block, err = claimBlock(); err != nil {
		return err
	}
	if l.plan, err = makePlan(l.block, l.topo); err != nil {
		return err
	}
	if err := l.prepare(); err != nil {
		return err
	}
	life, cancel := context.WithCancel(context.Background()) //nolint:contextcheck // the lab's life ends with Down, not with Up's context
	l.cancel = cancel
	if err := l.startNetwork(life); err != nil {
		return err
	}
	l.o.Progress(fmt.Sprintf("%d routers, %d links, %d origins in the runner", len(l.routers), len(l.topo.Internet.Links), len(l.topo.Internet.Origins)))
	l.nursery = newNursery()
	for _, n := range l.topo.Nodes() {
		if err := l.startNode(life, n); err != nil {
			return err
		}
	}
	l.o.Progress(fmt.Sprintf("%d POP nodes started", len(l.nodes)))
	if err := l.converge(ctx); err != nil {
		return err
	}
	l.since = time.Now()
	l.o.Progress(fmt.Sprintf("converged after %v: every client network is served", time.Since(began).Round(10*time.Millisecond)))
	return nil
}

// startNode prepares a node's folder and starts its process.
func (l *Lab) startNode(ctx context.Context, n *topology.Node) error {
	dir := l.state.node(n.Name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make folder of node %q: %w", n.Name, err)
	}
	around := &labs.Surroundings{
		Socket: l.state.file("fabric.sock"), Bind: l.plan.nodes[n.Name],
		BGPListen: l.plan.bgp(n.Name), Neighbors: nodeNeighbors(l.topo, l.plan, n.POP.Name),
	}
	file := filepath.Join(dir, "lab.json")
	if err := around.Write(file); err != nil {
		return err
	}
	for _, part := range l.processes(n.Name, dir, file) {
		c := &child{
			name: part.name, argv: append([]string{l.o.Binary}, part.argv...), log: filepath.Join(dir, part.log),
			env: append(append(os.Environ(), "GOMAXPROCS=2", "GOMEMLIMIT=64MiB"), l.o.Env...), nursery: l.nursery, onExit: l.nodeExited,
		}
		l.nodes[n.Name] = append(l.nodes[n.Name], c)
		if err := c.start(); err != nil {
			return err
		}
	}
	l.parts.Go(func() { l.followNode(ctx, n.Name, filepath.Join(dir, "admin.sock")) })
	return nil
}

// process is one process of a node to be started.
type process struct {
	name, log string
	argv      []string
}

// processes lists the processes of a node: one, or three where the lab is split.
func (l *Lab) processes(node, dir, lab string) []process {
	common := []string{"-c", l.o.Dir, "--state", dir, "--keys", l.state.file("keys"), "--lab", lab}
	admin := []string{"--admin", filepath.Join(dir, "admin.sock")}
	geo := []string{"--mmdb", l.state.file("geo.mmdb")}
	memory := []string{"--memory", nodeMemory}
	if !l.o.Split {
		return []process{{node, "log", slices.Concat([]string{"node", node}, common, admin, geo, memory)}}
	}
	return []process{
		{node + "/bgpd", "bgpd.log", slices.Concat([]string{"bgpd", "--node", node}, common, admin)},
		{node + "/dnsd", "dnsd.log", slices.Concat([]string{"dnsd", "--node", node}, common, geo)},
		{node + "/popd", "popd.log", slices.Concat([]string{"popd", "--node", node}, common, memory)},
	}
}

// nodeMemory is the cache of a lab's node.
const nodeMemory = "32MiB"

// nodeExited is called when a node's process has ended. One that ends by itself is a defect that `lab status` shows.
func (l *Lab) nodeExited(name, state string, err error) {
	if state != exited {
		return
	}
	node, _, _ := strings.Cut(name, "/")
	l.ring.Add(event.Event{Node: node, Kind: event.Process, Subject: name, State: exited, Cause: fmt.Sprint(err)})
}

// followNode copies a node's events into the lab's, over every restart of the node, until ctx is done.
func (l *Lab) followNode(ctx context.Context, name, socket string) {
	for ctx.Err() == nil {
		// A new process counts its events from zero again.
		err := admin.Client{Socket: socket}.Events(ctx, 0, func(line admin.Line) error {
			l.ring.Add(line.Event)
			return nil
		})
		if err != nil && ctx.Err() == nil {
			l.o.Logger.Debug("events of node ended", "node", name, "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
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
		for _, processes := range l.nodes {
			for _, c := range processes {
				c.stop()
			}
		}
		if l.nursery != nil {
			l.nursery.close()
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
			errs = append(errs, l.state.release())
		}
		l.downErr = errors.Join(errs...)
	})
	<-l.gone
	return l.downErr
}
