package drill

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/catchment-net/catchment/labs"
)

// measured is what a term came to in one run.
type measured struct {
	span  Span
	num   float64
	pops  map[string]int // of a POP term: POP -> samples
	found string         // the value, for people
	why   []string       // what led to it
	at    int64          // the moment to look at first; 0 if none
	unit  string         // "s", "share", "count"; "" for a POP
	cause string         // the defect that it looks like if the expectation does not hold
	none  string         // why there is no evidence; the expectation fails then
	each  func(pop string) (at int64, why string)
}

// maxWhy bounds the lines that explain one failure.
const maxWhy = 8

// term measures one side of a comparison.
func (ev *evidence) term(n *node, w Window) measured {
	switch n.kind {
	case numberNode:
		return measured{num: n.num, found: n.text}
	case durationNode:
		return measured{span: Span(n.dur), found: n.text}
	case shareNode:
		return measured{num: n.num, found: n.text}
	case callNode:
		m := ev.call(n, w)
		m.unit = units()[functions()[n.text].result]
		return m
	}
	if slices.Contains(reserved(), n.text) {
		m := ev.count(n.text, "*", "", w)
		m.unit = units()[countType]
		return m
	}
	pop := ev.pop(n.text)
	found := pop
	if pop != n.text {
		found = fmt.Sprintf("%s (%s)", pop, n.text)
	}
	return measured{pops: map[string]int{pop: 1}, found: found}
}

func (ev *evidence) call(n *node, w Window) measured {
	var args [2]string
	for i, a := range n.args {
		args[i] = a.text
	}
	switch n.text {
	case "catchment":
		return ev.landed(pair{args[0], args[1]}, w)
	case "dns":
		return ev.steered(pair{args[0], args[1]}, w)
	case "outage":
		return ev.outage(args[0], args[1], w)
	case "p50":
		return ev.latency(args[0], args[1], w, 0.5)
	case "p99":
		return ev.latency(args[0], args[1], w, 0.99)
	case "hit_ratio":
		return ev.hitRatio(args[0], args[1], w)
	case "share":
		return ev.share(args[0], args[1], w)
	case "through":
		return ev.through(args[0], args[1], w)
	case "disagreement":
		return ev.disagreement(args[0], args[1], w)
	case "routes":
		return ev.routes(args[0], w)
	case "updates":
		return ev.updates(args[0], w)
	case "flaps":
		return ev.flaps(args[0], w)
	case "withdrawal":
		return ev.withdrawal(args[0], w)
	case "seen":
		return ev.seen(args[0], args[1], w)
	case "attracts":
		return ev.attracts(args[0], w)
	case "origin_requests":
		return ev.originRequests(args[0], w)
	}
	return ev.count(n.text, args[0], args[1], w)
}

// units are the report's names for what a number counts.
func units() map[valueType]string {
	return map[valueType]string{durationType: "s", shareType: "share", countType: "count"}
}

// chosen are the pairs of a client (or of any, "*") and a load (or of any, ""), those of a DNS load left out.
func (ev *evidence) chosen(client, load string) []pair {
	var all []pair
	for _, p := range ev.pairs {
		if (client == "*" || p.client == client) && (load == "" || p.load == load) {
			all = append(all, p)
		}
	}
	return all
}

// missing names the pairs without a sample in the window, or "".
func (ev *evidence) missing(pairs []pair, w Window) string {
	seen := map[pair]bool{}
	for _, s := range ev.ended(w, func(labs.Sample) bool { return true }) {
		seen[pair{s.Client, s.Load}] = true
	}
	var without []string
	for _, p := range pairs {
		if !seen[p] {
			without = append(without, p.String())
		}
	}
	if len(without) == 0 && len(pairs) > 0 {
		return ""
	}
	if len(pairs) == 0 {
		return "no load with get is sent"
	}
	return "no request ended in this window from " + strings.Join(without, ", ")
}

// count is lost, wrong_bodies or empty_answers.
func (ev *evidence) count(name, client, load string, w Window) measured {
	pairs := ev.chosen(client, load)
	if none := ev.missing(pairs, w); none != "" {
		return measured{none: none}
	}
	list := ev.ended(w, func(s labs.Sample) bool {
		if !slices.Contains(pairs, pair{s.Client, s.Load}) {
			return false
		}
		switch name {
		case "lost":
			return !s.OK
		case "wrong_bodies":
			return s.WrongBody
		}
		return s.DNSEmpty
	})
	m := measured{num: float64(len(list)), found: fmt.Sprint(len(list))}
	if len(list) > 0 {
		m.at = list[0].End
		m.why, m.cause = ev.errors(list), ev.causeOf(list)
	}
	return m
}

