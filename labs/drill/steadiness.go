package drill

import (
	"fmt"

	"github.com/catchment-net/catchment/internal/event"
)

// updates is how often a router's best paths for anycast prefixes changed, or those of all routers together.
func (ev *evidence) updates(router string, w Window) measured {
	from, to := ev.bounds(w)
	var m measured
	n := 0
	for _, net := range ev.d.topo.Internet.Networks {
		if router != "*" && router != net.Name {
			continue
		}
		if !ev.heard[net.Name] {
			return measured{none: fmt.Sprintf("nothing is known of the routes of %q", net.Name)}
		}
		for _, prefix := range ev.prefixes() {
			now, later := ev.pathAt(route{net.Name, prefix.String()}, from, to)
			for _, h := range later {
				if h.has == now.has && h.pop == now.pop && h.via == now.via {
					continue
				}
				if n++; len(m.why) < maxWhy {
					m.why = append(m.why, fmt.Sprintf("%s's best path for %s: %s → %s at %s", net.Name, prefix, now, h, ev.clock(h.at)))
				}
				now, m.at = h, h.at
			}
		}
	}
	m.num, m.found, m.cause = float64(n), fmt.Sprint(n), "routes are not steady"
	return m
}

// String is where the path leads, for people.
func (h hop) String() string {
	if !h.has {
		return "no route"
	}
	return h.pop
}

// flaps is how often a POP's routes came back after they had gone: the most for any prefix at any router, or by any
// node's own announcements.
func (ev *evidence) flaps(name string, w Window) measured {
	if len(ev.heard) == 0 {
		return measured{none: "nothing is known of any router's routes"}
	}
	pop := ev.pop(name)
	from, to := ev.bounds(w)
	m := measured{found: "0", cause: "flaps"}
	note := func(returns []int64, who, prefix, what string) {
		if n := len(returns); float64(n) > m.num {
			m.num, m.at, m.found = float64(n), returns[n-1], fmt.Sprint(n)
			m.why = []string{fmt.Sprintf("%s %s %s %d times, first at %s, last at %s", who, what, prefix, n, ev.clock(returns[0]), ev.clock(returns[n-1]))}
		}
	}
	for _, net := range ev.d.topo.Internet.Networks {
		for _, prefix := range ev.prefixes() {
			led := ev.ledTimes(route{net.Name, prefix.String()}, pop, from, to)
			var returns []int64
			for _, s := range led[min(1, len(led)):] {
				returns = append(returns, s.start)
			}
			note(returns, net.Name, prefix.String(), "returned to "+pop+" for")
		}
	}
	for _, n := range ev.d.topo.Nodes() {
		for _, prefix := range ev.prefixes() {
			if n.POP.Name == pop {
				note(ev.reannounced(n.Name, prefix.String(), from, to), n.Name, prefix.String(), "announced anew")
			}
		}
	}
	return m
}

// reannounced are the moments at which a node announced a prefix that it had withdrawn before in the same time.
func (ev *evidence) reannounced(node, prefix string, from, to int64) []int64 {
	var all []int64
	gone := false
	for _, e := range ev.changes {
		if e.Kind != event.Announce || e.Node != node || e.Subject != prefix || e.Mono < from || e.Mono >= to {
			continue
		}
		is := e.State == "withdrawn"
		if gone && !is {
			all = append(all, e.Mono)
		}
		gone = is
	}
	return all
}
