//go:build linux

package netns

import (
	"context"
	"fmt"
	"time"

	"github.com/catchment-net/catchment/internal/event"
	"github.com/catchment-net/catchment/labs"
	"github.com/catchment-net/catchment/labs/layout"
	"github.com/catchment-net/catchment/topology"
)

// damage is what faults have done to the wires.
type damage struct {
	links map[*topology.Link]linkDamage
	nodes map[string]labs.Verb // partitioned and muted nodes
}

type linkDamage struct {
	cut, blackhole bool
	delay          time.Duration
	loss           float64
}

func gossipPort(p uint16) bool { return p == topology.PortGossip || p == topology.PortFleet }

// Caps says which faults the lab can do.
func (l *Lab) Caps() labs.Caps {
	return labs.Caps{Verbs: labs.Verbs(), Features: labs.Features()}
}

// Do carries out one fault. The event that records it is stamped before the deed, so that every effect comes after it.
func (l *Lab) Do(ctx context.Context, f labs.Fault) error {
	e := event.Event{Time: time.Now(), Mono: event.Mono(), Node: "lab", Kind: event.Fault, Subject: f.Subject, State: string(f.Verb), Cause: f.Arg}
	if err := l.do(ctx, f); err != nil {
		return fmt.Errorf("%s: %w", f, err)
	}
	l.ring.Add(e)
	return nil
}

func (l *Lab) do(ctx context.Context, f labs.Fault) error {
	if front := l.world.Front(f.Subject); front != nil {
		return front.Do(ctx, f)
	}
	switch f.Verb {
	case labs.Kill:
		return l.nodes.Kill(f.Subject)
	case labs.Freeze:
		return l.nodes.Freeze(f.Subject)
	case labs.Drain, labs.Undrain:
		return l.nodes.Drain(ctx, f.Subject, f.Verb == labs.Drain)
	case labs.Cut, labs.Blackhole, labs.Slow, labs.Lossy:
		return l.hurtLink(f)
	case labs.Partition, labs.Mute:
		return l.hurtNodes(f)
	case labs.Skew:
		return l.nodes.Skew(f.Subject, f.Arg)
	case labs.Fill:
		return l.nodes.Fill(f.Subject)
	case labs.Heal:
		return l.heal(ctx, f.Subject)
	}
	return fmt.Errorf("the netns runner cannot do this; it can %v", l.Caps().Verbs)
}

func (l *Lab) hurtLink(f labs.Fault) error {
	link, err := layout.FindLink(l.topo, f.Subject)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	d := l.damage.links[link]
	switch f.Verb {
	case labs.Cut:
		d.cut = true
		err = l.setCarrier(link, false)
	case labs.Blackhole:
		d.blackhole = true
	case labs.Slow:
		d.delay, err = f.Delay()
	case labs.Lossy:
		d.loss, err = f.Loss()
	}
	if err != nil {
		return err
	}
	l.damage.links[link] = d
	l.applyRules()
	return nil
}

func (l *Lab) hurtNodes(f labs.Fault) error {
	names, err := l.nodesOf(f.Subject)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, n := range names {
		l.damage.nodes[n] = f.Verb
	}
	l.applyRules()
	return nil
}

// nodesOf are the nodes of a POP, or one node.
func (l *Lab) nodesOf(subject string) ([]string, error) {
	var names []string
	for _, n := range l.topo.Nodes() {
		if n.Name == subject || n.POP.Name == subject {
			names = append(names, n.Name)
		}
	}
	if names == nil {
		return nil, l.nodes.Unknown(subject)
	}
	return names, nil
}

// heal undoes whatever faults have been done to the subject.
func (l *Lab) heal(ctx context.Context, subject string) error {
	if link, err := layout.FindLink(l.topo, subject); err == nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		cut := l.damage.links[link].cut
		delete(l.damage.links, link)
		l.applyRules()
		if cut {
			return l.setCarrier(link, true)
		}
		return nil
	}
	if names, err := l.nodesOf(subject); err == nil {
		l.mu.Lock()
		for _, n := range names {
			delete(l.damage.nodes, n)
		}
		l.applyRules()
		l.mu.Unlock()
	}
	return l.nodes.Heal(ctx, subject)
}

// applyRules puts the damage in force on every wire. Called with mu held.
func (l *Lab) applyRules() {
	for _, w := range l.wires {
		w.rules.Store(l.rulesOf(w.plan))
	}
}

// rulesOf are the link's properties and what faults make of them. Called with mu held, or before anything runs.
func (l *Lab) rulesOf(w *layout.Wire) *rules {
	d := l.damage.links[w.Link]
	r := &rules{
		silent: d.blackhole || d.cut, delay: w.Link.Delay + d.delay, jitter: w.Link.Jitter, rate: w.Link.Rate,
		loss: 1 - (1-w.Link.Loss)*(1-d.loss),
	}
	for _, name := range []string{w.A.Machine.Name, w.B.Machine.Name} {
		switch l.damage.nodes[name] {
		case labs.Partition:
			r.silent = true
		case labs.Mute:
			r.mute = true
		}
	}
	return r
}
