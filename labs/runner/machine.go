package runner

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/catchment-net/catchment/internal/wallclock"
	"github.com/catchment-net/catchment/topology"
)

// machines are what faults have done to nodes as machines: to their clocks and disks.
type machines struct {
	mu     sync.Mutex               // guards the following
	clocks map[string]time.Duration // by node: how far its wall clock is off
	full   map[int]bool             // processes whose writes fail
}

// Clock is the file by which a node's wall clock is set (internal/wallclock).
func (n *Nodes) Clock(node string) string { return filepath.Join(n.State.Node(node), "clock") }

// machinesOf lists the nodes of a POP, or the one of that name.
func (n *Nodes) machinesOf(subject string) ([]*topology.Node, error) {
	if p := n.Topology.POP(subject); p != nil {
		return p.Nodes, nil
	}
	if node := n.Topology.Node(subject); node != nil {
		return []*topology.Node{node}, nil
	}
	return nil, n.Unknown(subject)
}

// Skew steps the wall clocks of a POP's nodes, or of one node, by a duration, which may be negative. Several steps add up.
func (n *Nodes) Skew(subject, by string) error {
	d, err := time.ParseDuration(by)
	if err != nil {
		return fmt.Errorf("skew by %q: want a duration such as -90s", by)
	}
	nodes, err := n.machinesOf(subject)
	if err != nil {
		return err
	}
	n.machines.mu.Lock()
	defer n.machines.mu.Unlock()
	if n.machines.clocks == nil {
		n.machines.clocks = map[string]time.Duration{}
	}
	for _, node := range nodes {
		n.machines.clocks[node.Name] += d
		err = errors.Join(err, wallclock.Set(n.Clock(node.Name), n.machines.clocks[node.Name]))
	}
	return err
}

// Fill makes every write of a subject's processes to a file fail, as on a full disk: their limit on the size of files
// becomes 0 bytes, so a write fails with EFBIG where a full disk gives ENOSPC. What is mapped or already written stays.
func (n *Nodes) Fill(subject string) error {
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &old); err != nil {
		return fmt.Errorf("read the limit of file sizes: %w", err)
	}
	return n.Each(subject, func(c *Child) error {
		state, pid := c.Status()
		if pid == 0 {
			return fmt.Errorf("%q is not running (%s)", c.Name, state)
		}
		if err := unix.Prlimit(pid, unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 0, Max: old.Max}, nil); err != nil {
			return fmt.Errorf("fill the disk of %q: %w", c.Name, err)
		}
		n.machines.mu.Lock()
		defer n.machines.mu.Unlock()
		if n.machines.full == nil {
			n.machines.full = map[int]bool{}
		}
		n.machines.full[pid] = true
		return nil
	})
}

// healMachines sets the clocks right and empties the disks of a subject. A process that was killed meanwhile has left
// its limit behind.
func (n *Nodes) healMachines(subject string, children []*Child) error {
	var old unix.Rlimit
	err := unix.Getrlimit(unix.RLIMIT_FSIZE, &old)
	n.machines.mu.Lock()
	defer n.machines.mu.Unlock()
	for _, c := range children {
		if _, pid := c.Status(); err == nil && n.machines.full[pid] {
			delete(n.machines.full, pid)
			err = unix.Prlimit(pid, unix.RLIMIT_FSIZE, &old, nil)
		}
	}
	nodes, nodeErr := n.machinesOf(subject)
	if nodeErr != nil { // a process: its node's clock is not its own
		return err
	}
	for _, node := range nodes {
		if n.machines.clocks[node.Name] != 0 {
			delete(n.machines.clocks, node.Name)
			err = errors.Join(err, wallclock.Set(n.Clock(node.Name), 0))
		}
	}
	return err
}
