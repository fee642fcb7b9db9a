package report

import (
	"encoding/json"
	"fmt"
	"html/template"
	"slices"
	"strings"
	"time"

	"github.com/catchment-net/catchment/labs"
	"github.com/catchment-net/catchment/labs/drill"
)

// maxSamples bounds the requests that go into a page, over all its runs: 20,000 are about 2 MB.
const maxSamples = 20000

// run is one run as the template prints it.
type run struct {
	Index, Number int
	*drill.Report
	Outcome  string
	Warnings []string
	Failed   int // expectations
	Totals   totals
	Outages  []outage
	Quiet    []string // client/load pairs without an outage
	Scale    drill.Span
	Families []string
	Note     string // which requests the page holds

	Record  template.JS // the report as JSON, without its samples
	Samples template.JS // the samples, by column
	Lanes   template.JS
}

// totals are sums over all clients and loads.
type totals struct {
	Samples, Lost, WrongBodies, EmptyAnswers int
	Longest                                  drill.Span
	Withdrawal                               map[string]drill.Span // family -> the slowest router
}

func newRun(r *drill.Report, index, of int) (*run, error) {
	out := &run{Index: index, Number: index + 1, Report: r, Totals: total(r), Families: families(r)}
	for _, v := range r.Expectations {
		if !v.Pass {
			out.Failed++
		}
	}
	tr := newTrace(r)
	out.Outcome = outcome(r, tr, out.Totals)
	out.Warnings = warnings(r, tr)
	out.Outages, out.Quiet, out.Scale = outages(r, tr)
	kept, note := keep(r.Samples, max(maxSamples/of, 1000))
	out.Note = note
	bare := *r
	bare.Samples = nil
	for _, part := range []struct {
		to   *template.JS
		data any
	}{{&out.Record, bare}, {&out.Samples, columns(kept, r.Zero)}, {&out.Lanes, newLanes(r, tr, len(kept) == len(r.Samples))}} {
		text, err := json.Marshal(part.data) // escapes <, > and &: safe inside a script element
		if err != nil {
			return nil, fmt.Errorf("encode run %d: %w", index+1, err)
		}
		*part.to = template.JS(text)
	}
	return out, nil
}

func total(r *drill.Report) totals {
	t := totals{Withdrawal: map[string]drill.Span{}}
	for _, c := range r.Clients {
		for _, l := range c.Loads {
			t.Samples += l.Samples
			t.Lost += l.Lost
			t.WrongBodies += l.WrongBodies
			t.EmptyAnswers += l.EmptyAnswers
			t.Longest = max(t.Longest, l.Longest)
		}
	}
	for _, router := range r.Routers {
		for _, w := range router.Withdrawals {
			for family, s := range w.Family {
				t.Withdrawal[family] = max(t.Withdrawal[family], s)
			}
		}
	}
	return t
}

// families are the address families of which a withdrawal was seen.
func families(r *drill.Report) []string {
	var names []string
	for family := range total(r).Withdrawal {
		names = append(names, family)
	}
	slices.Sort(names)
	return names
}

// keep chooses the requests that go into the page: all that failed or were odd, and of the rest every n-th.
func keep(list []labs.Sample, limit int) (kept []labs.Sample, note string) {
	if len(list) <= limit {
		return list, ""
	}
	odd := func(s labs.Sample) bool { return !s.OK || s.WrongBody || s.DNSEmpty || s.DNSError != "" }
	var bad int
	for _, s := range list {
		if odd(s) {
			bad++
		}
	}
	every := func(n, room int) int {
		if room <= 0 {
			return n + 1
		}
		return (n + room - 1) / room
	}
	badStep := every(bad, limit*9/10)
	goodStep := every(len(list)-bad, limit-bad/badStep-1)
	var nBad, nGood, keptBad int
	for _, s := range list {
		n, step := &nGood, goodStep
		if odd(s) {
			n, step = &nBad, badStep
		}
		if *n%step == 0 {
			kept = append(kept, s)
			if odd(s) {
				keptBad++
			}
		}
		*n++
	}
	return kept, fmt.Sprintf("This page holds %s of %s requests: %s of the %s that failed or were odd, and every %s of the others. "+
		"All numbers, strips and areas are of every request; every request is in samples.csv beside it.",
		count(len(kept)), count(len(list)), count(keptBad), count(bad), ordinal(goodStep))
}

func ordinal(n int) string {
	suffix := "th"
	switch {
	case n%100 >= 11 && n%100 <= 13:
	case n%10 == 1:
		suffix = "st"
	case n%10 == 2:
		suffix = "nd"
	case n%10 == 3:
		suffix = "rd"
	}
	return count(n) + suffix
}

// outcome is the run in one plain sentence.
func outcome(r *drill.Report, tr *trace, t totals) string {
	var parts []string
	if len(r.Faults) == 0 {
		parts = append(parts, "nothing was broken")
	} else {
		parts = append(parts, told(r.Faults))
	}
	parts = append(parts, waited(r, tr))
	lost := fmt.Sprintf("none of %s requests was lost", count(t.Samples))
	if t.Lost > 0 {
		verb := "were"
		if t.Lost == 1 {
			verb = "was"
		}
		lost = fmt.Sprintf("%s of %s requests %s lost", count(t.Lost), count(t.Samples), verb)
		if last, ok := tr.lastLost(); ok && last < r.Length-drill.Span(time.Second) {
			lost += fmt.Sprintf(", none after %.1f s", seconds(last))
		}
	}
	text := strings.Join(append(parts, lost), "; ")
	if t.WrongBodies > 0 {
		text += fmt.Sprintf("; %s answers had a wrong body", count(t.WrongBodies))
	}
	return text + "."
}

// maxTold bounds the steps that the sentence names.
const maxTold = 4

func told(faults []drill.FaultReport) string {
	var parts []string
	subject := ""
	for i, f := range faults {
		if i == maxTold && len(faults) > maxTold+1 {
			parts = append(parts, fmt.Sprintf("%d more steps followed", len(faults)-i))
			break
		}
		text := fmt.Sprintf("%s at %.1f s", done(f), seconds(f.At))
		if f.Target != subject {
			text = f.Target + " " + text
		} else {
			text = strings.TrimPrefix(text, "was ")
		}
		subject = f.Target
		parts = append(parts, text)
	}
	return listed(parts)
}

func listed(parts []string) string {
	if len(parts) < 2 {
		return strings.Join(parts, "")
	}
	return strings.Join(parts[:len(parts)-1], ", ") + " and " + parts[len(parts)-1]
}

// waited tells the longest outages of users by how they are steered.
func waited(r *drill.Report, tr *trace) string {
	longest := map[string]drill.Span{}
	for _, c := range r.Clients {
		for name, l := range c.Loads {
			how := tr.steered(pair{c.Client, name})
			longest[how] = max(longest[how], l.Longest)
		}
	}
	var parts []string
	for _, how := range []string{"anycast", "GeoDNS", ""} {
		s, ok := longest[how]
		if !ok {
			continue
		}
		who := strings.TrimSpace(how + " users")
		switch s {
		case 0:
			parts = append(parts, who+" waited 0 s")
		case drill.Forever:
			parts = append(parts, "some "+who+" had no answer until the end")
		default:
			parts = append(parts, fmt.Sprintf("%s waited at most %s", who, span(s)))
		}
	}
	return strings.Join(parts, ", ")
}

func seconds(s drill.Span) float64 { return time.Duration(s).Seconds() }
