package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/catchment-net/catchment/internal/event"
	"github.com/catchment-net/catchment/labs"
	"github.com/catchment-net/catchment/labs/drill"
)

// pair is one client and one load.
type pair struct{ client, load string }

func (p pair) String() string { return p.client + "/" + p.load }

// trace is what a report recorded, in the order of time.
type trace struct {
	zero   int64
	length drill.Span
	pairs  []pair
	byPair map[pair][]labs.Sample // begun from the clock's start on, in the order of their starts
	events []event.Event
	pops   []string
	home   map[string]string // node -> its POP, as far as answers tell
}

func newTrace(r *drill.Report) *trace {
	tr := &trace{zero: r.Zero, length: r.Length, byPair: map[pair][]labs.Sample{}, home: map[string]string{}, events: slices.Clone(r.Events)}
	for _, c := range r.Clients {
		for _, load := range sortedKeys(c.Loads) {
			tr.pairs = append(tr.pairs, pair{c.Client, load})
		}
	}
	for _, s := range r.Samples {
		if s.Start >= r.Zero {
			p := pair{s.Client, s.Load}
			tr.byPair[p] = append(tr.byPair[p], s)
		}
		if s.Node != "" && s.POP != "" {
			tr.home[s.Node] = s.POP
		}
	}
	for _, list := range tr.byPair {
		slices.SortStableFunc(list, func(a, b labs.Sample) int { return cmp.Compare(a.Start, b.Start) })
	}
	slices.SortStableFunc(tr.events, func(a, b event.Event) int { return cmp.Compare(a.Mono, b.Mono) })
	tr.findPOPs(r)
	return tr
}

// findPOPs names every POP that the report speaks of, in the order in which colours are given out.
func (tr *trace) findPOPs(r *drill.Report) {
	seen := map[string]bool{}
	for _, list := range tr.byPair {
		for _, s := range list {
			seen[s.POP] = true
			for p := range strings.SplitSeq(s.DNSPOP, "+") {
				seen[p] = true
			}
		}
	}
	for _, e := range tr.events {
		switch e.Kind {
		case event.Best:
			seen[e.Detail["pop"]] = true
		case event.Health:
			if pop, _, ok := viewed(e); ok {
				seen[pop] = true
			}
		}
	}
	for _, router := range baseline(r) {
		for _, b := range router.Best {
			seen[b.POP] = true
		}
	}
	delete(seen, "")
	tr.pops = sortedKeys(seen)
}

// viewed splits the subject of a health event about a POP: "pop/ams/web".
func viewed(e event.Event) (pop, service string, ok bool) {
	rest, ok := strings.CutPrefix(e.Subject, "pop/")
	if !ok {
		return "", "", false
	}
	return strings.Cut(rest, "/")
}

// at is a moment on the drill's clock.
func (tr *trace) at(mono int64) drill.Span { return drill.Span(mono - tr.zero) }

// lastLost is when the last request failed. ok is false without samples.
func (tr *trace) lastLost() (drill.Span, bool) {
	last, ok := drill.Span(0), false
	for _, list := range tr.byPair {
		for _, s := range list {
			if !s.OK && tr.at(s.End) <= tr.length {
				last, ok = max(last, tr.at(s.End)), true
			}
		}
	}
	return last, ok
}

// steered is how a client's load finds its POP: "anycast" or "GeoDNS"; "" if no samples tell.
func (tr *trace) steered(p pair) string {
	how := ""
	for _, s := range tr.byPair[p] {
		if s.DNSPOP != "" {
			return "GeoDNS"
		}
		if len(s.DNSAddrs) > 0 {
			how = "anycast"
		}
	}
	return how
}

// starved is how many times its usual distance the pause between two requests of one client and load must last before
// we say that the machine was starved, and how long it must be at least: clients send by the clock, whatever happens.
const (
	starvedTimes = 4
	starvedLeast = 250 * time.Millisecond
)

// warnings are what a reader must know before believing the numbers.
func warnings(r *drill.Report, tr *trace) []string {
	var list []string
	if r.Incomplete != "" {
		list = append(list, "The run is incomplete: "+r.Incomplete+".")
	}
	list = append(list, r.Warnings...)
	if line := tr.starved(); line != "" && len(r.Warnings) == 0 {
		list = append(list, line)
	}
	if late, by := latest(r.Faults); by > 100*time.Millisecond {
		list = append(list, fmt.Sprintf("The step %q began %s after it was due: the machine was busy.", late.Verb+" "+labs.Verb(late.Target), span(drill.Span(by))))
	}
	if len(r.Samples) == 0 {
		list = append(list, "This report holds no recorded requests and events, so its lanes are empty; a run with --samples keeps them.")
	}
	return list
}

func (tr *trace) starved() string {
	var worst time.Duration
	var where pair
	var since int64
	n := 0
	for _, p := range tr.pairs {
		list := tr.byPair[p]
		if len(list) < 8 {
			continue
		}
		gaps := make([]int64, len(list)-1)
		for i := range gaps {
			gaps[i] = list[i+1].Start - list[i].Start
		}
		usual := slices.Sorted(slices.Values(gaps))[len(gaps)/2]
		for i, g := range gaps {
			if g < starvedTimes*usual || g < int64(starvedLeast) {
				continue
			}
			n++
			if time.Duration(g) > worst {
				worst, where, since = time.Duration(g), p, list[i].Start
			}
		}
	}
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("The machine was starved: %s began no request for %s from %s on (%s such pauses in all). Times measured then are too long, and requests are missing.",
		where, span(drill.Span(worst)), moment(tr.at(since)), count(n))
}

func latest(faults []drill.FaultReport) (drill.FaultReport, time.Duration) {
	var late drill.FaultReport
	var by time.Duration
	for _, f := range faults {
		if d := time.Duration(f.At - f.Due); d > by {
			late, by = f, d
		}
	}
	return late, by
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
