package containerlab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/catchment-net/catchment/control"
	"github.com/catchment-net/catchment/internal/event"
	"github.com/catchment-net/catchment/internal/underlay"
	"github.com/catchment-net/catchment/internal/wallclock"
	"github.com/catchment-net/catchment/labs"
	"github.com/catchment-net/catchment/labs/layout"
	"github.com/catchment-net/catchment/labs/netns"
	"github.com/catchment-net/catchment/labs/runner"
	"github.com/catchment-net/catchment/topology"
)

// RunOptions says what to bring up. All but Router, Env, Progress and Logger are required.
type RunOptions struct {
	Dir      string       // the lab's folder
	Name     string       // what to call it
	Root     string       // runner.StateRoot()
	Router   string       // Ours or FRR for every network; "" leaves it to the topology
	Env      []string     // added to the environment of containerlab: CATCHMENT_IMAGE=…, FRR_IMAGE=…
	Progress func(string) // one line a step that takes a while; nil is silent
	Logger   *slog.Logger // nil discards
}

// upTimeout bounds how long a lab may take to converge; a busy machine starts two containers a second.
const upTimeout = 5 * time.Minute

// Lab is a lab that runs in containers and is driven by this process. The containers are containerlab's; clients and
// origins are in this process, with sockets in the namespaces of their networks' containers.
type Lab struct {
	o        RunOptions
	snap     *control.Snapshot
	topo     *topology.Topology
	plan     *layout.Plan
	folder   *Folder
	tools    *tools
	state    *runner.State
	ring     *event.Ring
	boxes    *boxes
	fleet    *runner.Fleet
	bests    *runner.Bests
	world    *runner.World
	pids     map[string]int // of the networks' containers
	closers  []func() error // of the namespaces that are open
	caps     labs.Caps
	unshaped string // why links have no delay here; "" when they have
	since    time.Time
	turn     runner.Turn

	cancel   context.CancelFunc
	parts    sync.WaitGroup
	deployed bool
	downOnce sync.Once
	downErr  error
	gone     chan struct{} // closed when Down has finished

	mu     sync.Mutex // guards the following
	faults map[*topology.Link]linkFault
	walls  map[string]bool // subject and purpose of the filters around POPs and nodes
}

var _ labs.Lab = (*Lab)(nil)

// Up brings the lab up and returns when every client is served by some POP. When it fails, nothing is left behind.
func Up(ctx context.Context, o RunOptions) (*Lab, error) {
	if err := Able(ctx); err != nil {
		return nil, err
	}
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
		o: o, snap: snap, topo: snap.Topology, ring: event.NewRing(event.Options{Node: "lab", Size: 1 << 16}), bests: runner.NewBests(snap.Topology),
		pids: map[string]int{}, faults: map[*topology.Link]linkFault{}, walls: map[string]bool{}, gone: make(chan struct{}),
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
	if err := l.prepare(); err != nil {
		return err
	}
	life, cancel := context.WithCancel(context.Background()) //nolint:contextcheck // the lab's life ends with Down, not with Up's context
	l.cancel = cancel
	if err := l.listen(life); err != nil {
		return err
	}
	l.o.Progress(fmt.Sprintf("containerlab deploys %d containers", len(l.folder.nodes)))
	l.deployed = true
	if err := l.tools.deploy(ctx, true); err != nil {
		return err
	}
	if err := l.boxes.refresh(ctx); err != nil {
		return err
	}
	if err := l.collect(life); err != nil {
		return err
	}
	l.caps = caps(ctx)
	if l.unshaped = tryDelay(ctx); l.unshaped != "" {
		l.o.Progress("links have no delay, jitter or rate here: " + l.unshaped)
	}
	if err := l.impair(ctx); err != nil {
		return err
	}
	if err := l.people(ctx, life); err != nil {
		return err
	}
	for _, n := range l.topo.Nodes() {
		l.parts.Go(func() { l.fleet.Follow(life, n.Name) })
	}
	l.o.Progress(fmt.Sprintf("deployed after %v", time.Since(began).Round(10*time.Millisecond)))
	if err := l.fleet.Converge(ctx, l.missing); err != nil {
		return err
	}
	l.bests.Stand()
	l.since = time.Now()
	l.o.Progress(fmt.Sprintf("converged after %v: every client network is served", time.Since(began).Round(10*time.Millisecond)))
	return nil
}