// errors groups failed samples by client, load and error; the most frequent first.
func (ev *evidence) errors(list []labs.Sample) []string {
	type group struct {
		what  string
		n     int
		first labs.Sample
	}
	var groups []*group
	index := map[string]*group{}
	for _, s := range list {
		what := cmp.Or(s.Error, s.DNSError, "no error was recorded")
		key := s.Client + s.Load + what
		if s.WrongBody { // no two such errors are alike: they name cookies and bytes
			key = s.Client + s.Load
		}
		if index[key] == nil {
			index[key] = &group{what: what, first: s}
			groups = append(groups, index[key])
		}
		index[key].n++
	}
	slices.SortStableFunc(groups, func(a, b *group) int { return b.n - a.n })
	var lines []string
	for i, g := range groups {
		if i == maxWhy-1 && len(groups) > maxWhy {
			lines = append(lines, fmt.Sprintf("and %d further kinds", len(groups)-i))
			break
		}
		by := ""
		if g.first.Node != "" {
			by = " (answered by " + g.first.Node + ")"
		}
		lines = append(lines, fmt.Sprintf("%d × %s/%s, first at %s: %s%s", g.n, g.first.Client, g.first.Load, ev.clock(g.first.End), g.what, by))
	}
	return lines
}

// landed is catchment().
func (ev *evidence) landed(p pair, w Window) measured {
	list := ev.ended(w, func(s labs.Sample) bool { return pair{s.Client, s.Load} == p && s.Status != 0 })
	if len(list) == 0 {
		return measured{none: fmt.Sprintf("%s got no answer in this window", p)}
	}
	return ev.tally(list, func(s labs.Sample) string { return cmp.Or(s.POP, "unknown") }, func(s labs.Sample) string {
		return fmt.Sprintf("%s was served by %s at %s over %s", p, cmp.Or(s.Node, "an unknown node"), ev.clock(s.End), s.Addr)
	})
}

// steered is dns().
func (ev *evidence) steered(p pair, w Window) measured {
	list := ev.ended(w, func(s labs.Sample) bool {
		return pair{s.Client, s.Load} == p && (len(s.DNSAddrs) > 0 || s.DNSEmpty)
	})
	if len(list) == 0 {
		return measured{none: fmt.Sprintf("%s had no DNS answer in this window", p)}
	}
	value := steeredBy
	m := ev.tally(list, value, func(s labs.Sample) string {
		return fmt.Sprintf("%s went by an answer for %s at %s: %s (%s) gave it at %s", p, value(s), ev.clock(s.End), s.DNSServer,
			cmp.Or(s.DNSNode, "a name server without NSID"), ev.clock(s.DNSTime))
	})
	m.cause = ev.causeOfSteering(list)
	return m
}

// tally counts what samples say.
func (ev *evidence) tally(list []labs.Sample, value, tell func(labs.Sample) string) measured {
	m := measured{pops: map[string]int{}}
	first, last := map[string]labs.Sample{}, map[string]labs.Sample{}
	for _, s := range list {
		v := value(s)
		if m.pops[v] == 0 {
			first[v] = s
		}
		m.pops[v]++
		last[v] = s
	}
	m.found = spread(m.pops)
	m.each = func(pop string) (int64, string) {
		why := tell(first[pop])
		if first[pop].End != last[pop].End {
			why += ", and so until " + ev.clock(last[pop].End)
		}
		return last[pop].End, why
	}
	return m
}

// spread prints "nyc (83 samples), ams (2 samples)", most frequent first.
func spread(pops map[string]int) string {
	order := make([]string, 0, len(pops))
	for p := range pops {
		order = append(order, p)
	}
	slices.SortFunc(order, func(a, b string) int { return cmp.Or(pops[b]-pops[a], cmp.Compare(a, b)) })
	if len(order) == 1 {
		return order[0]
	}
	for i, p := range order {
		order[i] = fmt.Sprintf("%s (%d samples)", p, pops[p])
	}
	return strings.Join(order, ", ")
}

