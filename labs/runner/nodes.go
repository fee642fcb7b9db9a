package runner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"github.com/catchment-net/catchment/internal/event"
	"github.com/catchment-net/catchment/internal/wallclock"
	"github.com/catchment-net/catchment/labs"
	"github.com/catchment-net/catchment/topology"
)

// Process is one process of a node to be started.
type Process struct {
	Name   string // of the node, or "ams1/popd" where the node has several
	Log    string // name of its log in the node's folder
	Argv   []string
	Env    []string // added to the runner's
	Within func(func() error) error
}

// Nodes are the POP nodes of a lab as processes: what runs them, breaks them and heals them. It is safe for concurrent
// use once all are started.
type Nodes struct {
	Lab      string // its name
	Topology *topology.Topology
	State    *State
	Nursery  Starter
	Ring     *event.Ring
	Logger   *slog.Logger

	children map[string][]*Child // a node's processes, the one with its hub first
	machines machines
	fleet    Fleet
	fleeted  sync.Once // guards the making of fleet
}

// asFleet is what the nodes' admin sockets show.
func (n *Nodes) asFleet() *Fleet {
	n.fleeted.Do(func() {
		n.fleet.Lab, n.fleet.Topology, n.fleet.Ring, n.fleet.Logger = n.Lab, n.Topology, n.Ring, n.Logger
		n.fleet.Admin, n.fleet.Ended = n.Admin, n.ended
		n.fleet.Alive = func(node string) bool {
			state, _ := n.children[node][0].Status()
			return state == Alive
		}
	})
	return &n.fleet
}

// Drain asks for a drain, or for its end (Fleet.Drain).
func (n *Nodes) Drain(ctx context.Context, subject string, on bool) error {
	return n.asFleet().Drain(ctx, subject, on)
}

// Converge waits until missing says that nothing is missing and the nodes agree (Fleet.Converge).
func (n *Nodes) Converge(ctx context.Context, missing func() string) error {
	return n.asFleet().Converge(ctx, missing)
}

// Settle waits until the lab stands as it did at first (Fleet.Settle).
func (n *Nodes) Settle(ctx context.Context, bests *Bests, missing func() string) error {
	return n.asFleet().Settle(ctx, bests, missing)
}

// Follow copies a node's events into the lab's (Fleet.Follow).
func (n *Nodes) Follow(ctx context.Context, node string) { n.asFleet().Follow(ctx, node) }

// ended is the first process that has ended by itself.
func (n *Nodes) ended() error {
	for _, node := range n.Topology.Nodes() {
		for _, c := range n.children[node.Name] {
			if state, _ := c.Status(); state == Exited {
				return fmt.Errorf("%s ended: %s", c.Name, c.LastWords())
			}
		}
	}
	return nil
}

// Admin is a node's admin socket.
func (n *Nodes) Admin(node string) string { return filepath.Join(n.State.Node(node), "admin.sock") }

// Folder makes a node's folder, with its clock in it.
func (n *Nodes) Folder(node string) (string, error) {
	dir := n.State.Node(node)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("make folder of node %q: %w", node, err)
	}
	if err := wallclock.Set(n.Clock(node), 0); err != nil {
		return "", err
	}
	return dir, nil
}

// Start starts the processes of a node, the one with its hub first.
func (n *Nodes) Start(node string, processes []Process) error {
	if n.children == nil {
		n.children = map[string][]*Child{}
	}
	for _, p := range processes {
		c := &Child{
			Name: p.Name, Argv: p.Argv, Log: filepath.Join(n.State.Node(node), p.Log), Env: append(os.Environ(), p.Env...),
			Nursery: n.Nursery, Within: p.Within, OnExit: n.exited,
		}
		n.children[node] = append(n.children[node], c)
		if err := c.Start(); err != nil {
			return err
		}
	}
	return nil
}

// exited is called when a node's process has ended. One that ends by itself is a defect that `lab status` shows.
func (n *Nodes) exited(name, state string, err error) {
	if state != Exited {
		return
	}
	node, _, _ := strings.Cut(name, "/")
	n.Ring.Add(event.Event{Node: node, Kind: event.Process, Subject: name, State: Exited, Cause: fmt.Sprint(err)})
}

// Stop ends all nodes, whatever their states.
func (n *Nodes) Stop() {
	var all []*Child
	for _, processes := range n.children {
		all = append(all, processes...)
	}
	StopAll(all)
}

