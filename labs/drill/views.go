package drill

import (
	"fmt"
	"slices"
	"strings"

	"github.com/catchment-net/catchment/labs"
)

// stretch is a time from start to end, in moments.
type stretch struct{ start, end int64 }

// silent reports whether a fault keeps a node from answering or from hearing of others at a moment: it is killed, frozen
// or cut off, from the step on until the one that undoes it was done.
func (ev *evidence) silent(node string, at int64) bool {
	n := ev.d.topo.Node(node)
	for i, f := range ev.rec.Faults {
		subject := ev.pop(f.Subject)
		stops := f.Verb == labs.Kill || f.Verb == labs.Freeze || f.Verb == labs.Partition
		if n == nil || !stops || subject != node && subject != n.POP.Name || f.Start > at {
			continue
		}
		if undone, ok := ev.undone(i); !ok || at < undone {
			return true
		}
	}
	return false
}

// undone is when the step that undoes the fault at i was done.
func (ev *evidence) undone(i int) (int64, bool) {
	f := ev.rec.Faults[i]
	for _, later := range ev.rec.Faults[i+1:] {
		if ev.pop(later.Subject) == ev.pop(f.Subject) && slices.Contains(undoes(later.Verb), f.Verb) {
			return later.Done, true
		}
	}
	return 0, false
}

// disagreement is the longest time in which running name servers gave a client different answers: from the start of the
// first question that met it to the end of the next that did not. One that does not answer does not disagree.
func (ev *evidence) disagreement(client, load string, w Window) measured {
	from, to := ev.bounds(w)
	m := measured{found: "0s", cause: "name servers disagree"}
	for _, c := range clients(ev.d.topo) {
		p := pair{c, load}
		if client != "*" && c != client || !sends(ev.d.load(load), c) {
			continue
		}
		asked, answered := 0, 0
		var open *stretch
		var first, within labs.Sample
		weigh := func(end int64, span Span) {
			if open != nil && within.End != 0 && span > m.span {
				m.span, m.at, m.found = span, open.start, fmt.Sprintf("%s (%s)", span, c)
				m.why = []string{fmt.Sprintf("%s from %s to %s: %s", c, ev.clock(open.start), ev.clock(end), ev.opinions(first))}
			}
			open, within = nil, labs.Sample{}
		}
		for _, s := range ev.byPair[p] {
			inside := s.End >= from && s.End < to
			answers := ev.answers(s)
			if inside {
				asked++
				if len(answers) > 0 {
					answered++
				}
			}
			switch {
			case len(answers) > 1 && open == nil:
				open, first = &stretch{start: s.Start}, s
			case len(answers) == 1 && open != nil:
				weigh(s.End, Span(s.End-open.start))
			}
			if len(answers) > 1 && inside {
				within = s
			}
		}
		weigh(ev.end, Forever)
		if asked == 0 || answered == 0 {
			return measured{none: fmt.Sprintf("no name server answered %s in this window", p)}
		}
	}
	return m
}

// answers are the different answers of running name servers to one question, with how many gave each.
func (ev *evidence) answers(s labs.Sample) map[string]int {
	all := map[string]int{}
	for _, v := range s.Views {
		if v.Answer != "" && !ev.silent(v.Node, s.Start) && !ev.silent(v.Node, s.End) {
			all[v.Answer]++
		}
	}
	return all
}

// opinions tells who answered what.
func (ev *evidence) opinions(s labs.Sample) string {
	by := map[string]int{}
	who := map[string][]string{}
	for _, v := range s.Views {
		if v.Answer == "" {
			continue
		}
		by[v.Answer]++
		who[v.Answer] = append(who[v.Answer], fmt.Sprintf("%s (%s)", v.Server, v.Node))
	}
	var parts []string
	for _, answer := range sorted(by) {
		parts = append(parts, answer+" by "+strings.Join(who[answer], ", "))
	}
	return strings.Join(parts, "; ")
}

