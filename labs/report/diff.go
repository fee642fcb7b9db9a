package report

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/catchment-net/catchment/labs/drill"
)

// Tolerance is how much worse a measured time may be before it is a regression: both parts must be exceeded, since a
// fifth of a millisecond is noise, and so is 50 ms of ten seconds.
type Tolerance struct {
	Share float64       // of the old time; 0.2 is 20 %
	Time  time.Duration // beyond the old time
}

// Difference compares two reports of one drill.
type Difference struct {
	Drill      string `json:"drill"`
	Regression bool   `json:"regression"`
	Rows       []Row  `json:"rows"`
}

// Row is one thing that both reports, or one of them, say. Of several runs it is the median.
type Row struct {
	What       string `json:"what"` // expectation, outage, latency, withdrawal
	Name       string `json:"name"`
	Old        string `json:"old"`
	New        string `json:"new"`
	Change     string `json:"change,omitempty"` // better, worse, gone, new; "" within the tolerance
	Regression bool   `json:"regression,omitempty"`
}

// Compare says what is worse in the new runs than in the old ones. An expectation that passed in every old run and fails
// in a new one is a regression; so is a time that is worse by more than the tolerance. Reports of two drills are an error.
func Compare(before, after []*drill.Report, t Tolerance) (*Difference, error) {
	if len(before) == 0 || len(after) == 0 {
		return nil, fmt.Errorf("compare reports: %d and %d runs", len(before), len(after))
	}
	if a, b := before[0].Drill, after[0].Drill; a != b {
		return nil, fmt.Errorf("compare reports: one is of drill %q, the other of %q", a, b)
	}
	d := &Difference{Drill: after[0].Drill}
	d.expectations(drill.Summarize(before), drill.Summarize(after), worseOf(before, after), t)
	d.times(timesOf(before), timesOf(after), t)
	for _, r := range d.Rows {
		d.Regression = d.Regression || r.Regression
	}
	return d, nil
}

// worseOf maps each expectation to what it forbids.
func worseOf(lists ...[]*drill.Report) map[string]string {
	worse := map[string]string{}
	for _, runs := range lists {
		for _, r := range runs {
			for _, v := range r.Expectations {
				if v.Worse != "" {
					worse[v.Window+": "+v.Text] = v.Worse
				}
			}
		}
	}
	return worse
}

func (d *Difference) expectations(before, after drill.Summary, worse map[string]string, t Tolerance) {
	then := map[string]drill.ExpectationSummary{}
	for _, e := range before.Expectations {
		then[e.Window+": "+e.Text] = e
	}
	for _, e := range after.Expectations {
		name := e.Window + ": " + e.Text
		row := Row{What: "expectation", Name: name, New: fared(e, after.Runs)}
		old, ok := then[name]
		delete(then, name)
		switch {
		case !ok:
			row.Change = "new"
		default:
			row.Old = fared(old, before.Runs)
			row.judge(old, e, before.Runs, after.Runs, worse[name], t)
		}
		d.Rows = append(d.Rows, row)
	}
	for _, e := range before.Expectations {
		if _, left := then[e.Window+": "+e.Text]; left {
			d.Rows = append(d.Rows, Row{What: "expectation", Name: e.Window + ": " + e.Text, Old: fared(e, before.Runs), Change: "gone"})
		}
	}
}

// fared prints how an expectation fared: "pass 120ms", "pass 4 of 5 120ms".
func fared(e drill.ExpectationSummary, runs int) string {
	text := "pass"
	switch {
	case runs > 1:
		text = fmt.Sprintf("pass %d of %d", e.Passed, runs)
	case e.Passed == 0:
		text = "FAIL"
	}
	if e.Numbers != nil {
		text += " " + Number(e.Numbers.Median, e.Unit)
	}
	return text
}

// judge compares how often an expectation held, and if it measures a time, how long that was.
func (row *Row) judge(old, now drill.ExpectationSummary, oldRuns, newRuns int, worse string, t Tolerance) {
	heldThen, heldNow := old.Passed == oldRuns, now.Passed == newRuns
	switch {
	case heldThen && !heldNow:
		row.Change, row.Regression = "worse", true
		return
	case !heldThen && heldNow:
		row.Change = "better"
		return
	}
	if old.Unit == "s" && now.Unit == "s" && worse == "higher" {
		row.weigh(toSpan(old.Numbers.Median), toSpan(now.Numbers.Median), t)
	}
}

// toSpan makes a span of seconds; nil is forever.
func toSpan(v *float64) drill.Span {
	if v == nil {
		return drill.Forever
	}
	return drill.Span(*v * 1e9)
}

// weigh sets the change of a time of which less is better.
func (row *Row) weigh(old, now drill.Span, t Tolerance) {
	switch {
	case beyond(old, now, t):
		row.Change, row.Regression = "worse", true
	case beyond(now, old, t):
		row.Change = "better"
	}
}

// beyond reports whether b is longer than a by more than the tolerance.
func beyond(a, b drill.Span, t Tolerance) bool {
	switch {
	case a == drill.Forever:
		return false
	case b == drill.Forever:
		return true
	}
	return float64(b) > float64(a)*(1+t.Share) && b-a > drill.Span(t.Time)
}

// timeKey names a measured time.
type timeKey struct{ what, name string }

// timesOf collects the times that every report has, whatever the drill expects: the median over the runs.
func timesOf(runs []*drill.Report) map[timeKey]drill.Span {
	all := map[timeKey][]drill.Span{}
	add := func(what, name string, s drill.Span) { all[timeKey{what, name}] = append(all[timeKey{what, name}], s) }
	for _, r := range runs {
		for _, c := range r.Clients {
			for load, l := range c.Loads {
				add("outage", c.Client+"/"+load, l.Longest)
				add("latency", c.Client+"/"+load+" p50", l.Latency50)
				add("latency", c.Client+"/"+load+" p99", l.Latency99)
			}
		}
		for _, router := range r.Routers {
			for i, w := range router.Withdrawals {
				for family, s := range w.Family {
					add("withdrawal", fmt.Sprintf("%s: %s of %s (step %d), %s", router.Router, w.Verb, w.POP, i+1, family), s)
				}
			}
		}
	}
	middle := map[timeKey]drill.Span{}
	for key, list := range all {
		slices.Sort(list)
		middle[key] = list[len(list)/2]
	}
	return middle
}

func (d *Difference) times(before, after map[timeKey]drill.Span, t Tolerance) {
	var keys []timeKey
	for key := range after {
		keys = append(keys, key)
	}
	for key := range before {
		if _, ok := after[key]; !ok {
			keys = append(keys, key)
		}
	}
	slices.SortFunc(keys, func(a, b timeKey) int { return cmp.Or(cmp.Compare(a.what, b.what), cmp.Compare(a.name, b.name)) })
	for _, key := range keys {
		row := Row{What: key.what, Name: key.name}
		old, was := before[key]
		now, is := after[key]
		if was {
			row.Old = old.String()
		}
		if is {
			row.New = now.String()
		}
		switch {
		case !is:
			row.Change = "gone"
		case !was:
			row.Change = "new"
		default:
			row.weigh(old, now, t)
		}
		d.Rows = append(d.Rows, row)
	}
}
