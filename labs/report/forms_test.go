package report

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/catchment-net/catchment/internal/event"
	"github.com/catchment-net/catchment/labs"
	"github.com/catchment-net/catchment/labs/drill"
	"github.com/catchment-net/catchment/topology"
)

const began = int64(1000 * time.Second)

const formsDrill = `load: {img: {get: http://img.shop.example/, rate: 2/s}}
at: {2s: kill ams, 5s: heal ams, 8s: end}
expect:
  always: [lost == 0, wrong_bodies == 0, "outage(*, img) < 1.1s"]
  2s..5s: [withdrawal(ams) < 100ms, "share(ams, img) < 50%"]
  after 6s: ["catchment(berlin, img) == ams"]
`

// played is a run in which ams dies, its routes stay for a while, and Berlin loses what it sends there meanwhile.
func played(tb testing.TB, stays time.Duration, run, runs int) *drill.Report {
	tb.Helper()
	text, err := os.ReadFile("../catalog/quickstart/topology.yaml")
	if err != nil {
		tb.Fatal(err)
	}
	topo, err := topology.Parse("topology.yaml", text)
	if err != nil {
		tb.Fatal(err)
	}
	d, err := drill.Parse("forms.yaml", []byte(formsDrill), topo)
	if err != nil {
		tb.Fatal(err)
	}
	rec := &drill.Recording{Lab: "quickstart", Runner: "paper", Seed: 7, Zero: began, Started: time.Unix(1_790_000_000, 0)}
	rec.Lateness = drill.Lateness{Timers: 800, P99: drill.Span(3 * time.Millisecond), Max: drill.Span(70 * time.Millisecond)}
	for _, s := range d.Steps {
		rec.Faults = append(rec.Faults, drill.FaultRecord{Fault: s.Fault, At: s.At, Start: began + int64(s.At), Done: began + int64(s.At)})
	}
	for _, p := range topo.Anycast.Prefixes {
		rec.Events = append(rec.Events, event.Event{
			Mono: began + int64(2*time.Second+stays), Node: "arc", Kind: event.Best, Subject: p.String(), State: "announced", Detail: map[string]string{"pop": "nyc"},
		})
	}
	rec.Routers = []labs.RouterStatus{{Name: "arc", Best: map[string]labs.BestPath{}}}
	for _, p := range topo.Anycast.Prefixes {
		rec.Routers[0].Best[p.String()] = labs.BestPath{Via: "ams", POP: "ams"}
	}
	for _, n := range topo.Internet.Networks {
		for at := time.Duration(0); n.Users > 0 && at < 7900*time.Millisecond; at += 500 * time.Millisecond {
			s := labs.Sample{
				Client: n.Name, Load: "img", Start: began + int64(at), End: began + int64(at+10*time.Millisecond), OK: true, Status: 200, Tries: 1,
				POP: "ams", Node: "ams1", Addr: netip.MustParseAddr("192.0.2.80"), CacheStatus: `ams1; hit; detail="a, b"`, Hit: true,
			}
			switch {
			case n.Name == "berlin" && at >= 2*time.Second && at < 2*time.Second+stays:
				s.OK, s.Error, s.Status, s.POP, s.Node = false, "refused, \"now\" | <b>", 0, "", ""
			case at >= 2*time.Second && at < 5*time.Second:
				s.POP, s.Node = "nyc", "nyc1"
			}
			rec.Samples = append(rec.Samples, s)
		}
	}
	r := drill.Evaluate(d, rec)
	r.Run, r.Runs = run, runs
	return r
}

// cells splits the lines of the Markdown table with this head.
func cells(t *testing.T, text, head string) [][]string {
	t.Helper()
	_, rest, found := strings.Cut(text, "| "+head+" |")
	if !found {
		t.Fatalf("no table that begins with %q in\n%s", head, text)
	}
	var rows [][]string
	for line := range strings.Lines(rest) {
		if strings.TrimSpace(line) == "" && len(rows) > 0 {
			break
		}
		line = strings.ReplaceAll(line, `\|`, "¦")
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| ---") {
			continue
		}
		var row []string
		for c := range strings.SplitSeq(strings.Trim(strings.TrimSpace(line), "|"), "|") {
			row = append(row, strings.ReplaceAll(strings.ReplaceAll(strings.TrimSpace(c), "\\", ""), "&lt;", "<"))
		}
		rows = append(rows, row)
	}
	return rows
}