// StopAll ends processes at once, so that it takes as long as the slowest of them.
func StopAll(all []*Child) {
	var group sync.WaitGroup
	for _, c := range all {
		group.Go(c.Stop)
	}
	group.Wait()
}

// Status lists the processes in the order of the topology.
func (n *Nodes) Status() []labs.NodeStatus {
	var all []labs.NodeStatus
	for _, node := range n.Topology.Nodes() {
		for i, c := range n.children[node.Name] {
			state, pid := c.Status()
			ns := labs.NodeStatus{Name: c.Name, POP: node.POP.Name, State: state, PID: pid, Pss: Pss(pid)}
			if i == 0 {
				ns.Admin = n.Admin(node.Name)
			}
			all = append(all, ns)
		}
	}
	return all
}

// Has reports whether there is a node of that name.
func (n *Nodes) Has(node string) bool { return n.children[node] != nil }

// Unknown is the error about a subject that is none of the nodes' or POPs'.
func (n *Nodes) Unknown(name string) error {
	var known []string
	for _, p := range n.Topology.POPs {
		known = append(known, p.Name)
		for _, node := range p.Nodes {
			for _, c := range n.children[node.Name] {
				known = append(known, c.Name)
			}
		}
	}
	return fmt.Errorf("the lab has no POP, node or process called %q; it has %s", name, strings.Join(known, ", "))
}

// Subjects lists the processes that a fault is about: those of a POP, of a node, or one of a node.
func (n *Nodes) Subjects(name string) ([]*Child, error) {
	if p := n.Topology.POP(name); p != nil {
		var all []*Child
		for _, node := range p.Nodes {
			all = append(all, n.children[node.Name]...)
		}
		return all, nil
	}
	if all := n.children[name]; all != nil {
		return all, nil
	}
	node, _, _ := strings.Cut(name, "/")
	for _, c := range n.children[node] {
		if c.Name == name {
			return []*Child{c}, nil
		}
	}
	return nil, n.Unknown(name)
}

// Each does one thing to every process of a subject at once: a POP that loses its power loses all of it.
func (n *Nodes) Each(subject string, do func(*Child) error) error {
	all, err := n.Subjects(subject)
	if err != nil {
		return err
	}
	results := make(chan error, len(all))
	for _, c := range all {
		go func() { results <- do(c) }()
	}
	var errs []error
	for range all {
		errs = append(errs, <-results)
	}
	return errors.Join(errs...)
}

// Kill kills every process of a subject.
func (n *Nodes) Kill(subject string) error { return n.Each(subject, (*Child).Kill) }

// Freeze stops every process of a subject where it is.
func (n *Nodes) Freeze(subject string) error {
	return n.Each(subject, func(c *Child) error { return c.Signal(syscall.SIGSTOP, Frozen) })
}

// Heal starts, continues, undrains and sets right whatever faults have done to the subject.
func (n *Nodes) Heal(ctx context.Context, subject string) error {
	all, err := n.Subjects(subject)
	if err != nil {
		return err
	}
	err = n.healMachines(subject, all)
	for _, c := range all {
		switch state, _ := c.Status(); state {
		case Frozen:
			err = errors.Join(err, c.Signal(syscall.SIGCONT, Alive))
		case Killed, Exited:
			err = errors.Join(err, c.Start())
		}
	}
	if err == nil && n.asFleet().Drained(subject) {
		err = n.Drain(ctx, subject, false)
	}
	return err
}

// Exec runs a command with CATCHMENT_ADMIN naming the node's admin socket, in the node's state folder; "catchment" is the
// binary given. A command that ends with another status than 0 is an *exec.ExitError.
func (n *Nodes) Exec(ctx context.Context, node, binary string, argv []string, stdout, stderr io.Writer) error {
	if !n.Has(node) {
		return n.Unknown(node)
	}
	cmd, err := Command(ctx, binary, argv, stdout, stderr)
	if err != nil {
		return err
	}
	cmd.Dir = n.State.Node(node)
	cmd.Env = append(os.Environ(), "CATCHMENT_ADMIN="+n.Admin(node), "CATCHMENT_NODE="+node)
	return cmd.Run()
}

// Command is a command that a person gave; "catchment" is the binary given.
func Command(ctx context.Context, binary string, argv []string, stdout, stderr io.Writer) (*exec.Cmd, error) {
	if len(argv) == 0 {
		return nil, errors.New("no command to run")
	}
	if argv[0] == "catchment" {
		argv = append([]string{binary}, argv[1:]...)
	}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	return cmd, nil
}
