package report

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/catchment-net/catchment/labs"
	"github.com/catchment-net/catchment/labs/drill"
)

// embedded is the JSON of one of the page's data elements.
func embedded(tb testing.TB, page []byte, id string, into any) {
	tb.Helper()
	_, rest, ok := strings.Cut(string(page), `<script type="application/json" id="`+id+`">`)
	if !ok {
		tb.Fatalf("no element %q", id)
	}
	text, _, _ := strings.Cut(rest, "</script>")
	if err := json.Unmarshal([]byte(text), into); err != nil {
		tb.Fatalf("%s: %v", id, err)
	}
}

func TestNoRunIsAnError(t *testing.T) {
	if err := HTML(&strings.Builder{}, nil); err == nil {
		t.Error("got no error")
	}
}

func TestHeaderTellsTheOutcome(t *testing.T) {
	r := scene{}.report(t)
	text := outcome(r, newTrace(r), total(r))
	want := regexp.MustCompile(`^ams was killed at 3\.0 s and healed at 13\.0 s; anycast users waited 0 s, GeoDNS users waited at most \d\.\d\d s; \d+ of 5,\d\d\d requests were lost, none after \d\.\d s\.$`)
	if !want.MatchString(text) {
		t.Errorf("got %q, want it to match %s", text, want)
	}
	page := string(written(t, r))
	for _, want := range []string{">PASS<", "<h1>kill-best-pop</h1>", text, "2026-03-01 12:00:00 UTC", "<dd>paper</dd>", "<dd>7</dd>", "<dd>ams</dd>"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if strings.Contains(page, `class="warning" role`) {
		t.Error("a quiet run has a warning")
	}
}

func TestTheSentence(t *testing.T) {
	fault := func(verb labs.Verb, target string, at time.Duration) drill.FaultReport {
		return drill.FaultReport{Fault: labs.Fault{Verb: verb, Subject: target, Arg: "30%"}, Target: target, At: drill.Span(at)}
	}
	s := time.Second
	for _, c := range []struct {
		name   string
		faults []drill.FaultReport
		want   string
	}{
		{"one", []drill.FaultReport{fault(labs.Cut, "nyc -> arc", s)}, "nyc -> arc was cut at 1.0 s"},
		{"two of one", []drill.FaultReport{fault(labs.Freeze, "ams", s), fault(labs.Heal, "ams", 2*s)}, "ams was frozen at 1.0 s and healed at 2.0 s"},
		{"two", []drill.FaultReport{fault(labs.Lossy, "a -> b", s), fault(labs.Kill, "ams", 2*s)}, "a -> b was made to lose 30% at 1.0 s and ams was killed at 2.0 s"},
		{"unknown verb", []drill.FaultReport{fault("tickle", "ams", s)}, "ams had tickle done to it at 1.0 s"},
	} {
		if got := told(c.faults); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

func TestSpansReadWell(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0 s", 12 * time.Microsecond: "12 µs", 3900 * time.Microsecond: "3.9 ms", 87 * time.Millisecond: "87 ms",
		2400499 * time.Microsecond: "2.40 s", 23 * time.Second: "23.00 s", 10 * time.Minute: "600 s", time.Duration(drill.Forever): "forever",
	} {
		if got := span(drill.Span(d)); got != want {
			t.Errorf("%v: got %q, want %q", d, got, want)
		}
	}
	if got := count(1234567); got != "1,234,567" {
		t.Errorf("got %q", got)
	}
}

// Every number of the tables is the report's own.
func TestTablesHoldTheReport(t *testing.T) {
	r := failing().report(t)
	page := string(written(t, r))
	if !strings.Contains(page, ">FAIL<") {
		t.Error("a failed run does not say FAIL")
	}
	for _, v := range r.Expectations {
		for _, line := range append([]string{v.Window, v.Pos}, v.Why...) {
			if !strings.Contains(page, escaped(line)) {
				t.Errorf("%q of %q is missing", line, v.Text)
			}
		}
	}
	for _, c := range r.Clients {
		for load, l := range c.Loads {
			row := regexp.MustCompile(`(?s)<tr data-pair="` + c.Client + "/" + load + `">.*?</tr>`).FindString(page)
			for field, want := range map[string]string{
				"samples": count(l.Samples), "lost": count(l.Lost), "wrong": count(l.WrongBodies), "empty": count(l.EmptyAnswers),
				"hits": percent(l.HitRatio), "p50": span(l.Latency50), "p99": span(l.Latency99), "longest": span(l.Longest),
			} {
				if !regexp.MustCompile(`data-num="` + field + `"[^>]*>` + regexp.QuoteMeta(want) + `<`).MatchString(row) {
					t.Errorf("%s/%s: %s is not %q in %s", c.Client, load, field, want, row)
				}
			}
		}
	}
}

func escaped(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&#34;", "'", "&#39;", "+", "&#43;").Replace(s)
}

// The lanes' bins and areas count the requests that the report counts.
func TestLanesCountWhatTheReportCounts(t *testing.T) {
	r := failing().report(t)
	l := newLanes(r, newTrace(r), true)
	sum := total(r)
	var got [3]int
	for _, p := range l.Result {
		for _, b := range p.Bins {
			for i := range got {
				got[i] += b[i]
			}
		}
	}
	want := [3]int{sum.Samples - sum.Lost, sum.Lost - sum.WrongBodies, sum.WrongBodies}
	if got != want {
		t.Errorf("bins hold %v good, lost and wrong, want %v", got, want)
	}
	good, lost := 0, 0
	for _, s := range l.Shares {
		for _, n := range s.Good {
			good += n
		}
	}
	for _, n := range l.Lost {
		lost += n
	}
	if good != want[0] || lost != sum.Lost {
		t.Errorf("areas hold %d good and %d lost, want %d and %d", good, lost, want[0], sum.Lost)
	}
}

func TestLanes(t *testing.T) {
	r := scene{}.report(t)
	l := newLanes(r, newTrace(r), true)
	names := func(rows []row) []string {
		var list []string
		for _, r := range rows {
			text := strings.TrimSpace(r.Label+" "+r.Sub) + ":"
			for _, s := range r.Segments {
				text += fmt.Sprintf(" %s@%.1f", s.Text, s.From)
			}
			list = append(list, text)
		}
		return list
	}
	for _, c := range []struct {
		lane string
		got  []row
		want []string
	}{
		{"faults", l.Faults, []string{"ams kill: kill@3.0"}},
		{"routes", l.Routes[:4], []string{
			"arc 192.0.2.0/24: ams@0.0 nyc@3.0 ams@13.1", "arc 2001:db8:53::/48: ams@0.0 nyc@3.0 ams@13.1",
			"bolt 192.0.2.0/24: sin@0.0", "bolt 2001:db8:53::/48: sin@0.0",
		}},
		{"dns", l.DNS[:2], []string{"berlin img: anycast@0.0", "berlin www: ams@0.0 nyc@6.1 ams@16.0"}},
		{"views", l.Views, []string{
			"ams1 sees ams: not recorded@0.0 no view@3.0 up@13.2", "ams1 sees nyc: not recorded@0.0 no view@3.0 up@13.2",
			"ams1 sees sin: not recorded@0.0 no view@3.0 up@13.2",
			"nyc1 sees ams: up@0.0 dns down@4.2 down@4.2 web down@14.9 up@14.9", "sin1 sees ams: up@0.0 dns down@4.2 down@4.2 web down@14.9 up@14.9",
		}},
	} {
		if diff := cmp.Diff(c.want, names(c.got)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.lane, diff)
		}
	}
	if want := "nyc1 of nyc, nyc1 of sin, sin1 of nyc, sin1 of sin"; !strings.Contains(l.Calm, want) {
		t.Errorf("got %q, want it to name %q", l.Calm, want)
	}
	if got, want := len(l.Routes), 2*8; got != want {
		t.Errorf("%d routes, want %d", got, want)
	}
}

// A number of an outage explains itself: the router, health event, answer or request on which it rests is named.
func TestOutagesNameTheirEvidence(t *testing.T) {
	r := scene{}.report(t)
	list, quiet, scale := outages(r, newTrace(r))
	if len(list) != 2 || len(quiet) != 10 || scale <= 0 {
		t.Fatalf("got %d outages, %d without, scale %v; want 2 and 10", len(list), len(quiet), scale)
	}
	o := list[0]
	var evidence []string
	width := 0.0
	for _, p := range o.Parts {
		evidence = append(evidence, p.Name+": "+p.Evidence)
		width += p.Width
	}
	if width < 999 || width > 1001 {
		t.Errorf("the longest bar is %v wide, want 1000", width)
	}
	for i, want := range []string{
		`detection: from "kill best" at 3.001 s until 4.200 s: nyc1: pop/ams/dns down (2 of 2 observers`,
		"convergence: nothing had to change after 4.200 s",
		"TTL wait: until the first good answer: nyc1 at 6.",
	} {
		if !strings.HasPrefix(evidence[i], want) {
			t.Errorf("got %q, want it to begin with %q", evidence[i], want)
		}
	}
	if !strings.Contains(o.Whole, "connection refused") {
		t.Errorf("the whole does not name the last error: %q", o.Whole)
	}
}

// What the page holds of the requests is what was recorded, nanosecond for nanosecond.
func TestSamplesComeBackFromTheirColumns(t *testing.T) {
	r := failing().report(t)
	var packed table
	embedded(t, written(t, r), "samples-0", &packed)
	for _, i := range []int{0, 1, 977, len(r.Samples) - 1} {
		fields := map[string]json.RawMessage{}
		for _, c := range packed.Columns {
			switch {
			case c.At != nil && c.At[i] != nil:
				fields[c.Name] = fmt.Appendf(nil, "%d", *c.At[i]+r.Zero)
			case c.At != nil:
			case c.Index == nil:
				fields[c.Name] = c.Values[0]
			case c.Index[i] >= 0:
				fields[c.Name] = c.Values[c.Index[i]]
			}
		}
		text, err := json.Marshal(fields)
		if err != nil {
			t.Fatal(err)
		}
		var got labs.Sample
		if err := json.Unmarshal(text, &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(fmt.Sprintf("%+v", r.Samples[i]), fmt.Sprintf("%+v", got)); diff != "" {
			t.Errorf("sample %d (-want +got):\n%s", i, diff)
		}
	}
	var back drill.Report
	embedded(t, written(t, r), "record-0", &back)
	if back.Zero != r.Zero || len(back.Events) != len(r.Events) || len(back.Expectations) != len(r.Expectations) {
		t.Error("the embedded report is not the report")
	}
}

// hostile are texts that try to leave their place in a page.
const hostile = "</script><img src=x onerror=alert(1)>\u2028'\"`${x}<!--"

func TestTextsFromOutsideStayTexts(t *testing.T) {
	r := scene{error: hostile}.report(t)
	r.Drill, r.Lab, r.Runner, r.Incomplete = hostile, hostile, hostile, hostile
	r.Lets[hostile] = hostile
	for i := range r.Expectations {
		r.Expectations[i].Pass = false
		r.Expectations[i].Text, r.Expectations[i].Found, r.Expectations[i].Pos = hostile, hostile, hostile
		r.Expectations[i].Why, r.Expectations[i].Around = []string{hostile}, []string{hostile}
	}
	for i := range r.Events {
		r.Events[i].Cause, r.Events[i].Node = hostile, hostile
	}
	r.Clients[0].Client, r.Clients[0].City, r.Routers[0].Router = hostile, hostile, hostile
	page := string(written(t, r, r))
	if strings.Contains(page, "<img") {
		t.Error("a tag from outside is in the page")
	}
	var own int
	for range strings.SplitSeq(page, "</script>") {
		own++
	}
	if want := 2*3 + 1 + 1; own != want {
		t.Errorf("the page has %d ends of scripts, want its own %d", own-1, want-1)
	}
	if strings.Count(page, "<!--") != 0 {
		t.Error("a comment from outside is in the page")
	}
}

// The page loads nothing, and its policy allows exactly its own style and script.
func TestPageNeedsNothingButItself(t *testing.T) {
	page := string(written(t, scene{}.report(t)))
	if found := regexp.MustCompile(`(?i)<(link|script|img|iframe|object)[^>]*\s(src|href)="[^d"][^"]*"|@import|url\((['"]?)(https?:|//)`).FindString(page); found != "" {
		t.Errorf("the page refers to something outside: %q", found)
	}
	if found := regexp.MustCompile(`(?i)<[^>]*\s(style|on[a-z]+)="`).FindString(page); found != "" {
		t.Errorf("the page has an inline style or handler: %q", found)
	}
	policy := regexp.MustCompile(`content="(default-src[^"]*)"`).FindStringSubmatch(page)
	style := regexp.MustCompile(`(?s)<style>(.*?)</style>`).FindStringSubmatch(page)
	script := regexp.MustCompile(`(?s)<script>(.*?)</script>`).FindStringSubmatch(page)
	if policy == nil || style == nil || script == nil {
		t.Fatal("no policy, style or script")
	}
	for _, text := range []string{style[1], script[1]} {
		if !strings.Contains(policy[1], escaped(digest(text))) {
			t.Errorf("the policy %s lacks %s", policy[1], digest(text))
		}
	}
}

func TestSizes(t *testing.T) {
	usual := scene{length: 30 * time.Second}.report(t)
	for len(usual.Events) < 1000 {
		usual.Events = append(usual.Events, usual.Events[:min(len(usual.Events), 1000-len(usual.Events))]...)
	}
	if page := written(t, usual); len(page) > 3<<20 {
		t.Errorf("a drill of 30 s with %d requests and %d events takes %d bytes, want at most 3 MiB", len(usual.Samples), len(usual.Events), len(page))
	}
	long := scene{length: 600 * time.Second}.report(t)
	if len(long.Samples) < 140000 {
		t.Fatalf("only %d samples", len(long.Samples))
	}
	page := written(t, long)
	if len(page) > 5<<20 {
		t.Errorf("a drill of 10 minutes with %d requests takes %d bytes, want at most 5 MiB", len(long.Samples), len(page))
	}
	if !strings.Contains(string(page), "every request is in samples.csv") {
		t.Error("the page does not say that it lacks requests")
	}
}

func TestEveryOddRequestIsKeptWhileThereIsRoom(t *testing.T) {
	r := failing().report(t)
	kept, note := keep(r.Samples, 2000)
	odd := func(list []labs.Sample) (n int) {
		for _, s := range list {
			if !s.OK {
				n++
			}
		}
		return n
	}
	if len(kept) > 2000 || odd(kept) != odd(r.Samples) || note == "" {
		t.Errorf("kept %d with %d lost, note %q; want at most 2000 and all %d lost", len(kept), odd(kept), note, odd(r.Samples))
	}
	for i := range r.Samples {
		r.Samples[i].OK = false
	}
	if kept, _ := keep(r.Samples, 2000); len(kept) > 2000 || len(kept) < 1000 {
		t.Errorf("kept %d of %d lost requests, want nearly 2000", len(kept), len(r.Samples))
	}
	if kept, note := keep(r.Samples, 1e6); len(kept) != len(r.Samples) || note != "" {
		t.Error("not all are kept, though there is room")
	}
}

func TestSeveralRunsAreCompared(t *testing.T) {
	good, bad := scene{}.report(t), failing().report(t)
	page, err := newPage([]*drill.Report{good, bad, good})
	if err != nil {
		t.Fatal(err)
	}
	s := page.Summary
	if s.Passed != 2 || s.Median.Lost != total(good).Lost || s.Worst.Lost != total(bad).Lost || s.Worst.Longest != total(bad).Longest {
		t.Errorf("got %d passed, median %d lost, worst %d lost, longest %v", s.Passed, s.Median.Lost, s.Worst.Lost, s.Worst.Longest)
	}
	if len(s.Unsteady) == 0 || s.Unsteady[0].Runs[0] != 2 {
		t.Errorf("got %+v, want what failed in run 2", s.Unsteady)
	}
}

func TestWarnings(t *testing.T) {
	starved := scene{}.report(t)
	starved.Samples = append([]labs.Sample(nil), starved.Samples...)
	for i := range starved.Samples {
		if s := &starved.Samples[i]; s.Start > mono(8*time.Second) && s.Start < mono(9*time.Second) {
			s.Start = mono(9 * time.Second)
			s.End = max(s.End, s.Start)
		}
	}
	late := scene{}.report(t)
	late.Faults[0].At += drill.Span(time.Second)
	stopped := scene{}.report(t)
	stopped.Incomplete = "only 1 of 2 steps were carried out"
	for want, r := range map[string]*drill.Report{
		"The machine was starved": starved, "after it was due": late, "holds no recorded requests": scene{unwatched: true}.report(t),
		"The run is incomplete: only 1 of 2": stopped,
	} {
		if got := strings.Join(warnings(r, newTrace(r)), "\n"); !strings.Contains(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestBinsAreFew(t *testing.T) {
	for _, length := range []float64{0.3, 23, 30, 600, 86400} {
		if w := binWidth(length, maxBins); length/w > maxBins {
			t.Errorf("%v s in bins of %v s are %v", length, w, length/w)
		}
	}
}
