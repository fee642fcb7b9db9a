package drill

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/catchment-net/catchment/internal/event"
)

// Evaluate judges a recording. It is pure: the same drill and recording always give the same report.
func Evaluate(d *Drill, rec *Recording) *Report {
	ev := newEvidence(d, rec)
	r := &Report{
		Drill: d.Name, Lab: rec.Lab, Runner: rec.Runner, Seed: rec.Seed, Started: rec.Started, Pass: true,
		Length: Span(d.End), Lets: rec.Lets, Lateness: rec.Lateness, Zero: rec.Zero, Baseline: rec.Routers, Samples: rec.Samples, Events: rec.Events,
		Faults: ev.faultReports(),
	}
	if rec.Lateness.Max >= starved {
		r.Warnings = append(r.Warnings, fmt.Sprintf("the machine was starved: timers fired up to %s late (99 %% within %s)", rec.Lateness.Max, rec.Lateness.P99))
	}
	for _, w := range d.Windows {
		for _, x := range w.Expect {
			v := ev.judge(x, w)
			r.Pass = r.Pass && v.Pass
			r.Expectations = append(r.Expectations, v)
		}
	}
	if len(rec.Faults) < len(d.Steps) {
		r.Pass = false
		r.Incomplete = fmt.Sprintf("only %d of %d steps were carried out", len(rec.Faults), len(d.Steps))
	}
	r.Clients = ev.clientReports()
	r.Routers = ev.routerReports()
	r.Nodes = ev.nodeReports()
	r.POPs = ev.popReports()
	return r
}

// starved is how late a timer must fire for the report to say so: half of the tightest limits that drills set.
const starved = Span(50 * time.Millisecond)

// judge compares one expectation's two sides.
func (ev *evidence) judge(x Expectation, w Window) Verdict {
	left, right := ev.term(x.expr.args[0], w), ev.term(x.expr.args[1], w)
	v := Verdict{Window: w.Name, Text: x.Text, Pos: x.Pos}
	if none := cmp.Or(left.none, right.none); none != "" {
		v.Found, v.Why = "no evidence", []string{none}
		v.Around = ev.around(ev.rec.Zero + int64(w.From))
		return v
	}
	at := cmp.Or(left.at, right.at)
	var why []string
	switch {
	case left.pops != nil:
		v.Pass, at, why = samePOP(x.expr.text, left, right)
	case left.found != "" && isSpan(x.expr):
		v.Pass = holds(x.expr.text, cmp.Compare(left.span, right.span))
	default:
		v.Pass = holds(x.expr.text, cmp.Compare(left.num, right.num))
	}
	found, op := left, x.expr.text
	if constant(x.expr.args[0]) {
		found = right
	}
	v.Found, v.Unit, v.Value = found.found, found.unit, found.value()
	if v.Unit != "" {
		v.Worse = "higher"
		if strings.HasPrefix(op, ">") != constant(x.expr.args[0]) && op[0] != '=' && op[0] != '!' {
			v.Worse = "lower"
		}
	}
	if !v.Pass {
		v.Cause = cmp.Or(left.cause, right.cause)
		v.Why = append(append(why, left.why...), right.why...)
		v.Why = v.Why[:min(len(v.Why), maxWhy)]
		v.Around = ev.around(at)
	}
	return v
}

// value is what was measured as a number, or nil if it is none.
func (m measured) value() *float64 {
	v := m.num
	switch {
	case m.unit == "" || m.unit == "s" && m.span == Forever:
		return nil
	case m.unit == "s":
		v = time.Duration(m.span).Seconds()
	}
	return &v
}

// isSpan reports whether a checked comparison is one of durations.
func isSpan(n *node) bool {
	for _, side := range n.args {
		if side.kind == durationNode || side.kind == callNode && functions()[side.text].result == durationType {
			return true
		}
	}
	return false
}

func holds(op string, order int) bool {
	switch op {
	case "==":
		return order == 0
	case "!=":
		return order != 0
	case "<":
		return order < 0
	case "<=":
		return order <= 0
	case ">":
		return order > 0
	}
	return order >= 0
}

// samePOP compares POPs: "==" wants every sample of both sides to name one and the same, "!=" wants no sample of one
// side to name a POP of the other. It tells which samples did not.
func samePOP(op string, left, right measured) (pass bool, at int64, why []string) {
	tell := func(m measured, wrong func(pop string) bool) {
		for _, pop := range sorted(m.pops) {
			if m.each == nil || !wrong(pop) {
				continue
			}
			moment, line := m.each(pop)
			at = max(at, moment)
			why = append(why, line)
		}
	}
	if op == "!=" {
		tell(left, func(pop string) bool { return right.pops[pop] > 0 })
		tell(right, func(pop string) bool { return left.pops[pop] > 0 })
		for pop := range left.pops {
			if right.pops[pop] > 0 {
				return false, at, why
			}
		}
		return true, at, nil
	}
	pass = len(left.pops) == 1 && len(right.pops) == 1 && sorted(left.pops)[0] == sorted(right.pops)[0]
	if pass {
		return true, 0, nil
	}
	tell(left, func(pop string) bool { return len(right.pops) > 1 || right.pops[pop] == 0 })
	tell(right, func(pop string) bool { return len(left.pops) > 1 || left.pops[pop] == 0 })
	return false, at, why
}

func sorted(pops map[string]int) []string {
	var names []string
	for p := range pops {
		names = append(names, p)
	}
	slices.Sort(names)
	return names
}

// The lines around a failure: how far they reach and how many they are.
const (
	aroundSpan = 700 * time.Millisecond
	maxAround  = 12
)

// around is the timeline near a moment: what changed, and what was done.
func (ev *evidence) around(at int64) []string {
	type line struct {
		at   int64
		text string
	}
	var lines []line
	if at != 0 {
		near := slices.DeleteFunc(slices.Clone(ev.changes), func(e event.Event) bool {
			return e.Mono < at-int64(aroundSpan) || e.Mono > at+int64(aroundSpan) || e.Kind == event.Fault || !significant(e)
		})
		for _, e := range merged(near) {
			lines = append(lines, line{e.Mono, ev.clock(e.Mono) + "  " + describe(e)})
		}
	}
	for _, f := range ev.rec.Faults {
		lines = append(lines, line{f.Start, fmt.Sprintf("%s  %s %s", ev.clock(f.Start), f.Verb, ev.pop(f.Subject))})
	}
	near := func(l line) int64 { return max(l.at-at, at-l.at) }
	if len(lines) > maxAround {
		slices.SortStableFunc(lines, func(a, b line) int { return cmp.Compare(near(a), near(b)) })
		lines = lines[:maxAround]
	}
	slices.SortStableFunc(lines, func(a, b line) int { return cmp.Compare(a.at, b.at) })
	var texts []string
	for _, l := range lines {
		texts = append(texts, l.text)
	}
	return texts
}
