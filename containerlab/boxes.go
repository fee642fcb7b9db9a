package containerlab

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/catchment-net/catchment/internal/wallclock"
	"github.com/catchment-net/catchment/labs"
	"github.com/catchment-net/catchment/labs/runner"
	"github.com/catchment-net/catchment/topology"
)

// boxes are the POP nodes of a lab as containers, and what faults have made of them.
type boxes struct {
	topo  *topology.Topology
	tools *tools
	admin func(node string) string
	clock func(node string) string // the file that steps a node's wall clock

	mu     sync.Mutex        // guards the following
	broken map[string]string // node -> runner.Killed or runner.Frozen
	pids   map[string]int    // of each node's first process
	clocks map[string]time.Duration
	asked  time.Time              // when docker was last asked whether a node has ended
	full   map[string]unix.Rlimit // nodes without room for files, and the limit that they had
}

// skew steps the wall clocks of a subject's nodes, which read a file for how far they are off.
func (b *boxes) skew(subject, by string) error {
	d, err := time.ParseDuration(by)
	if err != nil {
		return fmt.Errorf("skew by %q: want a duration such as -90s", by)
	}
	nodes, err := b.subjects(subject)
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, n := range nodes {
		b.clocks[n] += d
		err = errors.Join(err, wallclock.Set(b.clock(n), b.clocks[n]))
	}
	return err
}

// fill leaves no room for files in a subject's containers: a write beyond the limit of 0 bytes fails.
func (b *boxes) fill(subject string) error {
	nodes, err := b.subjects(subject)
	if err != nil {
		return err
	}
	for _, n := range nodes {
		old, err := limit(b.pid(n), unix.Rlimit{})
		if err != nil {
			return fmt.Errorf("fill the disk of %q: %w", n, err)
		}
		b.mu.Lock()
		b.full[n] = old
		b.mu.Unlock()
	}
	return nil
}

// limit sets how large a file the processes of a container may write, up to what they are allowed, and returns what it
// was.
func limit(pid int, want unix.Rlimit) (old unix.Rlimit, err error) {
	if pid == 0 {
		return old, errors.New("it is not running")
	}
	if err := unix.Prlimit(pid, unix.RLIMIT_FSIZE, nil, &old); err != nil {
		return old, fmt.Errorf("read the limit of file sizes: %w", err)
	}
	want.Max = old.Max
	for _, p := range family(pid) {
		if err := unix.Prlimit(p, unix.RLIMIT_FSIZE, &want, nil); err != nil {
			return old, fmt.Errorf("set the limit of file sizes: %w", err)
		}
	}
	return old, nil
}

