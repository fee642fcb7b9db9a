package runner

import (
	"context"
	"errors"
	"fmt"
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
func (f *Fleet) Drain(ctx context.Context, subject string, on bool) error {
	if f.Topology.POP(subject) == nil && f.Topology.Node(subject) == nil {
		return fmt.Errorf("the lab has no POP or node called %q", subject)
	}
	// A node that has just been started again does not answer yet.
	ctx, cancel := context.WithTimeout(ctx, drainWithin)
	defer cancel()
	for {
		err := f.askDrain(ctx, subject, on)
		if err == nil || !f.anyAlive() {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pollEvery):
		}
	}
}

// Drained reports whether a drain of that subject stands.
func (f *Fleet) Drained(subject string) bool { return f.drains.has(subject) }

func (f *Fleet) anyAlive() bool {
	return slices.ContainsFunc(f.Topology.Nodes(), func(n *topology.Node) bool { return f.Alive(n.Name) })
}

// askDrain asks each running node in turn until one takes the request.
func (f *Fleet) askDrain(ctx context.Context, subject string, on bool) error {
	nodes := f.Topology.Nodes()
	slices.SortStableFunc(nodes, func(a, b *topology.Node) int { return rank(a, subject) - rank(b, subject) })
	var errs []error
	for _, node := range nodes {
		if !f.Alive(node.Name) {
			continue
		}
		c := admin.Client{Socket: f.Admin(node.Name)}
		err := c.Post(ctx, "/v1/intents", intentRequest{Target: subject, Drain: on, Why: "a drill", By: "lab " + f.Lab, Force: true}, nil)
		if err == nil {
			f.drains.set(subject, on)
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
	Force  bool   `json:"force"` // a drill may ask for what an operator is warned of
}

func rank(n *topology.Node, subject string) int {
	if n.Name == subject || n.POP.Name == subject {
		return 0
	}
	return 1
}
