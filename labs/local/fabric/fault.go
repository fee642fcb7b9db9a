package fabric

import (
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/catchment-net/catchment/internal/event"
	"github.com/catchment-net/catchment/topology"
)

// subjects are the POPs and nodes that a fault holds apart from the rest.
type subjects map[string]bool

// faults are those of POPs and nodes; the links' are in the links. Readers load a set, writers swap it.
type faults struct {
	mu         sync.Mutex // held by writers
	partitions atomic.Pointer[subjects]
	mutes      atomic.Pointer[subjects]
}

// Cut takes the carrier of a link away: its BGP relays close at once, and what crossed it finds another way or stalls.
// The link is named as topology.Link.Name does, or by its two ends in any order.
func (f *Fabric) Cut(name string) error {
	return f.setLink(name, cut.String(), func(l *link) { l.state = cut })
}

// Blackhole makes a link swallow everything, BGP included, and say nothing.
func (f *Fabric) Blackhole(name string) error {
	return f.setLink(name, blackholed.String(), func(l *link) { l.state = blackholed })
}

// Slow makes what crosses a link come so much later, each way, BGP included.
func (f *Fabric) Slow(name string, by time.Duration) error {
	return f.setLink(name, "slow", func(l *link) { l.slow = by })
}

// Lossy makes a link lose a part of what crosses it, each way: 0 to 1.
func (f *Fabric) Lossy(name string, part float64) error {
	return f.setLink(name, "lossy", func(l *link) { l.lossy = part })
}

// HealLink undoes all that was done to a link.
func (f *Fabric) HealLink(name string) error {
	return f.setLink(name, up.String(), func(l *link) { l.state, l.slow, l.lossy = up, 0, 0 })
}

// HasLink says whether the name means a link; its error suggests names.
func (f *Fabric) HasLink(name string) (*topology.Link, error) {
	l, err := f.graph.find(name)
	if err != nil {
		return nil, err
	}
	return l.Link, nil
}

func (f *Fabric) setLink(name, state string, set func(*link)) error {
	l, err := f.graph.find(name)
	if err != nil {
		return err
	}
	l.mu.Lock()
	before := [...]any{l.state, l.slow, l.lossy}
	set(l)
	same := before == [...]any{l.state, l.slow, l.lossy}
	l.mu.Unlock()
	if same {
		return nil
	}
	f.o.Events.Add(event.Event{Kind: event.Fault, Subject: l.Name(), State: state, Cause: "asked for"})
	f.adjacencies.changed(func(r *relay) bool { return r.link == l })
	f.RouteChanged()
	return nil
}

// Partition lets nothing pass between a POP, or a node, and the rest, BGP included, and tells nobody. The nodes of a POP
// still reach each other.
func (f *Fabric) Partition(subject string) error {
	return f.setApart(&f.faults.partitions, subject, true)
}

// Mute loses a POP's or a node's gossip with the rest, both ways, and nothing else.
func (f *Fabric) Mute(subject string) error { return f.setApart(&f.faults.mutes, subject, true) }

// HealSubject undoes Partition and Mute.
func (f *Fabric) HealSubject(subject string) error {
	if err := f.setApart(&f.faults.partitions, subject, false); err != nil {
		return err
	}
	return f.setApart(&f.faults.mutes, subject, false)
}

func (f *Fabric) setApart(set *atomic.Pointer[subjects], subject string, on bool) error {
	if f.graph.topo.POP(subject) == nil && f.graph.topo.Node(subject) == nil {
		return fmt.Errorf("no POP and no node is called %q", subject)
	}
	f.faults.mu.Lock()
	next := subjects{}
	if before := set.Load(); before != nil {
		maps.Copy(next, *before)
	}
	if next[subject] = true; !on {
		delete(next, subject)
	}
	set.Store(&next)
	f.faults.mu.Unlock()
	f.adjacencies.changed(func(*relay) bool { return true })
	f.RouteChanged()
	return nil
}

// side is the subject that a hop is in, "" for the rest of the world: a node's own goes before its POP's.
func (s subjects) side(t *topology.Topology, hop string) string {
	if s[hop] {
		return hop
	}
	if n := t.Node(hop); n != nil && s[n.POP.Name] {
		return n.POP.Name
	}
	return ""
}

// divide breaks a path that leaves or enters a subject of the set.
func (p *Path) divide(set *subjects, t *topology.Topology, how string) {
	if set == nil || len(*set) == 0 {
		return
	}
	for i := 1; i < len(p.Hops); i++ {
		a, b := set.side(t, p.Hops[i-1]), set.side(t, p.Hops[i])
		if a != b && p.Broken == "" {
			p.Broken = fmt.Sprintf("%q is %s", a+b, how)
		}
	}
}

// isGossip says whether a port is one that nodes gossip on.
func isGossip(port uint16) bool { return port == topology.PortGossip || port == topology.PortFleet }

// carries is route for traffic of a port: gossip may be lost where all else passes.
func (f *Fabric) carries(port uint16, p *Path) *Path {
	mutes := f.faults.mutes.Load()
	if !isGossip(port) || mutes == nil || len(*mutes) == 0 {
		return p
	}
	own := *p // the path is shared
	own.divide(mutes, f.graph.topo, "mute")
	return &own
}
