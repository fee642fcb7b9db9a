package report

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/catchment-net/catchment/labs/drill"
)

// Markdown writes the runs as a comment for a pull request: verdicts, where outages went, and who was hit worst.
func Markdown(w io.Writer, runs []*drill.Report) error {
	b := bufio.NewWriter(w)
	for _, r := range runs {
		word := "PASS"
		if !r.Pass {
			word = "FAIL"
		}
		fmt.Fprintf(b, "## %s: %s\n\n", word, escapeMD(title(r)))
		fmt.Fprintf(b, "lab %s, %s runner, seed %d, %s long, %s\n\n", escapeMD(r.Lab), escapeMD(r.Runner), r.Seed, r.Length, r.Started.UTC().Format("2006-01-02 15:04:05 UTC"))
		for _, warning := range r.Warnings {
			fmt.Fprintf(b, "> **Warning:** %s\n\n", escapeMD(warning))
		}
		if r.Incomplete != "" {
			fmt.Fprintf(b, "> **Incomplete:** %s\n\n", escapeMD(r.Incomplete))
		}
		verdictsMD(b, r)
		outagesMD(b, r)
		clientsMD(b, r)
	}
	if len(runs) > 1 {
		summaryMD(b, drill.Summarize(runs))
	}
	if err := b.Flush(); err != nil {
		return fmt.Errorf("write Markdown: %w", err)
	}
	return nil
}

// escapeMD keeps a text from being markup or the end of a cell.
func escapeMD(s string) string {
	return strings.NewReplacer("\\", "\\\\", "|", "\\|", "`", "\\`", "*", "\\*", "_", "\\_", "<", "&lt;", ">", "&gt;", "\n", " ", "\r", " ").Replace(s)
}

// lineMD writes one line of a table.
func lineMD(w io.Writer, cells ...string) {
	for i, c := range cells {
		cells[i] = escapeMD(c)
	}
	fmt.Fprintf(w, "| %s |\n", strings.Join(cells, " | "))
}

// headMD writes a table's head.
func headMD(w io.Writer, cells ...string) {
	n := len(cells)
	lineMD(w, cells...)
	fmt.Fprintf(w, "|%s\n", strings.Repeat(" --- |", n)) // GitHub Flavored Markdown, tables
}

func verdictsMD(w io.Writer, r *drill.Report) {
	headMD(w, "verdict", "window", "expectation", "found", "cause")
	for _, v := range r.Expectations {
		word := "pass"
		if !v.Pass {
			word = "FAIL"
		}
		lineMD(w, word, v.Window, v.Text, v.Found, v.Cause)
	}
	fmt.Fprintln(w)
	for _, v := range r.Expectations {
		if v.Pass {
			continue
		}
		fmt.Fprintf(w, "<details><summary>%s: %s</summary>\n\n", escapeMD(v.Window), escapeMD(v.Text))
		for line := range strings.SplitSeq(reasons(v), "\n") {
			fmt.Fprintf(w, "    %s\n", line)
		}
		fmt.Fprint(w, "\n</details>\n\n")
	}
}

// sufferedBy is one outage with whose it was.
type sufferedBy struct {
	client, load string
	drill.Outage
}

// maxMD bounds the tables of outages and of clients.
const maxMD = 10

func outagesMD(w io.Writer, r *drill.Report) {
	var all []sufferedBy
	for _, c := range r.Clients {
		for load, l := range c.Loads {
			for _, o := range l.Outages {
				all = append(all, sufferedBy{c.Client, load, o})
			}
		}
	}
	if len(all) == 0 {
		fmt.Fprint(w, "No client had an outage.\n\n")
		return
	}
	slices.SortFunc(all, func(a, b sufferedBy) int {
		return cmp.Or(cmp.Compare(b.Total, a.Total), cmp.Compare(a.client, b.client), cmp.Compare(a.load, b.load), cmp.Compare(a.From, b.From))
	})
	fmt.Fprintf(w, "### Outages: the longest %d of %d\n\n", min(len(all), maxMD), len(all))
	headMD(w, "client", "load", "from", "total", "detection", "convergence", "TTL wait", "lost", "after", "last error")
	for _, o := range all[:min(len(all), maxMD)] {
		lineMD(w, o.client, o.load, o.From.String(), o.Total.String(), spanMD(o.Detection), spanMD(o.Convergence), spanMD(o.TTLWait),
			strconv.Itoa(o.Lost), o.Cause, o.Error)
	}
	fmt.Fprintln(w)
}

func spanMD(s *drill.Span) string {
	if s == nil {
		return "–"
	}
	return s.String()
}

func clientsMD(w io.Writer, r *drill.Report) {
	type one struct {
		client, load string
		drill.LoadReport
	}
	var all []one
	for _, c := range r.Clients {
		for load, l := range c.Loads {
			all = append(all, one{c.Client, load, l})
		}
	}
	slices.SortFunc(all, func(a, b one) int {
		return cmp.Or(cmp.Compare(b.Longest, a.Longest), cmp.Compare(b.Lost, a.Lost), cmp.Compare(b.Latency99, a.Latency99), cmp.Compare(a.client+a.load, b.client+b.load))
	})
	fmt.Fprintf(w, "### Clients: the worst %d of %d\n\n", min(len(all), maxMD), len(all))
	headMD(w, "client", "load", "before", "during", "after", "requests", "lost", "wrong bodies", "hit ratio", "p50", "p99", "longest outage")
	for _, c := range all[:min(len(all), maxMD)] {
		lineMD(w, c.client, c.load, c.Before, c.During, c.After, strconv.Itoa(c.Samples), strconv.Itoa(c.Lost), strconv.Itoa(c.WrongBodies),
			fmt.Sprintf("%.1f%%", 100*c.HitRatio), c.Latency50.String(), c.Latency99.String(), c.Longest.String())
	}
	fmt.Fprintln(w)
}

func summaryMD(w io.Writer, s drill.Summary) {
	fmt.Fprintf(w, "## All runs: %d of %d passed\n\n", s.Passed, s.Runs)
	headMD(w, "window", "expectation", "passed", "min", "median", "worst")
	for _, e := range s.Expectations {
		low, mid, worst := "", "", ""
		if n := e.Numbers; n != nil {
			low, mid, worst = Number(n.Min, e.Unit), Number(n.Median, e.Unit), Number(n.Worst, e.Unit)
		}
		lineMD(w, e.Window, e.Text, fmt.Sprintf("%d of %d", e.Passed, s.Runs), low, mid, worst)
	}
	fmt.Fprintln(w)
}

// Number prints what an expectation measured in its unit; nil is forever.
func Number(v *float64, unit string) string {
	switch {
	case v == nil:
		return "forever"
	case unit == "s":
		return drill.Span(*v * 1e9).String()
	case unit == "share":
		return fmt.Sprintf("%.1f%%", 100**v)
	}
	return strconv.FormatFloat(*v, 'f', -1, 64)
}
