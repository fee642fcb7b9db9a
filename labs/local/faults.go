package local

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/catchment-net/catchment/admin"
	"github.com/catchment-net/catchment/internal/event"
	"github.com/catchment-net/catchment/labs"
	"github.com/catchment-net/catchment/topology"
)

// caps is what the local runner can do on every host that it runs on.
func caps() labs.Caps {
	return labs.Caps{Verbs: []labs.Verb{labs.Kill, labs.Freeze, labs.Drain, labs.Undrain, labs.Cut, labs.Blackhole, labs.Heal}}
}

// Caps says which faults the lab can do.
func (l *Lab) Caps() labs.Caps { return caps() }

// Do carries out one fault. The event that records it is stamped before the deed, so that every effect comes after it.
func (l *Lab) Do(ctx context.Context, f labs.Fault) error {
	e := event.Event{Time: time.Now(), Mono: event.Mono(), Node: "lab", Kind: event.Fault, Subject: f.Subject, State: string(f.Verb)}
	if err := l.do(ctx, f); err != nil {
		return fmt.Errorf("%s %s: %w", f.Verb, f.Subject, err)
	}
	l.ring.Add(e)
	return nil
}

func (l *Lab) do(ctx context.Context, f labs.Fault) error {
	switch f.Verb {
	case labs.Kill:
		return l.each(f.Subject, (*child).kill)
	case labs.Freeze:
		return l.each(f.Subject, func(c *child) error { return c.signal(syscall.SIGSTOP, frozen) })
	case labs.Drain, labs.Undrain:
		return l.drain(ctx, f.Subject, f.Verb == labs.Drain)
	case labs.Cut, labs.Blackhole:
		return l.breakLink(f.Subject, f.Verb)
	case labs.Heal:
		return l.heal(ctx, f.Subject)
	}
	return fmt.Errorf("the local runner cannot do this; it can %v", caps().Verbs)
}

// subjects lists the processes that a fault is about: those of a POP, of a node, or one of a node.
func (l *Lab) subjects(name string) ([]*child, error) {
	if p := l.topo.POP(name); p != nil {
		var all []*child
		for _, n := range p.Nodes {
			all = append(all, l.nodes[n.Name]...)
		}
		return all, nil
	}
	if all := l.nodes[name]; all != nil {
		return all, nil
	}
	node, _, _ := strings.Cut(name, "/")
	for _, c := range l.nodes[node] {
		if c.name == name {
			return []*child{c}, nil
		}
	}
	return nil, l.noNode(name)
}

func (l *Lab) noNode(name string) error {
	var known []string
	for _, p := range l.topo.POPs {
		known = append(known, p.Name)
		for _, n := range p.Nodes {
			for _, c := range l.nodes[n.Name] {
				known = append(known, c.name)
			}
		}
	}
	return fmt.Errorf("the lab has no POP, node or process called %q; it has %s", name, strings.Join(known, ", "))
}

// each does one thing to every process of a subject at once: a POP that loses its power loses all of it.
func (l *Lab) each(subject string, do func(*child) error) error {
	all, err := l.subjects(subject)
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

// drain asks for a drain as an operator does: through the admin socket of a node that runs, one of the subject's own
// where there is one.
func (l *Lab) drain(ctx context.Context, subject string, on bool) error {
	if l.topo.POP(subject) == nil && l.topo.Node(subject) == nil {
		return l.noNode(subject)
	}
	// A node that has just been started again does not answer yet.
	ctx, cancel := context.WithTimeout(ctx, drainWithin)
	defer cancel()
	for {
		err := l.askDrain(ctx, subject, on)
		if err == nil || !l.anyRunning() {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pollEvery):
		}
	}
}

// drainWithin is how long a drain waits for a node that takes it.
const drainWithin = 10 * time.Second

func (l *Lab) anyRunning() bool {
	for _, processes := range l.nodes {
		if state, _ := processes[0].status(); state == running {
			return true
		}
	}
	return false
}

// askDrain asks each running node in turn until one takes the request.
func (l *Lab) askDrain(ctx context.Context, subject string, on bool) error {
	nodes := l.topo.Nodes()
	slices.SortStableFunc(nodes, func(a, b *topology.Node) int { return rank(a, subject) - rank(b, subject) })
	var errs []error
	for _, n := range nodes {
		if state, _ := l.nodes[n.Name][0].status(); state != running {
			continue
		}
		c := admin.Client{Socket: filepath.Join(l.state.node(n.Name), "admin.sock")}
		err := c.Post(ctx, "/v1/intents", intentRequest{Target: subject, Drain: on, Why: "a drill", By: "lab " + l.o.Name}, nil)
		if err == nil {
			l.mu.Lock()
			defer l.mu.Unlock()
			if l.drains[subject] = on; !on {
				delete(l.drains, subject)
			}
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

func (l *Lab) breakLink(name string, verb labs.Verb) error {
	do := l.fabric.Cut
	if verb == labs.Blackhole {
		do = l.fabric.Blackhole
	}
	link, err := l.fabric.HasLink(name)
	if err != nil {
		return err
	}
	name = link.Name()
	if err := do(name); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cuts[name] = verb
	return nil
}

// heal undoes whatever faults have been done to the subject.
func (l *Lab) heal(ctx context.Context, subject string) error {
	if link, err := l.fabric.HasLink(subject); err == nil {
		subject = link.Name()
	}
	l.mu.Lock()
	_, cut := l.cuts[subject]
	delete(l.cuts, subject)
	draining := l.drains[subject]
	l.mu.Unlock()
	if cut {
		return l.fabric.HealLink(subject)
	}
	all, err := l.subjects(subject)
	if err != nil {
		return err
	}
	for _, c := range all {
		switch state, _ := c.status(); state {
		case frozen:
			err = errors.Join(err, c.signal(syscall.SIGCONT, running))
		case killed, exited:
			err = errors.Join(err, c.start())
		}
	}
	if err == nil && draining {
		err = l.drain(ctx, subject, false)
	}
	return err
}
