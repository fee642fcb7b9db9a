package drill

import (
	"cmp"
	"math"
	"slices"
	"strings"

	"github.com/catchment-net/catchment/internal/event"
	"github.com/catchment-net/catchment/labs"
)

// Lanes are states over time, from the start of the clock to its end, without gaps: what a report draws.

// onClock is a moment within the drill's time as a span of its clock.
func (ev *evidence) onClock(mono int64) Span {
	return Span(min(max(mono, ev.rec.Zero), ev.end) - ev.rec.Zero)
}

func (ev *evidence) faultReports() []FaultReport {
	var all []FaultReport
	for i, f := range ev.rec.Faults {
		r := FaultReport{
			Fault: f.Fault, Target: ev.pop(f.Subject), Due: Span(f.At), At: Span(f.Start - ev.rec.Zero), Took: Span(f.Done - f.Start),
			POP: ev.popOfSubject(f),
		}
		if healed, ok := ev.healed(i); ok {
			at := Span(healed - ev.rec.Zero)
			r.Healed = &at
		}
		all = append(all, r)
	}
	return all
}

// healed is when a later step began to undo what the fault at i did.
func (ev *evidence) healed(i int) (int64, bool) {
	f := ev.rec.Faults[i]
	for _, later := range ev.rec.Faults[i+1:] {
		if ev.pop(later.Subject) == ev.pop(f.Subject) && slices.Contains(undoes(later.Verb), f.Verb) {
			return later.Start, true
		}
	}
	return 0, false
}

// bestSpans are a router's best paths for every anycast prefix.
func (ev *evidence) bestSpans(router string) []BestSpan {
	all := []BestSpan{}
	for _, prefix := range ev.prefixes() {
		now, later := ev.pathAt(route{router, prefix.String()}, ev.rec.Zero, ev.end)
		now.at = ev.rec.Zero
		for _, next := range append(later, hop{at: ev.end}) {
			if next.at < ev.end && next.has == now.has && next.pop == now.pop && next.via == now.via {
				continue
			}
			b := BestSpan{From: ev.onClock(now.at), To: ev.onClock(next.at), Prefix: prefix.String()}
			if now.has {
				b.Via, b.POP = now.via, now.pop
			}
			if b.To > b.From {
				all = append(all, b)
			}
			now = next
		}
	}
	return all
}

// view is how a node sees one service of a POP from a moment on.
type view struct {
	at           int64
	state, cause string
}

// views are a node's changes of view of a POP's service, in the order of time; the first is before all time.
func (ev *evidence) views(node, pop, service string) []view {
	list := []view{{at: math.MinInt64, state: "up"}}
	for _, e := range ev.changes {
		if e.Kind == event.Health && e.Node == node && e.Subject == "pop/"+pop+"/"+service {
			list = append(list, view{e.Mono, e.State, e.Cause})
		}
	}
	return list
}

// services are those whose health nodes report of a POP.
func services() []string { return []string{"web", "dns"} }

func (ev *evidence) nodeReports() []NodeReport {
	all := []NodeReport{}
	for _, n := range ev.d.topo.Nodes() {
		r := NodeReport{Node: n.Name, POP: n.POP.Name, Views: []ViewSpan{}}
		for _, p := range ev.d.topo.POPs {
			for _, service := range services() {
				list := ev.views(n.Name, p.Name, service)
				for i, v := range list {
					until := ev.end
					if i+1 < len(list) {
						until = list[i+1].at
					}
					s := ViewSpan{ev.onClock(v.at), ev.onClock(until), p.Name, service, v.state, v.cause}
					if s.To > s.From {
						r.Views = append(r.Views, s)
					}
				}
			}
		}
		all = append(all, r)
	}
	return all
}

// steeredBy names the DNS answer that a request went by, or "" if it had none.
func steeredBy(s labs.Sample) string {
	switch {
	case s.DNSEmpty:
		return "empty"
	case len(s.DNSAddrs) == 0:
		return ""
	}
	return cmp.Or(s.DNSPOP, "anycast")
}

// answerSpans are the DNS answers that a client went by.
func (ev *evidence) answerSpans(p pair) []AnswerSpan {
	list := slices.Clone(ev.byPair[p])
	slices.SortStableFunc(list, func(a, b labs.Sample) int { return cmp.Compare(a.End, b.End) })
	var all []AnswerSpan
	for _, s := range list {
		answer := steeredBy(s)
		if answer == "" || s.End > ev.end {
			continue
		}
		if n := len(all); n > 0 {
			if all[n-1].Answer == answer {
				continue
			}
			all[n-1].To = ev.onClock(s.End)
		}
		all = append(all, AnswerSpan{From: ev.onClock(s.End), To: ev.onClock(ev.end), Answer: answer, Server: s.DNSServer, Node: s.DNSNode})
	}
	return all
}

// popReports count each second's good answers by POP.
func (ev *evidence) popReports() []POPReport {
	seconds := int((Span(ev.d.End) + 1e9 - 1) / 1e9)
	all := []POPReport{}
	for _, p := range ev.d.topo.POPs {
		r := POPReport{POP: p.Name, Seconds: make([]SecondReport, seconds)}
		for i := range r.Seconds {
			r.Seconds[i].At = i
		}
		for _, s := range ev.byEnd {
			i := int((s.End - ev.rec.Zero) / 1e9)
			if !s.OK || s.POP != p.Name || i >= seconds {
				continue
			}
			r.Seconds[i].Good++
			if s.Hit {
				r.Seconds[i].Hits++
			}
			r.Seconds[i].HitRatio = float64(r.Seconds[i].Hits) / float64(r.Seconds[i].Good)
		}
		all = append(all, r)
	}
	return all
}

// viewed reports whether a health event is about a POP.
func viewed(e event.Event, pop string) bool {
	return e.Kind == event.Health && strings.HasPrefix(e.Subject, "pop/"+pop+"/")
}