// Every form is written, read back, and must say the same of each run.
func TestAllFormsAgree(t *testing.T) {
	runs := []*drill.Report{played(t, time.Second, 1, 2), played(t, 2*time.Second, 2, 2)}
	dir := t.TempDir()
	if err := Write(dir, runs, false); err != nil {
		t.Fatal(err)
	}
	read, err := Read(dir)
	if err != nil || len(read) != 2 {
		t.Fatalf("%d runs in report.json, error %v", len(read), err)
	}
	if len(read[0].Samples) != 0 {
		t.Error("report.json holds samples that nobody asked for")
	}
	open := func(name string) []byte {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	var junit junitFile
	if err := xml.Unmarshal(open("junit.xml"), &junit); err != nil {
		t.Fatal(err)
	}
	lines, err := csv.NewReader(bytes.NewReader(open("samples.csv"))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	markdown := string(open("report.md"))
	parts := strings.SplitAfter(markdown, "\n## ")
	for i, r := range read {
		failed := 0
		for j, v := range r.Expectations {
			c := junit.Suites[i].Cases[j]
			if !v.Pass {
				failed++
			}
			if (c.Failure == nil) != v.Pass || !v.Pass && (c.Failure.Message != "found "+v.Found || !strings.Contains(c.Failure.Text, v.Pos)) {
				t.Errorf("run %d, %s: JUnit says %+v", i+1, v.Text, c.Failure)
			}
			row := cells(t, parts[i], "verdict")[j]
			if row[0] != map[bool]string{true: "pass", false: "FAIL"}[v.Pass] || row[3] != v.Found {
				t.Errorf("run %d, %s: Markdown says %q, want %q", i+1, v.Text, row, v.Found)
			}
		}
		if junit.Suites[i].Failures != failed || failed == 0 {
			t.Errorf("run %d: %d failures in JUnit, %d in JSON: want the same, and some", i+1, junit.Suites[i].Failures, failed)
		}
		if !strings.Contains(junit.Suites[i].Out, "timers fired up to 70ms late") || !strings.Contains(parts[i], "timers fired up to 70ms late") {
			t.Errorf("run %d does not say that the machine was starved", i+1)
		}
		csvAgrees(t, r, i+1, lines)
		clientsAgree(t, r, cells(t, parts[i], "client | load | before"))
	}
	events := bytes.Count(open("events.jsonl"), []byte("\n"))
	if want := len(runs[0].Events) + len(runs[1].Events); events != want {
		t.Errorf("%d events, want %d", events, want)
	}
}

// csvAgrees counts the requests of a run again, from their lines.
func csvAgrees(t *testing.T, r *drill.Report, run int, lines [][]string) {
	t.Helper()
	column := func(name string) int { return slices.Index(lines[0], name) }
	samples, lost := map[string]int{}, map[string]int{}
	for _, l := range lines[1:] {
		if l[column("run")] != strconv.Itoa(run) {
			continue
		}
		key := l[column("client")] + "/" + l[column("load")]
		samples[key]++
		if l[column("ok")] == "false" {
			lost[key]++
			if l[column("error")] != `refused, "now" | <b>` {
				t.Errorf("error %q came back", l[column("error")])
			}
		}
	}
	for _, c := range r.Clients {
		for load, l := range c.Loads {
			if key := c.Client + "/" + load; samples[key] != l.Samples || lost[key] != l.Lost {
				t.Errorf("run %d, %s: CSV has %d requests and %d lost, JSON %d and %d", run, key, samples[key], lost[key], l.Samples, l.Lost)
			}
		}
	}
}

func clientsAgree(t *testing.T, r *drill.Report, rows [][]string) {
	t.Helper()
	for _, row := range rows {
		for _, c := range r.Clients {
			l, ok := c.Loads[row[1]]
			if c.Client != row[0] || !ok {
				continue
			}
			want := []string{fmt.Sprint(l.Samples), fmt.Sprint(l.Lost), fmt.Sprint(l.WrongBodies), fmt.Sprintf("%.1f%%", 100*l.HitRatio), l.Latency50.String(), l.Latency99.String(), l.Longest.String()}
			if got := row[5:12]; !slices.Equal(got, want) {
				t.Errorf("%s: Markdown says %q, JSON %q", c.Client, got, want)
			}
		}
	}
	if len(rows) != len(r.Clients) {
		t.Errorf("%d clients in Markdown, %d in JSON", len(rows), len(r.Clients))
	}
}

func TestSummaryOfSeveralRuns(t *testing.T) {
	s := drill.Summarize([]*drill.Report{played(t, time.Second, 1, 3), played(t, 2*time.Second, 2, 3), played(t, 50*time.Millisecond, 3, 3)})
	if s.Pass || s.Runs != 3 || s.Passed != 0 {
		t.Errorf("pass %v, %d of %d", s.Pass, s.Passed, s.Runs)
	}
	for _, e := range s.Expectations {
		if e.Text != "withdrawal(ams) < 100ms" {
			continue
		}
		if n := e.Numbers; e.Passed != 1 || e.Measured != 3 || *n.Min != 0.05 || *n.Median != 1 || *n.Worst != 2 {
			t.Errorf("%+v with %v %v %v: want one pass of three, 0.05, 1 and 2", e, *n.Min, *n.Median, *n.Worst)
		}
	}
}

func TestCompare(t *testing.T) {
	usual := Tolerance{Share: 0.2, Time: 50 * time.Millisecond}
	tests := []struct {
		name       string
		before     time.Duration
		after      time.Duration
		regression bool
		row        string // that must be there: "what name change"
	}{
		{"the same", time.Second, time.Second, false, ""},
		{"within the share", 600 * time.Millisecond, 680 * time.Millisecond, false, ""},
		{"within the time", 10 * time.Millisecond, 55 * time.Millisecond, false, ""},
		{"a time is worse", time.Second, 1300 * time.Millisecond, true, "withdrawal arc: kill of ams (step 1), ipv6 worse"},
		{"an expectation fails now", 60 * time.Millisecond, time.Second, true, "expectation 2s..5s: withdrawal(ams) < 100ms worse"},
		{"better is none", 2 * time.Second, 60 * time.Millisecond, false, "outage berlin/img better"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d, err := Compare([]*drill.Report{played(t, tt.before, 0, 0)}, []*drill.Report{played(t, tt.after, 0, 0)}, usual)
			if err != nil {
				t.Fatal(err)
			}
			found := tt.row == ""
			for _, r := range d.Rows {
				found = found || r.What+" "+r.Name+" "+r.Change == tt.row
			}
			if d.Regression != tt.regression || !found {
				t.Errorf("regression %v, want %v with %q; rows %+v", d.Regression, tt.regression, tt.row, d.Rows)
			}
		})
	}
	other := played(t, time.Second, 0, 0)
	other.Drill = "another"
	if _, err := Compare([]*drill.Report{other}, []*drill.Report{played(t, time.Second, 0, 0)}, usual); err == nil {
		t.Error("two drills were compared")
	}
}

// No time is a regression against itself, and none is one in both directions.
func TestBeyondIsAnOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		span := rapid.Custom(func(t *rapid.T) drill.Span {
			if rapid.Bool().Draw(t, "forever") {
				return drill.Forever
			}
			return drill.Span(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "span"))
		})
		a, b := span.Draw(t, "a"), span.Draw(t, "b")
		tol := Tolerance{Share: rapid.Float64Range(0, 2).Draw(t, "share"), Time: time.Duration(rapid.Int64Range(0, 1e9).Draw(t, "time"))}
		if beyond(a, a, tol) || beyond(a, b, tol) && beyond(b, a, tol) {
			t.Fatalf("%v and %v are beyond each other", a, b)
		}
	})
}

func FuzzDecode(f *testing.F) {
	one, err := json.Marshal(played(f, time.Second, 0, 0).Trimmed())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(one)
	f.Add([]byte(`{"runs":[null]}`))
	f.Add([]byte(`{"drill":"x","expectations":[{"unit":"s","worse":"higher"}],"routers":[{"withdrawals":[{"families_s":{"ipv4":null}}]}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		runs, err := decode(text)
		if err != nil {
			return
		}
		if _, err := Compare(runs, runs, Tolerance{}); err != nil {
			t.Fatal(err)
		}
		for _, write := range []func() error{
			func() error { return Markdown(&bytes.Buffer{}, runs) }, func() error { return JUnit(&bytes.Buffer{}, runs) },
			func() error { return SamplesCSV(&bytes.Buffer{}, runs) },
		} {
			if err := write(); err != nil {
				t.Fatal(err)
			}
		}
	})
}
