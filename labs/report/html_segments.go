package report

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"github.com/catchment-net/catchment/internal/event"
	"github.com/catchment-net/catchment/labs"
	"github.com/catchment-net/catchment/labs/drill"
)

// change is a state that begins at a moment and lasts until the next one.
type change struct {
	at drill.Span
	segment
}

// strip makes segments of changes in the order of time. A change to what was there already becomes a mark.
func (tr *trace) strip(label, sub string, changes []change) row {
	out := row{Label: label, Sub: sub, Segments: []segment{}}
	end := clock(tr.length)
	for _, c := range changes {
		at := max(clock(c.at), 0)
		if at > end {
			continue
		}
		last := len(out.Segments) - 1
		if last >= 0 {
			out.Segments[last].To = at
			if is := out.Segments[last]; is.Kind == c.Kind && is.Text == c.Text {
				out.Segments[last].To = end
				out.Marks = append(out.Marks, at)
				continue
			}
		}
		c.From, c.To = at, end
		out.Segments = append(out.Segments, c.segment)
	}
	out.Segments = slices.DeleteFunc(out.Segments, func(s segment) bool { return s.To <= s.From })
	return out
}

// routeRows has a row for each router and prefix: the POP to which the best path leads.
func (tr *trace) routeRows(before []labs.RouterStatus) []row {
	type key struct{ router, prefix string }
	var order []key
	changes := map[key][]change{}
	add := func(k key, c change) {
		if changes[k] == nil {
			order = append(order, k)
		}
		changes[k] = append(changes[k], c)
	}
	for _, r := range before {
		for _, prefix := range byFamily(sortedKeys(r.Best)) {
			b := r.Best[prefix]
			add(key{r.Name, prefix}, change{0, segment{Kind: "pop", POP: b.POP, Text: b.POP, Why: "when the clock started, via " + orDash(b.Via)}})
		}
	}
	for _, e := range tr.events {
		if e.Kind != event.Best {
			continue
		}
		k := key{e.Node, e.Subject}
		if changes[k] == nil && tr.at(e.Mono) > 0 {
			add(k, change{0, segment{Kind: "unknown", Text: "not recorded"}})
		}
		s := segment{Kind: "pop", POP: e.Detail["pop"], Text: cmp.Or(e.Detail["pop"], "?"), Why: tells(e)}
		if e.State == "withdrawn" {
			s = segment{Kind: "none", Text: "no route", Why: tells(e)}
		}
		add(k, change{tr.at(e.Mono), s})
	}
	rows := []row{}
	for _, k := range order {
		rows = append(rows, tr.strip(k.router, k.prefix, changes[k]))
	}
	return rows
}

// byFamily sorts prefixes: IPv4 first.
func byFamily(prefixes []string) []string {
	slices.SortStableFunc(prefixes, func(a, b string) int {
		x, _ := netip.ParsePrefix(a)
		y, _ := netip.ParsePrefix(b)
		return cmp.Or(cmp.Compare(x.Addr().BitLen(), y.Addr().BitLen()), cmp.Compare(a, b))
	})
	return prefixes
}

// answerRows has a row for each client and load: the DNS answers by which its requests went, as the report holds them,
// with a mark for each answer that was received.
func (tr *trace) answerRows(r *drill.Report) []row {
	rows := []row{}
	for _, c := range r.Clients {
		for _, load := range sortedKeys(c.Loads) {
			out := row{Label: c.Client, Sub: load, Segments: []segment{}, Marks: tr.received(pair{c.Client, load})}
			for _, a := range c.Loads[load].Answers {
				out.Segments = append(out.Segments, answer(a))
			}
			rows = append(rows, out)
		}
	}
	return rows
}

