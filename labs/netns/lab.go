//go:build linux

// Package netns runs a lab on machines of its own: a network namespace for each POP node and each network, cables
// between them, kernel forwarding, real addresses and ports.
//
//	host ── lab serve ── new namespaces ── runner ── clients, origins: sockets in their network's namespace
//	            │                            ├── wires (delay, loss, cuts)
//	            └─ access ports              ├── router processes, one a network
//	                                         └── catchment node ams1 · nyc1 · …
//
// Nothing of it shows on the host: the runner itself lives in a network namespace, made with a user namespace where it is
// not root, and everything ends with it.
package netns

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"sync"
	"time"

	"github.com/catchment-net/catchment/control"
	"github.com/catchment-net/catchment/internal/event"
	"github.com/catchment-net/catchment/labs"
	"github.com/catchment-net/catchment/labs/layout"
	"github.com/catchment-net/catchment/labs/netns/kernel"
	"github.com/catchment-net/catchment/labs/runner"
	"github.com/catchment-net/catchment/topology"
)

// Options says what to bring up. All but Doors, Env, Router, Progress, Guests, Alone,
// Built and Logger are required.
type Options struct {
	Dir      string         // the lab's folder
	Name     string         // what to call it
	Root     string         // runner.StateRoot()
	Binary   string         // the catchment binary, for nodes and routers
	Doors    []runner.Doors // the host's sockets by which people reach the users, in file order; none are opened here
	Env      []string       // added to the nodes' environment
	Router   string         // Ours, FRR or BIRD for every network; "" leaves it to the topology
	Split    bool           // each node as three processes (bgpd, dnsd, popd) that the link joins
	Progress func(string)   // one line a step that takes a while; nil is silent

	// Guests are processes that run on the machine of a POP's node beside our node, with their files in dir; nil means
	// none.
	Guests func(m *layout.Machine, dir string) ([]runner.Process, error)
	// Alone has the guests run in the place of our nodes. Such a lab counts as up when all has been started: only who
	// brought the guests knows when they are ready.
	Alone bool
	// Built is called when machines and cables stand and before anything runs on them; nil means that nobody waits. Of
	// the lab only Plan, Inside and Watch may be used then.
	Built func(*Lab)

	Logger *slog.Logger // nil discards
}

// upTimeout bounds how long a lab may take to converge.
const upTimeout = 90 * time.Second

// Lab is a lab that is up in this process.
type Lab struct {
	o        Options
	snap     *control.Snapshot
	topo     *topology.Topology
	plan     *layout.Plan
	state    *runner.State
	ring     *event.Ring
	home     *os.File // the runner's network namespace
	machines map[string]*machine
	wires    []*wire
	house    *kernel.Household
	nodes    *runner.Nodes
	children []*runner.Child // routers, and resolvers in software of others
	unbounds map[*topology.Resolver]*runner.Child
	frr      string // the folder of FRR's daemons
	mounts   []string
	bird     string // BIRD's program
	bests    *runner.Bests
	world    *runner.World
	since    time.Time
	turn     runner.Turn

	cancel   context.CancelFunc // ends wires, origins, users
	parts    sync.WaitGroup
	downOnce sync.Once
	downErr  error

	mu     sync.Mutex // guards damage, and the order in which it is put in force
	damage damage
}

var _ labs.Lab = (*Lab)(nil)

// Up brings the lab up in the network namespace of this process, which must be one of its own, and returns when every
// client is served by some POP. When it fails, nothing is left behind.
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
		o: o, snap: snap, topo: snap.Topology, ring: event.NewRing(event.Options{Node: "lab", Size: 1 << 16}), machines: map[string]*machine{},
		damage: damage{links: map[*topology.Link]linkDamage{}, nodes: map[string]labs.Verb{}},
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
	if l.plan, err = layout.New(l.topo); err != nil {
		return err
	}
	if l.o.Router != "" {
		l.plan.Route(l.o.Router)
	}
	if l.state, err = runner.Claim(l.o.Root, l.o.Name); err != nil {
		return err
	}
	if err := runner.Prepare(l.state, l.o.Name, l.topo); err != nil {
		return err
	}
	if err := l.nameHosts(); err != nil {
		return err
	}
	if err := l.prepareRouters(); err != nil {
		return err
	}
	if l.home, err = thisNamespace(); err != nil {
		return fmt.Errorf("open network namespace: %w", err)
	}
	life, cancel := context.WithCancel(context.Background()) //nolint:contextcheck // the lab's life ends with Down, not with Up's context
	l.cancel = cancel
	if err := l.build(); err != nil {
		return err
	}
	for _, w := range l.wires {
		l.parts.Go(func() { w.run(life) })
	}
	if l.o.Built != nil {
		l.o.Built(l)
	}
	l.o.Progress(fmt.Sprintf("%d machines, %d cables after %v", len(l.machines), len(l.wires), time.Since(began).Round(10*time.Millisecond)))
	if l.house, err = kernel.NewHousehold(exec.Command(l.o.Binary, "lab", "hold")); err != nil { //nolint:noctx // it ends with Down
		return err
	}
	l.nodes = &runner.Nodes{Lab: l.o.Name, Topology: l.topo, State: l.state, Nursery: l.house, Ring: l.ring, Logger: l.o.Logger}
	l.bests = runner.NewBests(l.topo)
	if err := l.start(life); err != nil {
		return err
	}
	if !l.o.Alone {
		if err := l.nodes.Converge(ctx, l.missing); err != nil {
			return err
		}
	}
	l.bests.Stand()
	l.since = time.Now()
	l.o.Progress(fmt.Sprintf("converged after %v: every client network is served", time.Since(began).Round(10*time.Millisecond)))
	return nil
}

