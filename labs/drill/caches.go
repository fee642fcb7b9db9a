package drill

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/catchment-net/catchment/labs"
)

// good picks the good answers of a window, and says if a pair has no request in it.
func (ev *evidence) good(client, load string, w Window) (list []labs.Sample, none string) {
	pairs := ev.chosen(client, load)
	if none = ev.missing(pairs, w); none != "" {
		return nil, none
	}
	list = ev.ended(w, func(s labs.Sample) bool { return s.OK && slices.Contains(pairs, pair{s.Client, s.Load}) })
	if len(list) == 0 {
		none = "no good answer came in this window"
	}
	return list, none
}

// percent prints a share.
func percent(f float64) string { return fmt.Sprintf("%.1f%%", 100*f) }

// latency is a quantile of the time that good answers took, by the nearest rank, of the worst client and load.
func (ev *evidence) latency(client, load string, w Window, q float64) measured {
	list, none := ev.good(client, load, w)
	if none != "" {
		return measured{none: none}
	}
	byPair := map[pair][]labs.Sample{}
	for _, s := range list {
		p := pair{s.Client, s.Load}
		byPair[p] = append(byPair[p], s)
	}
	m := measured{span: -1}
	for _, p := range ev.chosen(client, load) {
		all := byPair[p]
		if len(all) == 0 {
			return measured{none: fmt.Sprintf("%s had no good answer in this window", p)}
		}
		slices.SortStableFunc(all, func(a, b labs.Sample) int { return cmp.Compare(a.End-a.Start, b.End-b.Start) })
		s := all[rank(q, len(all))]
		if took := Span(s.End - s.Start); took > m.span {
			m.span, m.at = took, s.End
			m.found = fmt.Sprintf("%s (%s)", took, p)
			m.why = []string{fmt.Sprintf("%s is the slowest; its answer at %s came from %s after %d tries", p, ev.clock(s.End), s.Node, s.Tries)}
		}
	}
	return m
}

// rank is the index of a quantile among n sorted values, by the nearest rank.
func rank(q float64, n int) int { return max(int(math.Ceil(q*float64(n)))-1, 0) }

// keyedApart is how far apart the hit ratios of two POPs must be to look like different keys.
const keyedApart = 0.5

// hitRatio is the share of good answers that came from the first node's own cache.
func (ev *evidence) hitRatio(client, load string, w Window) measured {
	list, none := ev.good(client, load, w)
	if none != "" {
		return measured{none: none}
	}
	all, hits, first := map[string]int{}, map[string]int{}, map[string]labs.Sample{}
	total := 0
	for _, s := range list {
		all[s.POP]++
		if s.Hit {
			hits[s.POP]++
			total++
		} else if _, ok := first[s.POP]; !ok {
			first[s.POP] = s
		}
	}
	m := measured{num: float64(total) / float64(len(list)), cause: "the caches miss"}
	m.found = percent(m.num)
	low, high := 1.0, 0.0
	for _, pop := range sorted(all) {
		r := float64(hits[pop]) / float64(all[pop])
		low, high = min(low, r), max(high, r)
		line := fmt.Sprintf("%s hit %s of %d answers", pop, percent(r), all[pop])
		if miss, ok := first[pop]; ok {
			line += fmt.Sprintf("; first miss at %s: %s", ev.clock(miss.End), miss.CacheStatus)
		}
		m.why = append(m.why, line)
	}
	if high-low > keyedApart {
		m.cause = "two POPs key one URL differently"
	}
	return m
}

// share is the part of all good answers that one POP gave.
func (ev *evidence) share(name, load string, w Window) measured {
	list, none := ev.good("*", load, w)
	if none != "" {
		return measured{none: none}
	}
	pop, by := ev.pop(name), map[string]int{}
	for _, s := range list {
		by[s.POP]++
	}
	m := measured{num: float64(by[pop]) / float64(len(list)), why: []string{"answers came from " + spread(by)}}
	m.found = percent(m.num)
	return m
}

