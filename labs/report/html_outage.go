package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/catchment-net/catchment/internal/event"
	"github.com/catchment-net/catchment/labs"
	"github.com/catchment-net/catchment/labs/drill"
)

// outage is one outage as the page shows it: a bar from the fault to the first good answer.
type outage struct {
	drill.Outage
	Client, Load, How string
	Parts             []part
	Whole             string // what the whole bar rests on
	End               string // the first good answer
}

// part is one part of an outage with the evidence for its length.
type part struct {
	Name, Class string
	Span        drill.Span
	Evidence    string
	X, Width    float64 // of a bar 1000 wide
}

// outages lists every outage, the longest first, with the pairs that had none, and the time that a whole bar stands for.
func outages(r *drill.Report, tr *trace) (list []outage, quiet []string, scale drill.Span) {
	for _, c := range r.Clients {
		for _, load := range sortedKeys(c.Loads) {
			p := pair{c.Client, load}
			for _, o := range c.Loads[load].Outages {
				list = append(list, newOutage(r, tr, p, o))
			}
			if len(c.Loads[load].Outages) == 0 {
				quiet = append(quiet, p.String())
			}
		}
	}
	slices.SortStableFunc(list, func(a, b outage) int { return cmp.Compare(b.Total, a.Total) })
	for i := range list {
		scale = max(scale, list[i].reach(r.Length))
	}
	for i := range list {
		list[i].draw(scale, r.Length)
	}
	return list, quiet, scale
}

// reach is how much of the time after its fault an outage took; one without end took what was left of the drill.
func (o *outage) reach(length drill.Span) drill.Span {
	var sum drill.Span
	for _, p := range o.Parts {
		if p.Span == drill.Forever {
			return max(length-o.From, sum)
		}
		sum += p.Span
	}
	if len(o.Parts) == 0 {
		return min(o.Total, length-o.From)
	}
	return sum
}

// draw places the parts on a bar on which scale is 1000 wide.
func (o *outage) draw(scale, length drill.Span) {
	if scale <= 0 {
		return
	}
	x := 0.0
	for i := range o.Parts {
		p := &o.Parts[i]
		s := p.Span
		if s == drill.Forever {
			s = max(o.reach(length)-drill.Span(x/1000*float64(scale)), 0)
		}
		p.X, p.Width = x, min(float64(s)/float64(scale)*1000, 1000-x)
		x += p.Width
	}
}

func newOutage(r *drill.Report, tr *trace, p pair, o drill.Outage) outage {
	out := outage{Outage: o, Client: p.client, Load: p.load, How: tr.steered(p)}
	end := o.From + o.Total
	if o.Total == drill.Forever {
		end = drill.Forever
	}
	out.Whole = fmt.Sprintf("%s lost; the first failed one began at %s", requests(o.Lost), moment(o.From))
	if o.Error != "" {
		out.Whole += "; last error: " + o.Error
	}
	out.End = tr.goodAt(p, end)
	fault, known := causeOf(r, o)
	if o.Detection == nil || !known {
		out.Whole += "; no step of the timeline came before it"
		return out
	}
	noticed := after(fault.At, *o.Detection)
	out.Parts = append(out.Parts, part{Name: "detection", Class: "detection", Span: *o.Detection, Evidence: tr.noticed(o, fault, noticed)})
	if o.Convergence == nil || o.TTLWait == nil {
		return out
	}
	changed := after(noticed, *o.Convergence)
	wait := "TTL wait"
	if out.How == "anycast" {
		wait = "wait"
	}
	out.Parts = append(
		out.Parts,
		part{Name: "convergence", Class: "convergence", Span: *o.Convergence, Evidence: tr.converged(p, out.How, noticed, changed)},
		part{Name: wait, Class: "wait", Span: *o.TTLWait, Evidence: "until the first good answer: " + out.End},
	)
	return out
}

func after(from, s drill.Span) drill.Span {
	if from == drill.Forever || s == drill.Forever {
		return drill.Forever
	}
	return from + s
}

func requests(n int) string {
	if n == 1 {
		return "1 request"
	}
	return count(n) + " requests"
}

