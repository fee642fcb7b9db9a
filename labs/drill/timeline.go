package drill

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/catchment-net/catchment/internal/event"
	"github.com/catchment-net/catchment/labs"
)

// significant reports whether people want to see an event on the timeline.
func significant(e event.Event) bool {
	switch e.Kind {
	case event.Fault, event.Best, event.Announce, event.Health, event.Intent, event.Process, event.Session, event.Path:
		return true
	}
	return false
}

// describe is an event in one line: who, what, cause.
func describe(e event.Event) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-9s %-8s %s", e.Node, e.Kind, e.Subject)
	switch {
	case e.Kind == event.Best && e.State != "withdrawn":
		fmt.Fprintf(&b, " → %s", e.Detail["pop"])
		if via := e.Detail["via"]; via != "" && via != e.Detail["pop"] {
			fmt.Fprintf(&b, " via %s", via)
		}
	case e.Kind == event.Best:
		b.WriteString(" → no route")
	case e.State != "":
		b.WriteString(" " + e.State)
	}
	if e.Cause != "" {
		fmt.Fprintf(&b, "  (%s)", e.Cause)
	}
	return b.String()
}

// together is how far apart changes of two prefixes count as one, in nanoseconds: a withdrawal of IPv4 and IPv6 reaches a
// router in two messages.
const together = int64(20 * time.Millisecond)

// merged sorts changes by time and makes one of those that differ in their prefix alone, such as IPv4 and IPv6 of one
// router: the subjects stand one after the other. The later ones of each must be at most together behind the first.
func merged(list []event.Event) []event.Event {
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b event.Event) int { return cmp.Compare(a.Mono, b.Mono) })
	var out []event.Event
	for _, e := range list {
		i := slices.IndexFunc(out, func(o event.Event) bool {
			return (o.Kind == event.Best || o.Kind == event.Announce) && o.Kind == e.Kind && o.Node == e.Node && o.State == e.State &&
				o.Cause == e.Cause && maps.Equal(o.Detail, e.Detail) && e.Mono-o.Mono <= together &&
				!slices.Contains(strings.Fields(o.Subject), e.Subject)
		})
		if i < 0 {
			out = append(out, e)
			continue
		}
		out[i].Subject += " " + e.Subject
	}
	return out
}

// timeline prints a drill as it happens: a line for each change, and one for each second of requests. It belongs to
// one goroutine.
type timeline struct {
	w      io.Writer
	color  bool
	loads  []labs.Load
	zero   int64
	held   []event.Event // not printed yet: their like may follow
	second int64         // of the line being collected
	good   map[string]int
	lost   map[string]int
}

func newTimeline(w io.Writer, color bool, loads []labs.Load, zero int64) *timeline {
	return &timeline{w: w, color: color, loads: loads, zero: zero, good: map[string]int{}, lost: map[string]int{}}
}

const (
	red   = "\x1b[31m"
	green = "\x1b[32m"
	bold  = "\x1b[1m"
	plain = "\x1b[0m"
)

func (t *timeline) paint(color, text string) string {
	if !t.color {
		return text
	}
	return color + text + plain
}

// line prints one change.
func (t *timeline) line(mono int64, text string) {
	fmt.Fprintf(t.w, "%8.3fs  %s\n", float64(mono-t.zero)/1e9, text)
}

func (t *timeline) event(e event.Event) {
	if significant(e) && e.Kind != event.Fault {
		t.held = append(t.held, e)
	}
}

// flush prints the changes up to a moment.
func (t *timeline) flush(mono int64) {
	var rest []event.Event
	for _, e := range merged(t.held) {
		if e.Mono > mono {
			rest = append(rest, e)
			continue
		}
		t.line(e.Mono, describe(e))
	}
	t.held = rest
}

func (t *timeline) fault(mono int64, text string) {
	t.flush(mono)
	t.line(mono, t.paint(bold, "▶ "+text))
}

// sample counts a request; tick prints the counts.
func (t *timeline) sample(s labs.Sample) {
	if s.OK {
		t.good[s.Load]++
	} else {
		t.lost[s.Load]++
	}
}

// tick prints the last second's requests when a new second has begun.
func (t *timeline) tick(mono int64) {
	second := (mono - t.zero) / 1e9
	if second <= t.second {
		return
	}
	var parts []string
	for _, l := range t.loads {
		lost := ""
		if n := t.lost[l.Name]; n > 0 {
			lost = t.paint(red, fmt.Sprintf(" %d lost", n))
		}
		parts = append(parts, fmt.Sprintf("%s %d good%s", l.Name, t.good[l.Name], lost))
	}
	fmt.Fprintf(t.w, "%8ds  · %s\n", second, strings.Join(parts, "   "))
	t.second = second
	clear(t.good)
	clear(t.lost)
}

// verdicts prints the outcome of each expectation and of the drill.
func (t *timeline) verdicts(r *Report) {
	t.flush(math.MaxInt64)
	fmt.Fprintln(t.w)
	for _, v := range r.Expectations {
		word := t.paint(green, "PASS")
		if !v.Pass {
			word = t.paint(red, "FAIL")
		}
		fmt.Fprintf(t.w, "%s  %-9s %-34s found %s\n", word, v.Window, v.Text, v.Found)
		if v.Pass {
			continue
		}
		fmt.Fprintf(t.w, "      %s\n", v.Pos)
		if v.Cause != "" {
			fmt.Fprintf(t.w, "      cause: %s\n", v.Cause)
		}
		for _, why := range v.Why {
			fmt.Fprintf(t.w, "      because %s\n", why)
		}
		for _, l := range v.Around {
			fmt.Fprintf(t.w, "        │ %s\n", l)
		}
	}
	failed := 0
	for _, v := range r.Expectations {
		if !v.Pass {
			failed++
		}
	}
	fmt.Fprintln(t.w)
	for _, w := range r.Warnings {
		fmt.Fprintf(t.w, "WARN  %s\n", w)
	}
	if r.Incomplete != "" {
		fmt.Fprintln(t.w, r.Incomplete)
	}
	if r.Pass {
		fmt.Fprintf(t.w, "%s  %s: all %d expectations hold\n", t.paint(green, "PASS"), r.Drill, len(r.Expectations))
		return
	}
	fmt.Fprintf(t.w, "%s  %s: %d of %d expectations do not hold\n", t.paint(red, "FAIL"), r.Drill, failed, len(r.Expectations))
}