// routes is the least number of routes of a router to any anycast prefix.
func (ev *evidence) routes(router string, w Window) measured {
	if !ev.heard[router] {
		return measured{none: fmt.Sprintf("nothing is known of the routes of %q", router)}
	}
	from, to := ev.bounds(w)
	m := measured{num: 1, found: "1"}
	for _, prefix := range ev.prefixes() {
		now, later := ev.pathAt(route{router, prefix.String()}, from, to)
		gone, since := !now.has, from
		for _, h := range append(later, hop{at: to, has: true}) {
			if gone && (h.has || h.at == to) {
				m.num, m.found, m.cause = 0, "0", "the anycast prefix is gone"
				m.why = append(m.why, fmt.Sprintf("%s had no route to %s from %s to %s", router, prefix, ev.clock(since), ev.clock(h.at)))
				if m.at == 0 {
					m.at = since
				}
			}
			if !gone && !h.has {
				since = h.at
			}
			gone = !h.has
		}
	}
	return m
}

// withdrawal is how long routes led to a POP after its fault.
func (ev *evidence) withdrawal(name string, w Window) measured {
	pop := ev.pop(name)
	i, ok := ev.d.faultOn(name, w, ev.pop)
	if !ok || i >= len(ev.rec.Faults) {
		return measured{none: fmt.Sprintf("nothing was done to %s in this window", pop)}
	}
	fault := ev.rec.Faults[i]
	until := ev.until(fault)
	var m measured
	var late []string
	used := false
	for _, net := range ev.d.topo.Internet.Networks {
		for _, prefix := range ev.prefixes() {
			span, led := ev.leading(route{net.Name, prefix.String()}, fault.Start, until, pop)
			if !led {
				continue
			}
			used = true
			if span == Forever {
				late = append(late, fmt.Sprintf("%s's best path for %s still led to %s at %s", net.Name, prefix, pop, ev.clock(until)))
			}
			if span >= m.span {
				m.span = span
				m.why = []string{fmt.Sprintf("the last was %s's best path for %s", net.Name, prefix)}
			}
		}
	}
	if !used {
		return measured{none: fmt.Sprintf("no router's best path led to %s when the %s came", pop, fault.Verb)}
	}
	m.cause = "withdraws too late"
	if len(late) > 0 {
		m.why = late[:min(len(late), maxWhy)]
		m.cause = "never withdraws"
		if ev.oneFamily(fault, until, pop) {
			m.cause = "withdraws one address family only"
		}
	}
	m.found, m.at = m.span.String(), fault.Start
	return m
}

// until is when the next step of the timeline after a fault began, or the end of the drill.
func (ev *evidence) until(fault FaultRecord) int64 {
	for _, f := range ev.rec.Faults {
		if f.At > fault.At {
			return f.Start
		}
	}
	return ev.end
}

// outage is the longest outage of a client (or of any, "*") and a load (or of any, "").
func (ev *evidence) outage(client, load string, w Window) measured {
	pairs := ev.chosen(client, load)
	if none := ev.missing(pairs, w); none != "" {
		return measured{none: none}
	}
	from, to := ev.bounds(w)
	m := measured{found: "0s"}
	for _, p := range pairs {
		for _, o := range ev.outages(p) {
			if !o.touches(from, to) || o.Total <= m.span {
				continue
			}
			m.span, m.at = o.Total, o.start
			m.found = fmt.Sprintf("%s (%s)", o.Total, p)
			m.why, m.cause = ev.explain(p, o), ev.causeOf(o.failed)
		}
	}
	return m
}

// explain tells where an outage's time went.
func (ev *evidence) explain(p pair, o Outage) []string {
	end := "no good answer until the end"
	if o.end >= 0 {
		end = "first good answer at " + ev.clock(o.end)
	}
	lines := []string{fmt.Sprintf("%s lost %d requests from %s on; %s; last error: %s", p, o.Lost, ev.clock(o.start), end, o.Error)}
	if o.Detection == nil {
		return append(lines, "no step of the timeline came before it")
	}
	if *o.Detection == Forever {
		return append(lines, fmt.Sprintf("nobody ever noticed %q", o.Cause))
	}
	lines = append(lines, fmt.Sprintf("after %q: detection %s, convergence %s, then %s", o.Cause, o.Detection, o.Convergence, o.TTLWait))
	last := o.failed[len(o.failed)-1]
	if last.DNSPOP != "" {
		lines = append(lines, fmt.Sprintf("its last failed request went by an answer for %s that %s (%s) gave at %s", last.DNSPOP, last.DNSServer,
			cmp.Or(last.DNSNode, "a name server without NSID"), ev.clock(last.DNSTime)))
	}
	return lines
}
