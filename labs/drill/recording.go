package drill

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"time"

	"github.com/catchment-net/catchment/internal/event"
	"github.com/catchment-net/catchment/labs"
)

// Recording is all that is known of one run: what Evaluate judges. Moments are CLOCK_MONOTONIC nanoseconds.
type Recording struct {
	Lab, Runner string
	Seed        uint64
	Started     time.Time // when the clock started, for people
	Zero        int64     // when the clock started
	Routers     []labs.RouterStatus
	Lets        map[string]string // let -> POP
	Faults      []FaultRecord     // one for each of Drill.Steps that was begun, in their order
	Samples     []labs.Sample     // in any order; those begun before Zero do no harm
	Events      []event.Event     // in any order; kinds that Evaluate does not know do no harm
	Origins     []OriginReading   // in the order of time
	Lateness    Lateness
}

// OriginReading is how many requests an origin had had at a moment.
type OriginReading struct {
	At       int64
	Host     string
	Requests int64
}

// FaultRecord is one step as it was carried out.
type FaultRecord struct {
	labs.Fault
	At          time.Duration // when it was due
	Start, Done int64         // when the lab was asked, and when it had done it
}

// Span is a time that may have no end. In JSON it is seconds, or null for Forever.
type Span time.Duration

// Forever is longer than any drill.
const Forever = Span(math.MaxInt64)

// String rounds to what people read: milliseconds, or microseconds below one.
func (s Span) String() string {
	d := time.Duration(s)
	switch {
	case s == Forever:
		return "forever"
	case d > -time.Millisecond && d < time.Millisecond:
		return d.Round(time.Microsecond).String()
	}
	return d.Round(time.Millisecond).String()
}

// MarshalJSON writes seconds with microseconds, or null.
func (s Span) MarshalJSON() ([]byte, error) {
	if s == Forever {
		return []byte("null"), nil
	}
	return fmt.Appendf(nil, "%.6f", time.Duration(s).Seconds()), nil
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (s *Span) UnmarshalJSON(text []byte) error {
	var seconds *float64
	if err := json.Unmarshal(text, &seconds); err != nil {
		return fmt.Errorf("decode span %q: %w", text, err)
	}
	*s = Forever
	if seconds != nil {
		*s = Span(math.Round(*seconds * 1e9))
	}
	return nil
}

// pair is one client and one load.
type pair struct{ client, load string }

func (p pair) String() string { return p.client + "/" + p.load }

// hop is where a router's best path leads from a moment on.
type hop struct {
	at  int64
	has bool
	pop string
	via string
}

// route is one anycast prefix at one router.
type route struct{ router, prefix string }

// evidence is a recording, sorted and indexed.
type evidence struct {
	d       *Drill
	rec     *Recording
	end     int64                  // when the drill ended
	pairs   []pair                 // of loads with a URL
	byEnd   []labs.Sample          // begun from Zero on, in the order of their ends
	byPair  map[pair][]labs.Sample // the same in the order of their starts
	paths   map[route][]hop        // in the order of time; the first is the baseline
	heard   map[string]bool        // routers of which anything is known
	changes []event.Event          // in the order of time
}

func newEvidence(d *Drill, rec *Recording) *evidence {
	ev := &evidence{
		d: d, rec: rec, end: rec.Zero + int64(d.End), byPair: map[pair][]labs.Sample{},
		paths: map[route][]hop{}, heard: map[string]bool{}, changes: slices.Clone(rec.Events),
	}
	for _, c := range clients(d.topo) {
		for i := range d.Loads {
			if d.Loads[i].DNS == "" && sends(&d.Loads[i], c) {
				ev.pairs = append(ev.pairs, pair{c, d.Loads[i].Name})
			}
		}
	}
	for _, s := range rec.Samples {
		if s.Start < rec.Zero {
			continue // begun while the lab was still converging
		}
		p := pair{s.Client, s.Load}
		ev.byPair[p] = append(ev.byPair[p], s)
		ev.byEnd = append(ev.byEnd, s)
	}
	slices.SortStableFunc(ev.byEnd, func(a, b labs.Sample) int { return cmp.Compare(a.End, b.End) })
	for _, list := range ev.byPair {
		slices.SortStableFunc(list, func(a, b labs.Sample) int { return cmp.Compare(a.Start, b.Start) })
	}
	slices.SortStableFunc(ev.changes, func(a, b event.Event) int { return cmp.Compare(a.Mono, b.Mono) })
	ev.readPaths()
	return ev
}

// readPaths builds every router's history: the baseline, then its Best events.
func (ev *evidence) readPaths() {
	for _, r := range ev.rec.Routers {
		ev.heard[r.Name] = true
		for prefix, best := range r.Best {
			ev.paths[route{r.Name, prefix}] = []hop{{math.MinInt64, true, best.POP, best.Via}}
		}
	}
	for _, e := range ev.changes {
		if e.Kind != event.Best {
			continue
		}
		ev.heard[e.Node] = true
		key := route{e.Node, e.Subject}
		ev.paths[key] = append(ev.paths[key], hop{e.Mono, e.State != "withdrawn", e.Detail["pop"], e.Detail["via"]})
	}
}

// pathAt is the state of a route at a moment, and the changes after it until to.
func (ev *evidence) pathAt(key route, from, to int64) (now hop, later []hop) {
	for _, h := range ev.paths[key] {
		switch {
		case h.at <= from:
			now = h
		case h.at < to:
			later = append(later, h)
		}
	}
	return now, later
}

func (ev *evidence) prefixes() []netip.Prefix { return ev.d.topo.Anycast.Prefixes }

// bounds are a window's moments. The end of the drill belongs to a window that reaches it.
func (ev *evidence) bounds(w Window) (from, to int64) {
	from, to = ev.rec.Zero+int64(w.From), ev.rec.Zero+int64(w.To)
	if w.To == ev.d.End {
		to++
	}
	return from, to
}

// ended picks the samples of a window that keep asks for.
func (ev *evidence) ended(w Window, keep func(labs.Sample) bool) []labs.Sample {
	from, to := ev.bounds(w)
	var list []labs.Sample
	for _, s := range ev.byEnd {
		if s.End >= from && s.End < to && keep(s) {
			list = append(list, s)
		}
	}
	return list
}

// clock is a moment on the drill's clock, for people.
func (ev *evidence) clock(mono int64) string { return Span(mono - ev.rec.Zero).String() }

// pop resolves a let.
func (ev *evidence) pop(name string) string {
	if p, ok := ev.rec.Lets[name]; ok {
		return p
	}
	return name
}
