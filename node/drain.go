package node

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/catchment-net/catchment/health"
	"github.com/catchment-net/catchment/topology"
)

// meterEvery is how often the client requests are counted: their number in the last second is that of the last one to
// one and a quarter.
const meterEvery = 250 * time.Millisecond

// meter knows how many client requests there were a second ago. The zero value has seen none.
type meter struct {
	notes [5]struct {
		at    time.Time
		total uint64
	}
	next int // the oldest
}

// take notes the number of requests so far.
func (m *meter) take(now time.Time, total uint64) {
	m.notes[m.next].at, m.notes[m.next].total = now, total
	m.next = (m.next + 1) % len(m.notes)
}

// lastSecond is how many requests have come since the newest note that is a second old, or since the oldest if none is.
// A daemon that has ended takes its requests along; then there were none.
func (m *meter) lastSecond(now time.Time, total uint64) uint32 {
	since, found := uint64(0), false
	for i := range m.notes {
		newest := m.notes[(m.next-1-i+2*len(m.notes))%len(m.notes)]
		if newest.at.IsZero() {
			break
		}
		since, found = newest.total, true
		if now.Sub(newest.at) >= time.Second {
			break
		}
	}
	if !found || total < since {
		return 0
	}
	return uint32(min(total-since, 1<<32-1))
}

// lastRequest is when the last client request on an anycast address reached any daemon of this node.
func (h *hub) lastRequest() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.clients().last
}

// requests is how many of those there were in the last second.
func (h *hub) requests() uint32 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.meter.lastSecond(h.o.now(), h.clients().total)
}

// followDrain counts requests, and tells the fleet how far this node's drain is.
func (h *hub) followDrain(ctx context.Context) error {
	tick := time.NewTicker(meterEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-h.moved:
		case <-tick.C:
			h.mu.Lock()
			h.meter.take(h.o.now(), h.clients().total)
			h.mu.Unlock()
			if h.bgp.Progress().Step == health.NoStep {
				continue
			}
		}
		h.judge.setProgress(h.bgp.Progress())
	}
}

// drained lists the POPs all of whose nodes are drained by intents in force.
func drained(t *topology.Topology, intents []health.Intent, now time.Time) []string {
	by := map[string]bool{}
	for _, i := range intents {
		if i.InForce(now) {
			by[i.Target] = true
		}
	}
	var all []string
	for _, p := range t.POPs {
		if by[p.Name] || !slices.ContainsFunc(p.Nodes, func(n *topology.Node) bool { return !by[n.Name] }) {
			all = append(all, p.Name)
		}
	}
	return all
}

// tooMany returns why a drain of the target must not begin now: with it, more POPs would be drained than may be away at
// once. It is nil where the drain takes no POP away that is not drained already.
func tooMany(t *topology.Topology, intents []health.Intent, target string, now time.Time) error {
	before := drained(t, intents, now)
	after := drained(t, append(slices.Clone(intents), health.Intent{Target: target, Kind: health.IntentDrain}), now)
	limit := t.Drain.WithDefaults().AtOnce
	if len(after) == len(before) || len(after) <= limit {
		return nil
	}
	return fmt.Errorf("drain of %q: %s drained already, and `drain: {at_once: %d}` of the topology allows no more", target, are(before), limit)
}

func are(names []string) string {
	if len(names) == 1 {
		return names[0] + " is"
	}
	return strings.Join(names, ", ") + " are"
}

// withProgress is a View with what is known of this node's own drain at this moment.
func withProgress(v *health.View, p health.Progress) *health.View {
	fresh := *v
	fresh.Nodes = maps.Clone(v.Nodes)
	self := fresh.Nodes[v.Self]
	self.Progress = p
	fresh.Nodes[v.Self] = self
	return &fresh
}
