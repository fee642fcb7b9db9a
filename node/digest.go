package node

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/catchment-net/catchment/internal/event"
)

// The times of digests (design §5).
const (
	divergedAfter = 60 * time.Second // nodes that take a change up one after the other are no alarm
	digestAge     = 4 * digestEvery  // a node that has said nothing for so long has no say
)

// census knows which configuration each node of the fleet runs, and since when they have not been the same.
type census struct {
	self string

	mu    sync.Mutex // guards the following; held for a count of the nodes
	heard map[string]heardDigest
	since time.Time // since when the digests differ; zero while they do not
	alarm string    // as last reported; empty for none
}

type heardDigest struct {
	digest string
	at     time.Time
}

func newCensus(self string) *census { return &census{self: self, heard: map[string]heardDigest{}} }

// hear notes what a node says of itself.
func (c *census) hear(now time.Time, node, digest string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.heard[node] = heardDigest{digest, now}
}

// count compares what counts at time now with this node's own digest. It returns the alarm, or nothing while all agree
// or have not differed for long, and whether that is another than the last time.
func (c *census) count(now time.Time, own string) (alarm string, changed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	nodes := map[string][]string{own: {c.self}}
	for name, h := range c.heard {
		if now.Sub(h.at) > digestAge {
			delete(c.heard, name)
			continue
		}
		nodes[h.digest] = append(nodes[h.digest], name)
	}
	switch {
	case len(nodes) == 1:
		c.since = time.Time{}
	case c.since.IsZero():
		c.since = now
	case now.Sub(c.since) >= divergedAfter:
		alarm = oddOnesOut(nodes)
	}
	changed = alarm != c.alarm
	c.alarm = alarm
	return alarm, changed
}

// reported is the alarm as of the last count.
func (c *census) reported() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.alarm
}

// oddOnesOut names the nodes that do not run what most run. Where there is no such configuration it names all.
func oddOnesOut(nodes map[string][]string) string {
	digests := slices.SortedFunc(maps.Keys(nodes), func(a, b string) int {
		return cmp.Or(cmp.Compare(len(nodes[b]), len(nodes[a])), cmp.Compare(a, b))
	})
	most, odd := digests[0], digests[1:]
	if len(nodes[odd[0]]) == len(nodes[most]) {
		most, odd = "", digests
	}
	var parts []string
	for _, d := range odd {
		slices.Sort(nodes[d])
		parts = append(parts, fmt.Sprintf("%s: %.12s", strings.Join(nodes[d], " "), d))
	}
	text := "configurations differ: " + strings.Join(parts, "; ")
	if most != "" {
		text += fmt.Sprintf("; most have %.12s", most)
	}
	return text
}

// count reports a divergence, and its end.
func (p *pools) count() {
	h := p.hub
	alarm, changed := p.census.count(h.o.now(), h.snap.Load().Digest)
	if !changed {
		return
	}
	state := "diverged"
	if alarm == "" {
		state = "agreed"
	} else {
		h.o.Logger.Warn("configurations differ between nodes", "pop", h.self.POP.Name, "detail", alarm)
	}
	h.o.Events.Add(event.Event{Kind: event.Config, Subject: "snapshot", State: state, Cause: alarm})
}