// prepare renders the lab into its state folder.
func (l *Lab) prepare() error {
	var err error
	if l.state, err = runner.Claim(l.o.Root, l.o.Name); err != nil {
		return err
	}
	if l.folder, err = Render(Options{Name: l.o.Name, Topology: l.topo, Lab: l.snap.Files, Router: l.o.Router, Driven: true}); err != nil {
		return err
	}
	l.plan = l.folder.Plan
	dir := l.state.File("clab")
	if err := l.folder.Write(dir); err != nil {
		return err
	}
	if err := runner.Prepare(&runner.State{Path: dir}, l.o.Name, l.topo); err != nil {
		return err
	}
	l.tools = &tools{dir: dir, file: l.folder.TopologyFile(), lab: l.folder.Name, env: append([]string{"CLAB_VERSION_CHECK=disable"}, l.o.Env...)}
	admin := func(node string) string { return filepath.Join(dir, "run", node, adminName) }
	l.boxes = &boxes{
		topo: l.topo, tools: l.tools, admin: admin, broken: map[string]string{}, clocks: map[string]time.Duration{}, full: map[string]unix.Rlimit{},
		clock: func(node string) string { return filepath.Join(dir, "run", node, clockName) },
	}
	for _, n := range l.topo.Nodes() {
		if err := wallclock.Set(l.boxes.clock(n.Name), 0); err != nil {
			return err
		}
	}
	l.fleet = &runner.Fleet{
		Lab: l.o.Name, Topology: l.topo, Ring: l.ring, Logger: l.o.Logger, Admin: admin, Alive: l.boxes.alive,
		Ended: func() error { return l.boxes.ended(context.Background()) },
	}
	return nil
}

// people starts what a lab has besides nodes and routers, each in the namespace of its network's container, and lets
// people in.
func (l *Lab) people(ctx, life context.Context) error {
	var names []string
	for _, n := range l.topo.Internet.Networks {
		names = append(names, n.Name)
	}
	states, err := l.tools.inspect(ctx, names...)
	if err != nil {
		return err
	}
	for _, n := range names {
		if !states[n].Running {
			return fmt.Errorf("the container of %s has ended: %s", n, l.tools.lastWords(ctx, n))
		}
		l.pids[n] = states[n].Pid
		if err := l.addressed(ctx, l.plan.Machine(n)); err != nil {
			return err
		}
	}
	l.world = runner.NewWorld(runner.WorldOptions{Snap: l.snap, Server: l.server, Client: l.client, Ended: l.partEnded, Parts: &l.parts})
	if err := l.world.Start(life); err != nil {
		return err
	}
	doors, err := runner.OpenDoors(len(l.world.Users), 0)
	if err != nil {
		return err
	}
	access := runner.AccessOptions{Topology: l.topo, Hosts: runner.Hosts(l.snap), Logger: l.o.Logger, Ended: l.partEnded}
	for i, u := range l.world.Users {
		u.Let(life, doors[i], access, &l.parts)
	}
	return nil
}

// client is how a network's clients reach the world.
func (l *Lab) client(name string) (underlay.Net, error) {
	return l.inside(name, l.plan.Machine(name).Clients)
}

// server is how an origin, a name server of others or a resolver does.
func (l *Lab) server(name string) (underlay.Net, error) {
	for _, o := range l.topo.Internet.Origins {
		if o.Host == name {
			return l.inside(o.In.Name, o.Addrs)
		}
	}
	for _, n := range l.topo.Internet.NameServers {
		if n.Host == name {
			return l.inside(n.In.Name, n.Addrs)
		}
	}
	for _, r := range l.topo.Internet.Resolvers {
		if r.Name == name {
			return l.inside(r.In.Name, r.Addrs)
		}
	}
	return nil, fmt.Errorf("nothing in the lab is called %q", name)
}

// inside opens sockets in the namespace of a network's container. Of the addresses, the first of each family is where
// connections come from.
func (l *Lab) inside(network string, local []netip.Addr) (underlay.Net, error) {
	var first []netip.Addr
	for _, a := range local {
		if !slices.ContainsFunc(first, func(f netip.Addr) bool { return f.Is4() == a.Is4() }) {
			first = append(first, a)
		}
	}
	n, done, err := netns.Inside(l.pids[network], first)
	if err != nil {
		return nil, err
	}
	l.closers = append(l.closers, done)
	return n, nil
}