// seen is how long it took from the first fault on a POP in the window until the last running node held it to be in a
// state. The fault's end, or the window's, ends the wait.
func (ev *evidence) seen(name, state string, w Window) measured {
	pop := ev.pop(name)
	i, ok := ev.d.faultOn(name, w, ev.pop)
	if !ok || i >= len(ev.rec.Faults) {
		return measured{none: fmt.Sprintf("nothing was done to %s in this window", pop)}
	}
	fault := ev.rec.Faults[i]
	_, until := ev.bounds(w)
	if healed, ok := ev.healed(i); ok {
		until = min(until, healed)
	}
	m := measured{at: fault.Start, cause: "noticed too late"}
	looked := 0
	var never []string
	for _, n := range ev.d.topo.Nodes() {
		if ev.silent(n.Name, fault.Start) {
			continue
		}
		looked++
		at, ok := ev.firstView(n.Name, pop, state, fault.Start, until)
		if !ok {
			never = append(never, fmt.Sprintf("%s never held %s to be %s until %s", n.Name, pop, state, ev.clock(until)))
		} else if span := Span(at - fault.Start); span >= m.span {
			m.span = span
			m.why = []string{fmt.Sprintf("the last was %s at %s", n.Name, ev.clock(at))}
		}
	}
	switch {
	case looked == 0:
		return measured{none: "no node runs that could see it"}
	case len(never) > 0:
		m.span, m.cause, m.why = Forever, "not noticed by every node", never[:min(len(never), maxWhy)]
	}
	m.found = m.span.String()
	return m
}

// firstView is when a node first held any service of a POP to be in a state.
func (ev *evidence) firstView(node, pop, state string, from, until int64) (int64, bool) {
	for _, e := range ev.changes {
		if viewed(e, pop) && e.Node == node && e.State == state && e.Mono >= from && e.Mono < until {
			return e.Mono, true
		}
	}
	return 0, false
}

// attracts is the longest time in which a router's best path led to a POP that most running nodes held to be down.
func (ev *evidence) attracts(name string, w Window) measured {
	pop := ev.pop(name)
	from, to := ev.bounds(w)
	down := ev.downTimes(pop, from, to)
	if len(down) == 0 {
		return measured{none: fmt.Sprintf("no majority of the nodes held %s to be down in this window", pop)}
	}
	m := measured{found: "0s", cause: "announces while down"}
	for _, n := range ev.d.topo.Internet.Networks {
		for _, prefix := range ev.prefixes() {
			for _, led := range ev.ledTimes(route{n.Name, prefix.String()}, pop, from, to) {
				for _, d := range down {
					both := stretch{max(led.start, d.start), min(led.end, d.end)}
					if span := Span(both.end - both.start); span > m.span {
						m.span, m.at = span, both.start
						m.found = fmt.Sprintf("%s (%s)", span, n.Name)
						m.why = []string{fmt.Sprintf("%s's best path for %s led to %s from %s to %s, which was held to be down from %s on",
							n.Name, prefix, pop, ev.clock(both.start), ev.clock(both.end), ev.clock(d.start))}
					}
				}
			}
		}
	}
	if !ev.heardAny() {
		return measured{none: "nothing is known of any router's routes"}
	}
	return m
}

func (ev *evidence) heardAny() bool { return len(ev.heard) > 0 }

// ledTimes are when a route led to a POP.
func (ev *evidence) ledTimes(key route, pop string, from, to int64) []stretch {
	now, later := ev.pathAt(key, from, to)
	var all []stretch
	start, there := from, now.has && now.pop == pop
	for _, h := range append(later, hop{at: to}) {
		is := h.has && h.pop == pop
		if there && !is {
			all = append(all, stretch{start, h.at})
		}
		if is && !there {
			start = h.at
		}
		there = is
	}
	return all
}

// downTimes are when more than half of the running nodes held a service of the POP to be down.
func (ev *evidence) downTimes(pop string, from, to int64) []stretch {
	moments := []int64{from, to}
	for _, e := range ev.changes {
		if viewed(e, pop) && e.Mono > from && e.Mono < to {
			moments = append(moments, e.Mono)
		}
	}
	for _, f := range ev.rec.Faults {
		for _, at := range []int64{f.Start, f.Done} {
			if at > from && at < to {
				moments = append(moments, at)
			}
		}
	}
	slices.Sort(moments)
	moments = slices.Compact(moments)
	var all []stretch
	for i := range len(moments) - 1 {
		if !ev.mostlyDown(pop, moments[i]) {
			continue
		}
		if n := len(all); n > 0 && all[n-1].end == moments[i] {
			all[n-1].end = moments[i+1]
		} else {
			all = append(all, stretch{moments[i], moments[i+1]})
		}
	}
	return all
}

func (ev *evidence) mostlyDown(pop string, at int64) bool {
	running, down := 0, 0
	for _, n := range ev.d.topo.Nodes() {
		if ev.silent(n.Name, at) {
			continue
		}
		running++
		if slices.ContainsFunc(services(), func(service string) bool {
			state := ""
			for _, v := range ev.views(n.Name, pop, service) {
				if v.at <= at {
					state = v.state
				}
			}
			return state == "down"
		}) {
			down++
		}
	}
	return 2*down > running
}