// through is the part of the answers fetched by other POPs that came by way of a node of the POP. Those whose first node
// may not store them are left out: they bypass every cache.
func (ev *evidence) through(name, load string, w Window) measured {
	list, none := ev.good("*", load, w)
	if none != "" {
		return measured{none: none}
	}
	pop := ev.pop(name)
	fetched, passed := 0, 0
	var m measured
	for _, s := range list {
		hops := hopsOf(s.CacheStatus)
		if s.Hit || s.POP == pop || len(hops) == 0 || !hops[len(hops)-1].fetched() {
			continue
		}
		fetched++
		if slices.ContainsFunc(hops[:len(hops)-1], func(h cacheHop) bool { return ev.popOfNode(h.node) == pop }) {
			passed++
		} else if len(m.why) < maxWhy {
			m.at = s.End
			m.why = append(m.why, fmt.Sprintf("%s/%s at %s: %s fetched without %s: %s", s.Client, s.Load, ev.clock(s.End), s.Node, pop, s.CacheStatus))
		}
	}
	if fetched == 0 {
		return measured{none: "no other POP fetched anything in this window"}
	}
	m.num, m.cause = float64(passed)/float64(fetched), "the shield is bypassed"
	m.found = fmt.Sprintf("%s (%d of %d)", percent(m.num), passed, fetched)
	return m
}

func (ev *evidence) popOfNode(node string) string {
	if n := ev.d.topo.Node(node); n != nil {
		return n.POP.Name
	}
	return ""
}

// cacheHop is one member of Cache-Status: a cache on the way, the origin's side first (RFC 9211 §2).
type cacheHop struct {
	node string
	fwd  string // why it went forward, or ""
}

// fetched reports whether the cache asked upstream for something that it may store.
func (h cacheHop) fetched() bool { return h.fwd != "" && h.fwd != "bypass" && h.fwd != "method" }

func hopsOf(header string) []cacheHop {
	var all []cacheHop
	for _, member := range splitOutside(header, ',') {
		parts := splitOutside(member, ';')
		h := cacheHop{node: strings.Trim(strings.TrimSpace(parts[0]), `"`)}
		for _, p := range parts[1:] {
			if fwd, ok := strings.CutPrefix(strings.TrimSpace(p), "fwd="); ok {
				h.fwd = fwd
			}
		}
		if h.node != "" {
			all = append(all, h)
		}
	}
	return all
}

// splitOutside splits s at sep, but not within quoted strings (RFC 9651 §3.3.3).
func splitOutside(s string, sep byte) []string {
	var parts []string
	quoted, start := false, 0
	for i := 0; i < len(s); i++ {
		switch {
		case quoted && s[i] == '\\':
			i++
		case s[i] == '"':
			quoted = !quoted
		case s[i] == sep && !quoted:
			parts = append(parts, s[start:i])
			start = i + 1
		}
	}
	return append(parts, s[start:])
}

// originRequests is how many requests an origin had: the difference of the last readings up to the window's two ends.
func (ev *evidence) originRequests(host string, w Window) measured {
	from, to := ev.bounds(w)
	var first, last *OriginReading
	for i := range ev.rec.Origins {
		r := &ev.rec.Origins[i]
		if r.Host != host || r.At >= to {
			continue
		}
		if r.At <= from || first == nil {
			first = r
		}
		last = r
	}
	if first == nil || first == last {
		return measured{none: fmt.Sprintf("this lab did not count the requests at origin %q in this window", host)}
	}
	m := measured{num: float64(last.Requests - first.Requests), cause: "the caches miss"}
	m.found = fmt.Sprint(last.Requests - first.Requests)
	m.why = []string{fmt.Sprintf("%d requests by %s, %d by %s", first.Requests, ev.clock(first.At), last.Requests, ev.clock(last.At))}
	return m
}