// received are the moments at which a pair got DNS answers.
func (tr *trace) received(p pair) []float64 {
	var list []float64
	for _, s := range tr.byPair[p] {
		if s.DNSFresh && s.DNSTime >= tr.zero {
			list = append(list, clock(tr.at(s.DNSTime)))
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// answer is a DNS answer as a segment.
func answer(a drill.AnswerSpan) segment {
	s := segment{From: max(clock(a.From), 0), To: clock(a.To), Kind: "pop", POP: a.Answer, Text: a.Answer}
	if a.Answer == "anycast" || a.Answer == "empty" {
		s.Kind, s.POP = a.Answer, ""
	}
	s.Why = "given first by " + server(labs.Sample{DNSServer: a.Server, DNSNode: a.Node})
	return s
}

// view is one node's view of one POP.
type view struct{ node, pop string }

// viewRows has a row for each node and POP of which the node's view changed: the states of its services.
func (tr *trace) viewRows(r *drill.Report) ([]row, string) {
	states, changes := tr.firstViews(r)
	var nodes []string
	for _, e := range tr.events {
		pop, service, ok := viewed(e)
		if e.Kind != event.Health || !ok {
			continue
		}
		k := view{e.Node, pop}
		if !slices.Contains(nodes, e.Node) {
			nodes = append(nodes, e.Node)
		}
		states[k][service] = e.State
		changes[k] = append(changes[k], change{tr.at(e.Mono), combined(states[k], tells(e))})
	}
	slices.Sort(nodes)
	rows := []row{}
	var calm []string
	for _, node := range nodes {
		for _, pop := range tr.pops {
			k := view{node, pop}
			if changes[k] == nil {
				calm = append(calm, node+" of "+pop)
				continue
			}
			rows = append(rows, tr.strip(node, "sees "+pop, tr.blinded(r, node, changes[k])))
		}
	}
	if len(calm) == 0 {
		return rows, ""
	}
	return rows, "Not shown, since nothing changed: the view of " + strings.Join(calm, ", ") + "."
}

// firstViews are the states when the clock started: an event names the one that it ended. What a node says after it was
// killed tells nothing of the time before.
func (tr *trace) firstViews(r *drill.Report) (map[view]map[string]string, map[view][]change) {
	states, changes := map[view]map[string]string{}, map[view][]change{}
	for _, e := range tr.events {
		pop, service, ok := viewed(e)
		if e.Kind != event.Health || !ok {
			continue
		}
		k := view{e.Node, pop}
		if states[k] == nil {
			states[k] = map[string]string{}
		}
		if _, known := states[k][service]; !known && e.Detail["was"] != "" && !tr.killed(r, e) {
			states[k][service] = e.Detail["was"]
		}
	}
	for k, services := range states {
		first := segment{Kind: "unknown", Text: "not recorded"}
		if len(services) > 0 {
			first = combined(services, "when the clock started")
		}
		changes[k] = []change{{0, first}}
	}
	return states, changes
}

// killed reports whether the node of an event had been killed before it.
func (tr *trace) killed(r *drill.Report, e event.Event) bool {
	return slices.ContainsFunc(r.Faults, func(f drill.FaultReport) bool {
		return f.Verb == labs.Kill && f.At < tr.at(e.Mono) && tr.blinds(f, e.Node)
	})
}

// blinds reports whether a fault hits all of a node.
func (tr *trace) blinds(f drill.FaultReport, node string) bool {
	return f.Target == node || f.Target == tr.home[node]
}

// combined is the state of a POP's services in one segment: the worst, and of which.
func combined(states map[string]string, why string) segment {
	rank := []string{"up", "unknown", "degraded", "draining", "down"}
	worst, same := "", true
	for _, service := range sortedKeys(states) {
		state := states[service]
		same = same && (worst == "" || worst == state)
		if slices.Index(rank, state) > slices.Index(rank, worst) {
			worst = state
		}
	}
	text := worst
	if !same {
		var which []string
		for _, service := range sortedKeys(states) {
			if states[service] == worst {
				which = append(which, service)
			}
		}
		text = strings.Join(which, " ") + " " + worst
	}
	return segment{Kind: worst, Text: text, Why: why}
}

// blinded adds the times at which a node had no view, since it was killed or frozen. One that is thawed goes on with what
// it had; one that was killed begins anew, and says so.
func (tr *trace) blinded(r *drill.Report, node string, changes []change) []change {
	var frozen *drill.FaultReport
	for i, f := range r.Faults {
		if !tr.blinds(f, node) {
			continue
		}
		switch {
		case f.Verb == labs.Kill || f.Verb == labs.Freeze:
			frozen = nil
			if f.Verb == labs.Freeze {
				frozen = &r.Faults[i]
			}
			changes = append(changes, change{f.At, segment{Kind: "unknown", Text: "no view", Why: f.Target + " " + done(f)}})
		case frozen != nil && undone(f.Verb):
			if had, ok := lastBefore(changes, frozen.At); ok {
				changes = append(changes, change{f.At, had})
			}
			frozen = nil
		}
	}
	slices.SortStableFunc(changes, func(a, b change) int { return cmp.Compare(a.at, b.at) })
	return changes
}

// lastBefore is the state in which a row was at a moment.
func lastBefore(changes []change, at drill.Span) (segment, bool) {
	var last segment
	ok := false
	for _, c := range changes {
		if c.at < at {
			last, ok = c.segment, true
		}
	}
	return last, ok
}