// mend sets the clocks right and makes room again.
func (b *boxes) mend(nodes []string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	var errs []error
	for _, n := range nodes {
		if b.clocks[n] != 0 {
			delete(b.clocks, n)
			errs = append(errs, wallclock.Set(b.clock(n), 0))
		}
		old, full := b.full[n]
		delete(b.full, n)
		if full && b.pids[n] != 0 {
			_, err := limit(b.pids[n], old)
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// refresh notes the nodes' first processes, so that a fault need not ask docker for them.
func (b *boxes) refresh(ctx context.Context) error {
	var names []string
	for _, n := range b.topo.Nodes() {
		names = append(names, n.Name)
	}
	states, err := b.tools.inspect(ctx, names...)
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.pids = map[string]int{}
	for n, s := range states {
		b.pids[n] = s.Pid
	}
	return nil
}

func (b *boxes) pid(node string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.pids[node]
}

// subjects lists the nodes that a fault is about.
func (b *boxes) subjects(name string) ([]string, error) {
	if p := b.topo.POP(name); p != nil {
		var all []string
		for _, n := range p.Nodes {
			all = append(all, n.Name)
		}
		return all, nil
	}
	if b.topo.Node(name) != nil {
		return []string{name}, nil
	}
	if node, process, _ := strings.Cut(name, "/"); b.topo.Node(node) != nil {
		return nil, &labs.CannotError{What: fmt.Sprintf("break the process %q of %q alone, which runs all in one", process, node), Fix: "name the node, or use --runner local"}
	}
	var known []string
	for _, p := range b.topo.POPs {
		known = append(known, p.Name)
		for _, n := range p.Nodes {
			known = append(known, n.Name)
		}
	}
	return nil, fmt.Errorf("the lab has no POP or node called %q; it has %s", name, strings.Join(known, ", "))
}

func (b *boxes) state(node string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s := b.broken[node]; s != "" {
		return s
	}
	return runner.Alive
}

func (b *boxes) note(state string, nodes ...string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, n := range nodes {
		if state == runner.Alive {
			delete(b.broken, n)
		} else {
			b.broken[n] = state
		}
	}
}

// alive reports whether no fault stops a node.
func (b *boxes) alive(node string) bool { return b.state(node) == runner.Alive }

// kill kills the first process of each of a subject's containers, and with it the kernel kills the others. `docker kill`
// does the same about 100 ms later. Docker then takes their network namespaces away, and their neighbours' cables lose
// the carrier.
func (b *boxes) kill(subject string) error {
	return b.breakIt(subject, runner.Killed, func(nodes []string) error {
		for _, n := range nodes {
			if pid := b.pid(n); pid == 0 {
				return fmt.Errorf("node %q has no process", n)
			} else if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				return fmt.Errorf("kill node %q: %w", n, err)
			}
		}
		return nil
	})
}

// freeze stops every process of a subject's containers where it is.
func (b *boxes) freeze(ctx context.Context, subject string) error {
	return b.breakIt(subject, runner.Frozen, func(nodes []string) error { return b.tools.docker(ctx, "pause", nodes...) })
}

func (b *boxes) breakIt(subject, state string, do func(nodes []string) error) error {
	nodes, err := b.subjects(subject)
	if err != nil {
		return err
	}
	for _, n := range nodes {
		if s := b.state(n); s != runner.Alive {
			return fmt.Errorf("node %q is not running (%s)", n, s)
		}
	}
	b.note(state, nodes...) // before the deed, so that nobody calls it an accident
	if err := do(nodes); err != nil {
		b.note(runner.Alive, nodes...)
		return err
	}
	return nil
}

// heal starts and continues what faults have stopped. A container that was killed lost its cables; deploying again
// brings them back.
func (b *boxes) heal(ctx context.Context, subject string) error {
	nodes, err := b.subjects(subject)
	if err != nil {
		return err
	}
	in := func(state string) []string {
		return slices.DeleteFunc(slices.Clone(nodes), func(n string) bool { return b.state(n) != state })
	}
	var errs []error
	if frozen := in(runner.Frozen); len(frozen) > 0 {
		errs = append(errs, b.tools.docker(ctx, "unpause", frozen...))
		b.note(runner.Alive, frozen...)
	}
	if killed := in(runner.Killed); len(killed) > 0 {
		err := b.gone(ctx, killed...)
		if err == nil {
			err = b.tools.docker(ctx, "start", killed...)
		}
		if err == nil {
			err = b.tools.deploy(ctx, false)
		}
		if err == nil {
			err = b.refresh(ctx)
		}
		errs = append(errs, err)
		b.note(runner.Alive, killed...)
		b.mu.Lock()
		for _, n := range killed { // a new process has no limit
			delete(b.full, n)
		}
		b.mu.Unlock()
	}
	errs = append(errs, b.mend(nodes))
	return errors.Join(errs...)
}

// gone waits until docker has noticed that containers have ended.
func (b *boxes) gone(ctx context.Context, nodes ...string) error {
	for {
		states, err := b.tools.inspect(ctx, nodes...)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(nodes, func(n string) bool { return states[n].Running }) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// ended is a node that has ended by itself, with its last words. Asking docker is slow, so it asks once a second.
func (b *boxes) ended(ctx context.Context) error {
	b.mu.Lock()
	early := time.Since(b.asked) < time.Second
	if !early {
		b.asked = time.Now()
	}
	b.mu.Unlock()
	if early {
		return nil
	}
	for _, s := range b.look(ctx) {
		if s.State == runner.Exited {
			return fmt.Errorf("%s ended: %s", s.Name, b.tools.lastWords(ctx, s.Name))
		}
	}
	return nil
}

// look lists the nodes in the order of the topology.
func (b *boxes) look(ctx context.Context) []labs.NodeStatus {
	var names []string
	for _, n := range b.topo.Nodes() {
		names = append(names, n.Name)
	}
	states, err := b.tools.inspect(ctx, names...)
	if err != nil {
		states = map[string]containerState{} // shown as unknown
	}
	var all []labs.NodeStatus
	for _, n := range b.topo.Nodes() {
		s, known := states[n.Name]
		ns := labs.NodeStatus{Name: n.Name, POP: n.POP.Name, State: b.state(n.Name), PID: s.Pid, Admin: b.admin(n.Name)}
		switch {
		case !known:
			ns.State = "unknown"
		case ns.State == runner.Alive && !s.Running:
			ns.State = runner.Exited
		}
		for _, pid := range family(s.Pid) {
			ns.Pss += runner.Pss(pid)
		}
		all = append(all, ns)
	}
	return all
}
