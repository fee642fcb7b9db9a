package local

import (
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

// bests is the best path of every router to every anycast prefix, as events: what drills measure withdrawals by.
type bests struct {
	topo *topology.Topology

	mu   sync.Mutex // guards last
	last map[bestKey]event.Event
}

type bestKey struct {
	router string
	prefix netip.Prefix
}

func newBests(t *topology.Topology) *bests { return &bests{topo: t, last: map[bestKey]event.Event{}} }

// note takes a router's change and returns the event to report, nil for a prefix that is not anycast.
func (b *bests) note(c router.Change) *event.Event {
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

func (b *bests) pop(index int) string {
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

// of is where a router's best paths lead now.
func (b *bests) of(router string) map[string]labs.BestPath {
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

// whole reports whether every network's router has a path to every anycast prefix; else what is missing.
func (b *bests) whole() (missing string, ok bool) {
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
