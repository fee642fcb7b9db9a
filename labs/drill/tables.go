package drill

import (
	"slices"

	"github.com/catchment-net/catchment/labs"
)

func (ev *evidence) clientReports() []ClientReport {
	var all []ClientReport
	for _, n := range ev.d.topo.Internet.Networks {
		if n.Users <= 0 {
			continue
		}
		c := ClientReport{Client: n.Name, City: n.At.City, Users: n.Users, Loads: map[string]LoadReport{}}
		for _, p := range ev.pairs {
			if p.client == n.Name {
				c.Loads[p.load] = ev.loadReport(p)
			}
		}
		all = append(all, c)
	}
	return all
}

func (ev *evidence) loadReport(p pair) LoadReport {
	var r LoadReport
	var latencies []Span
	hits := 0
	whole := Window{To: ev.d.End}
	for _, s := range ev.ended(whole, func(s labs.Sample) bool { return pair{s.Client, s.Load} == p }) {
		r.Samples++
		if s.WrongBody {
			r.WrongBodies++
		}
		if s.DNSEmpty {
			r.EmptyAnswers++
		}
		if !s.OK {
			r.Lost++
			continue
		}
		latencies = append(latencies, Span(s.End-s.Start))
		if s.Hit {
			hits++
		}
	}
	slices.Sort(latencies)
	if n := len(latencies); n > 0 {
		r.HitRatio = float64(hits) / float64(n)
		r.Latency50, r.Latency99 = latencies[rank(0.5, n)], latencies[rank(0.99, n)]
	}
	broke, undone := ev.turns()
	r.Before, r.During, r.After = ev.lastPOP(p, broke), ev.lastPOP(p, undone), ev.lastPOP(p, ev.end+1)
	r.Answers = ev.answerSpans(p)
	from, to := ev.bounds(whole)
	for _, o := range ev.outages(p) {
		if o.touches(from, to) {
			r.Outages = append(r.Outages, o)
			r.Longest = max(r.Longest, o.Total)
		}
	}
	return r
}

// turns are when the first step came, and when the first one came that undoes something; the end if none did.
func (ev *evidence) turns() (broke, undone int64) {
	broke, undone = ev.end+1, ev.end+1
	for _, f := range slices.Backward(ev.rec.Faults) {

		broke = f.Start
		if undoes(f.Verb) != nil {
			undone = f.Start
		}
	}
	return broke, undone
}

// lastPOP is who gave the last good answer that ended before a moment.
func (ev *evidence) lastPOP(p pair, before int64) string {
	pop, at := "", int64(0)
	for _, s := range ev.byPair[p] {
		if s.OK && s.End < before && s.End >= at {
			pop, at = s.POP, s.End
		}
	}
	return pop
}

func (ev *evidence) routerReports() []RouterReport {
	var all []RouterReport
	for _, n := range ev.d.topo.Internet.Networks {
		if !ev.heard[n.Name] {
			continue
		}
		r := RouterReport{Router: n.Name, Withdrawals: []Withdrawal{}}
		for _, f := range ev.rec.Faults {
			pop := ev.popOfSubject(f)
			if undoes(f.Verb) != nil || pop == "" {
				continue
			}
			w := Withdrawal{Verb: f.Verb, POP: pop, Family: map[string]Span{}}
			for _, prefix := range ev.prefixes() {
				if span, led := ev.leading(route{n.Name, prefix.String()}, f.Start, ev.until(f), pop); led {
					w.Family[family(prefix)] = max(w.Family[family(prefix)], span)
				}
			}
			r.Withdrawals = append(r.Withdrawals, w)
		}
		r.Best = ev.bestSpans(n.Name)
		all = append(all, r)
	}
	return all
}