// addressed waits until a machine has given itself its addresses.
func (l *Lab) addressed(ctx context.Context, m *layout.Machine) error {
	n, done, err := netns.Inside(l.pids[m.Name], nil)
	if err != nil {
		return err
	}
	defer done() //nolint:errcheck // nothing was written
	for _, a := range m.Own {
		for {
			socket, err := n.ListenPacket(ctx, "udp", netip.AddrPortFrom(a, 0).String())
			if err == nil {
				socket.Close()
				break
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("%s has no address %s: %w: %s", m.Name, a, err, l.tools.lastWords(context.WithoutCancel(ctx), m.Name))
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
	return nil
}

// partEnded notes a part of the runner that ended by itself, which is a defect.
func (l *Lab) partEnded(what string, err error) {
	if err != nil {
		l.o.Logger.Error("part of the lab ended", "part", what, "error", err)
		l.ring.Add(event.Event{Kind: event.Process, Subject: what, State: runner.Exited, Cause: err.Error()})
	}
}

func (l *Lab) missing() string {
	what, _ := l.bests.Whole()
	return what
}

// Settle waits until the lab stands as it did when it came up, and empties the resolvers' caches.
func (l *Lab) Settle(ctx context.Context) error {
	if err := l.fleet.Settle(ctx, l.bests, l.missing); err != nil {
		return err
	}
	l.world.Forget()
	return nil
}

// Serve offers the lab to other processes of this user until ctx is done or somebody asks for its end. It calls ready once
// the lab answers. The caller still calls Down.
func (l *Lab) Serve(ctx context.Context, ready func()) error {
	s := runner.Server{Lab: l, Runner: "containerlab", Dir: l.o.Dir, Snap: l.snap, Socket: l.state.Socket(), Ring: l.ring, Turn: &l.turn, Logger: l.o.Logger}
	return s.Serve(ctx, ready)
}

// Topology is the network that the lab runs.
func (l *Lab) Topology() *topology.Topology { return l.topo }

// Caps says which faults the lab can do.
func (l *Lab) Caps() labs.Caps { return l.caps }

// Events calls fn for every event from now on.
func (l *Lab) Events(ctx context.Context, fn func(event.Event)) error {
	_, next, _ := l.ring.After(^uint64(0))
	l.ring.Follow(ctx, next, func(e event.Event) bool {
		fn(e)
		return true
	})
	return nil
}

// Status tells where every client lands now and what runs.
func (l *Lab) Status(ctx context.Context) (*labs.Status, error) {
	st := &labs.Status{Name: l.o.Name, Runner: "containerlab", Dir: l.o.Dir, State: l.state.Path, Since: l.since, Nodes: l.boxes.look(ctx)}
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

// Exec runs a command in the container of a node or a network; "catchment" is the binary in it. A command that ends with
// another status than 0 is an *exec.ExitError.
func (l *Lab) Exec(ctx context.Context, node string, argv []string, stdout, stderr io.Writer) error {
	if l.plan.Machine(node) == nil {
		return fmt.Errorf("the lab has no node or network called %q", node)
	}
	if len(argv) > 0 && argv[0] == "catchment" {
		argv = append([]string{"/catchment"}, argv[1:]...)
	}
	cmd, err := runner.Command(ctx, "", append([]string{"docker", "exec", l.tools.container(node)}, argv...), stdout, stderr)
	if err != nil {
		return err
	}
	return cmd.Run()
}

// Down ends the lab: the containers first, then what is here, then the files. Only the first call does anything; the
// others wait for it.
func (l *Lab) Down(ctx context.Context) error {
	l.downOnce.Do(func() {
		defer close(l.gone)
		var errs []error
		if l.deployed {
			errs = append(errs, l.tools.destroy(context.WithoutCancel(ctx)))
		}
		if l.cancel != nil {
			l.cancel()
		}
		l.parts.Wait()
		for _, done := range l.closers {
			errs = append(errs, done())
		}
		if l.state != nil {
			errs = append(errs, l.state.Release())
		}
		l.downErr = errors.Join(errs...)
	})
	<-l.gone
	return l.downErr
}