// causeOf finds the step that an outage names as its cause: the last such one that began before its end.
func causeOf(r *drill.Report, o drill.Outage) (drill.FaultReport, bool) {
	for _, f := range slices.Backward(r.Faults) {
		name := string(f.Verb) + " "
		if (o.Cause == name+f.Subject || o.Cause == name+f.Target || o.Cause == f.String()) &&
			(o.Total == drill.Forever || f.At <= o.From+o.Total) {
			return f, true
		}
	}
	return drill.FaultReport{}, false
}

// same reports whether two moments are one: reports round to microseconds.
func same(a, b drill.Span) bool { return a-b <= 1000 && b-a <= 1000 }

// noticed tells the event at which someone first noticed a fault.
func (tr *trace) noticed(o drill.Outage, f drill.FaultReport, at drill.Span) string {
	if at == drill.Forever {
		return fmt.Sprintf("nobody ever noticed %q", o.Cause)
	}
	for _, e := range tr.events {
		if !same(tr.at(e.Mono), at) || (e.Kind != event.Best && e.Kind != event.Health) {
			continue
		}
		return fmt.Sprintf("from %q at %s until %s: %s", o.Cause, moment(f.At), moment(at), tells(e))
	}
	return fmt.Sprintf("from %q at %s until %s; no recorded change of a router or a health view falls on that moment, so it is the bound of what is known",
		o.Cause, moment(f.At), moment(at))
}

// converged tells what the end of the convergence rests on.
func (tr *trace) converged(p pair, how string, noticed, at drill.Span) string {
	if how != "GeoDNS" {
		for _, e := range tr.events {
			if e.Kind == event.Best && e.Node == p.client && same(tr.at(e.Mono), at) {
				return fmt.Sprintf("until %s's own router changed at %s: %s", p.client, moment(at), tells(e))
			}
		}
	}
	for _, s := range tr.byPair[p] {
		if s.DNSFresh && s.DNSTime != 0 && same(tr.at(s.DNSTime), at) {
			return fmt.Sprintf("until the last answer that still named %s, at %s, from %s", orDash(s.DNSPOP), moment(at), server(s))
		}
	}
	if same(noticed, at) {
		return fmt.Sprintf("nothing had to change after %s: no later answer or path of %s led there", moment(at), p.client)
	}
	return fmt.Sprintf("until %s; no recorded answer or change falls on that moment", moment(at))
}

// goodAt tells the good answer that ended an outage.
func (tr *trace) goodAt(p pair, end drill.Span) string {
	if end == drill.Forever {
		return "none until the end of the drill"
	}
	for _, s := range tr.byPair[p] {
		if !s.OK || !same(tr.at(s.End), end) {
			continue
		}
		text := fmt.Sprintf("%s at %s over %s", orDash(cmp.Or(s.Node, s.POP)), moment(end), s.Addr)
		switch {
		case s.DNSPOP != "" && s.DNSFresh:
			text += fmt.Sprintf(", by a fresh DNS answer for %s from %s", s.DNSPOP, server(s))
		case s.DNSPOP != "":
			text += fmt.Sprintf(", by the DNS answer for %s of %s", s.DNSPOP, moment(tr.at(s.DNSTime)))
		}
		return text
	}
	return "at " + moment(end)
}

func server(s labs.Sample) string {
	who := "a name server"
	if s.DNSServer.IsValid() {
		who = s.DNSServer.String()
	}
	return fmt.Sprintf("%s (%s)", who, cmp.Or(s.DNSNode, "no NSID"))
}

// tells is an event in words.
func tells(e event.Event) string {
	var text string
	switch {
	case e.Kind == event.Best && e.State == "withdrawn":
		text = fmt.Sprintf("%s has no route to %s", e.Node, e.Subject)
	case e.Kind == event.Best:
		text = fmt.Sprintf("%s's best path for %s leads to %s", e.Node, e.Subject, orDash(e.Detail["pop"]))
		if via := e.Detail["via"]; via != "" {
			text += " via " + via
		}
	default:
		text = strings.TrimSpace(fmt.Sprintf("%s: %s %s", e.Node, e.Subject, e.State))
	}
	if e.Cause != "" {
		text += " (" + e.Cause + ")"
	}
	return text
}
