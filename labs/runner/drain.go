package runner

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/catchment-net/catchment/admin"
	"github.com/catchment-net/catchment/topology"
)

// drainWithin is how long a drain waits for a node that takes it.
const drainWithin = 10 * time.Second

// drains are the POPs and nodes that a fault drains.
type drains struct {
	mu  sync.Mutex // guards all
	all map[string]bool
}

func (d *drains) set(subject string, on bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.all == nil {
		d.all = map[string]bool{}
	}
	if d.all[subject] = on; !on {
		delete(d.all, subject)
	}
}

func (d *drains) has(subject string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.all[subject]
}

// Drain asks for a drain as an operator does: through the admin socket of a node that runs, one of the subject's own
// where there is one.
func (n *Nodes) Drain(ctx context.Context, subject string, on bool) error {
	if n.Topology.POP(subject) == nil && n.Topology.Node(subject) == nil {
		return n.Unknown(subject)
	}
	// A node that has just been started again does not answer yet.
	ctx, cancel := context.WithTimeout(ctx, drainWithin)
	defer cancel()
	for {
		err := n.askDrain(ctx, subject, on)
		if err == nil || !n.anyAlive() {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pollEvery):
		}
	}
}

func (n *Nodes) anyAlive() bool {
	for _, processes := range n.children {
		if state, _ := processes[0].Status(); state == Alive {
			return true
		}
	}
	return false
}

// askDrain asks each running node in turn until one takes the request.
func (n *Nodes) askDrain(ctx context.Context, subject string, on bool) error {
	nodes := n.Topology.Nodes()
	slices.SortStableFunc(nodes, func(a, b *topology.Node) int { return rank(a, subject) - rank(b, subject) })
	var errs []error
	for _, node := range nodes {
		if state, _ := n.children[node.Name][0].Status(); state != Alive {
			continue
		}
		c := admin.Client{Socket: n.Admin(node.Name)}
		err := c.Post(ctx, "/v1/intents", intentRequest{Target: subject, Drain: on, Why: "a drill", By: "lab " + n.Lab}, nil)
		if err == nil {
			n.drains.set(subject, on)
			return nil
		}
		errs = append(errs, err)
	}
	return errors.Join(append(errs, errors.New("no node took the request"))...)
}

// intentRequest is what a node's admin socket takes (node.IntentRequest).
type intentRequest struct {
	Target string `json:"target"`
	Drain  bool   `json:"drain"`
	Why    string `json:"why"`
	By     string `json:"by"`
}

func rank(n *topology.Node, subject string) int {
	if n.Name == subject || n.POP.Name == subject {
		return 0
	}
	return 1
}