// missing says what the network still waits for.
func (l *Lab) missing() string {
	if what := l.exited(); what != "" {
		return what
	}
	what, ok := l.bests.Whole()
	if ok {
		return ""
	}
	return what
}

// exited says which router or resolver has ended by itself; empty when none has.
func (l *Lab) exited() string {
	for _, c := range l.children {
		if state, _ := c.Status(); state == runner.Exited {
			return fmt.Sprintf("%s has ended: %s", c.Name, c.LastWords())
		}
	}
	return ""
}

// Settle waits until the lab stands as it did when it came up, and empties the resolvers' caches.
func (l *Lab) Settle(ctx context.Context) error {
	if err := l.nodes.Settle(ctx, l.bests, l.missing); err != nil {
		return err
	}
	l.world.Forget()
	return l.forgetResolvers(ctx)
}

// Serve offers the lab to other processes of this user until ctx is done or somebody asks for its end. It calls ready once
// the lab answers. The caller still calls Down.
func (l *Lab) Serve(ctx context.Context, ready func()) error {
	s := runner.Server{Lab: l, Runner: "netns", Dir: l.o.Dir, Snap: l.snap, Socket: l.state.Socket(), Ring: l.ring, Turn: &l.turn, Logger: l.o.Logger}
	return s.Serve(ctx, ready)
}

// Topology is the network that the lab runs.
func (l *Lab) Topology() *topology.Topology { return l.topo }

// Status tells where every client lands now and what runs.
func (l *Lab) Status(context.Context) (*labs.Status, error) {
	st := &labs.Status{Name: l.o.Name, Runner: "netns", Dir: l.o.Dir, State: l.state.Path, Since: l.since, Nodes: l.nodes.Status()}
	for _, c := range l.children {
		state, pid := c.Status()
		st.Nodes = append(st.Nodes, labs.NodeStatus{Name: c.Name, State: state, PID: pid, Pss: runner.Pss(pid)})
	}
	st.Origins = l.world.Status()
	for _, u := range l.world.Users {
		st.Clients = append(st.Clients, u.Status(l.bests))
	}
	for _, n := range l.topo.Internet.Networks {
		st.Routers = append(st.Routers, labs.RouterStatus{Name: n.Name, Best: l.bests.Of(n.Name)})
	}
	return st, nil
}

// Sample runs the loads from their clients until ctx is done.
func (l *Lab) Sample(ctx context.Context, loads []labs.Load, fn func(labs.Sample)) error {
	return l.world.Users.Sample(ctx, loads, fn)
}

// Events calls fn for every event from now on.
func (l *Lab) Events(ctx context.Context, fn func(event.Event)) error {
	_, next, _ := l.ring.After(^uint64(0))
	l.ring.Follow(ctx, next, func(e event.Event) bool {
		fn(e)
		return true
	})
	return nil
}

// Exec runs a command on a machine, inside its namespace: a node, with CATCHMENT_ADMIN naming its admin socket, or a
// network. A command that ends with another status than 0 is an *exec.ExitError.
func (l *Lab) Exec(ctx context.Context, name string, argv []string, stdout, stderr io.Writer) error {
	m := l.machines[name]
	if m == nil {
		return l.noMachine(name)
	}
	cmd, err := runner.Command(ctx, l.o.Binary, argv, stdout, stderr)
	if err != nil {
		return err
	}
	switch {
	case m.Software == topology.FRR && argv[0] == "vtysh":
		cmd.Args = append([]string{"vtysh", "--vty_socket", l.frrFolder(m)}, argv[1:]...)
	case m.Software == topology.BIRD && argv[0] == "birdc":
		cmd.Args = append([]string{"birdc", "-s", l.birdSocket(m)}, argv[1:]...)
	}
	if m.Node != nil {
		cmd.Dir = l.state.Node(name)
		cmd.Env = append(os.Environ(), "CATCHMENT_ADMIN="+l.nodes.Admin(name), "CATCHMENT_NODE="+name)
	}
	if err := l.nodes.Nursery.Start(cmd, m.ns.do); err != nil {
		return err
	}
	return cmd.Wait()
}

// Down ends the lab: its processes first, so that nobody sees the network go, then the network, then the files. Only the
// first call does anything.
func (l *Lab) Down(context.Context) error {
	l.downOnce.Do(func() {
		var errs []error
		if l.nodes != nil {
			l.nodes.Stop()
			runner.StopAll(l.children)
			errs = append(errs, l.house.Close())
		}
		if l.cancel != nil {
			l.cancel()
		}
		l.parts.Wait()
		errs = append(errs, l.unmount())
		for _, m := range l.machines {
			errs = append(errs, m.ns.close())
		}
		if l.state != nil {
			errs = append(errs, l.state.Release())
		}
		l.downErr = errors.Join(errs...)
	})
	return l.downErr
}

// ended notes a part of the runner that ended by itself, which is a defect.
func (l *Lab) ended(what string, err error) {
	if err != nil {
		l.o.Logger.Error("part of the lab ended", "part", what, "error", err)
		l.ring.Add(event.Event{Kind: event.Process, Subject: what, State: runner.Exited, Cause: err.Error()})
	}
}
