//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// line is a measured figure.
type line struct {
	Row     string    `json:"row"`
	Speaker string    `json:"speaker"`
	Transit string    `json:"transit"`
	Family  string    `json:"family,omitempty"`
	What    string    `json:"what"`
	Unit    string    `json:"unit"`
	N       int       `json:"n"`
	Median  float64   `json:"median"`
	P95     float64   `json:"p95"`
	Max     float64   `json:"max"`
	Bar     string    `json:"bar,omitempty"`   // what must hold; "" where the figure is reported
	Holds   *bool     `json:"holds,omitempty"` // nil without a bar
	Values  []float64 `json:"values,omitempty"`
	Failed  string    `json:"failed,omitempty"`
}

// bar is what a figure must not exceed; zeros say nothing.
type bar struct {
	median, p95, max *float64
}

func (b bar) String() string {
	var parts []string
	for _, p := range []struct {
		name  string
		limit *float64
	}{{"median", b.median}, {"p95", b.p95}, {"max", b.max}} {
		if p.limit != nil {
			parts = append(parts, fmt.Sprintf("%s ≤ %g", p.name, *p.limit))
		}
	}
	return strings.Join(parts, ", ")
}

func (b bar) holds(l line) *bool {
	if b == (bar{}) {
		return nil
	}
	ok := (b.median == nil || l.Median <= *b.median) && (b.p95 == nil || l.P95 <= *b.p95) && (b.max == nil || l.Max <= *b.max)
	return &ok
}

// table prints lines as they come, and all of them at the end.
type table struct {
	o     options
	began time.Time
	load  string
	lines []line
	errs  int
	out   io.Writer
}

func newTable(o options, out io.Writer) *table {
	return &table{o: o, began: time.Now(), load: loadAverage(), out: out}
}

func loadAverage() string {
	text, _ := os.ReadFile("/proc/loadavg")
	fields := strings.Fields(string(text))
	return strings.Join(fields[:min(3, len(fields))], " ")
}

// add takes the values of a figure.
func (t *table) add(l line, b bar, values []float64) {
	l.N, l.Values = len(values), values
	l.Median, l.P95, l.Max = quantile(values, 0.5), quantile(values, 0.95), quantile(values, 1)
	l.Bar, l.Holds = b.String(), b.holds(l)
	t.lines = append(t.lines, l)
	fmt.Fprintln(os.Stderr, l.text(" · "))
}

func (t *table) failed(r row, transit string, err error) {
	l := line{Row: r.name, Transit: transit, Failed: err.Error()}
	t.lines, t.errs = append(t.lines, l), t.errs+1
	fmt.Fprintln(os.Stderr, l.text(" · "))
}

// quantile is the value that a share of the values does not exceed (nearest rank).
func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	s := slices.Sorted(slices.Values(values))
	return s[max(0, int(math.Ceil(q*float64(len(s))))-1)]
}

func (l line) text(sep string) string {
	if l.Failed != "" {
		return strings.Join([]string{l.Row, "", l.Transit, "", "failed: " + l.Failed, "", "", "", "", "", ""}, sep)
	}
	verdict := ""
	if l.Holds != nil {
		verdict = map[bool]string{true: "yes", false: "NO"}[*l.Holds]
	}
	f := func(v float64) string {
		if v > 0 && v < 1 { // a share of a core
			return fmt.Sprintf("%.2f", v)
		}
		return strings.TrimSuffix(fmt.Sprintf("%.1f", v), ".0")
	}
	return strings.Join([]string{l.Row, l.Speaker, l.Transit, l.Family, l.What + " (" + l.Unit + ")", fmt.Sprint(l.N), f(l.Median), f(l.P95), f(l.Max), l.Bar, verdict}, sep)
}

// finish prints the table and writes the JSON. The error says what did not hold or failed.
func (t *table) finish() error {
	fmt.Fprintf(t.out, "%d cores, load %s before and %s after, %v\n\n", runtime.NumCPU(), t.load, loadAverage(), time.Since(t.began).Round(time.Second))
	w := tabwriter.NewWriter(t.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "row\tspeaker\ttransit\t\tfigure\tn\tmedian\tp95\tmax\tbar\tholds")
	missed := 0
	for _, l := range t.lines {
		fmt.Fprintln(w, l.text("\t"))
		if l.Holds != nil && !*l.Holds {
			missed++
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if t.o.json != "" {
		text, err := json.MarshalIndent(map[string]any{"cores": runtime.NumCPU(), "load": t.load, "began": t.began, "lines": t.lines}, "", " ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(t.o.json, append(text, '\n'), 0o644); err != nil {
			return err
		}
	}
	if missed+t.errs > 0 {
		return fmt.Errorf("%d bars not held, %d rows failed", missed, t.errs)
	}
	return nil
}
