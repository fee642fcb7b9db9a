package runner

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/catchment-net/catchment/internal/event"
	"github.com/catchment-net/catchment/labs"
	"github.com/catchment-net/catchment/labs/router"
	"github.com/catchment-net/catchment/topology"
)

// Bests is the best path of every router to every anycast prefix, as events: what drills measure withdrawals by.
type Bests struct {
	topo *topology.Topology

	mu    sync.Mutex // guards the following
	last  map[bestKey]event.Event
	stood map[bestKey]string // the POP to which each path led at Stand
}

type bestKey struct {
	router string
	prefix netip.Prefix
}

// NewBests knows nothing yet.
func NewBests(t *topology.Topology) *Bests { return &Bests{topo: t, last: map[bestKey]event.Event{}} }

// Note takes a router's change and returns the event to report, nil for a prefix that is not anycast.
func (b *Bests) Note(c router.Change) *event.Event {
	if !slices.Contains(b.topo.Anycast.Prefixes, c.Prefix) {
		return nil
	}
	e := event.Event{Mono: c.Mono, Node: c.Router, Kind: event.Best, Subject: c.Prefix.String(), State: "withdrawn"}
	if !c.Withdrawn {
		e.State = "announced"
		e.Detail = map[string]string{"via": c.Via, "pop": b.pop(c.POPIndex), "path": pathText(c.ASPath)}
		if c.GSHUT {
			e.Detail["gshut"] = "true"
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.last[bestKey{c.Router, c.Prefix}] = e
	return &e
}

func (b *Bests) pop(index int) string {
	if index < 0 || index >= len(b.topo.POPs) {
		return ""
	}
	return b.topo.POPs[index].Name
}

func pathText(path []uint32) string {
	words := make([]string, len(path))
	for i, asn := range path {
		words[i] = strconv.FormatUint(uint64(asn), 10)
	}
	return strings.Join(words, " ")
}

// Of is where a router's best paths lead now.
func (b *Bests) Of(router string) map[string]labs.BestPath {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := map[string]labs.BestPath{}
	for _, p := range b.topo.Anycast.Prefixes {
		if e := b.last[bestKey{router, p}]; e.State == "announced" {
			all[p.String()] = labs.BestPath{Via: e.Detail["via"], POP: e.Detail["pop"]}
		}
	}
	return all
}

// Whole reports whether every network's router has a path to every anycast prefix; else what is missing.
func (b *Bests) Whole() (missing string, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, n := range b.topo.Internet.Networks {
		for _, p := range b.topo.Anycast.Prefixes {
			if b.last[bestKey{n.Name, p}].State != "announced" {
				return n.Name + " has no route to " + p.String(), false
			}
		}
	}
	return "", true
}

// Stand notes where the paths lead, for Moved.
func (b *Bests) Stand() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stood = map[bestKey]string{}
	for k, e := range b.last {
		b.stood[k] = e.Detail["pop"]
	}
}

// Moved says which router's path leads to another POP than at Stand; empty if none does.
func (b *Bests) Moved() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	for k, pop := range b.stood {
		if is := b.last[k].Detail["pop"]; is != pop {
			return fmt.Sprintf("%s goes to %q for %v and not to %q, as at first", k.router, is, k.prefix, pop)
		}
	}
	return ""
}
