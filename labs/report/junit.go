package report

import (
	"cmp"
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/catchment-net/catchment/labs/drill"
)

// The elements of a JUnit file, as far as CI systems read them.
type (
	junitFile struct {
		XMLName  xml.Name     `xml:"testsuites"`
		Tests    int          `xml:"tests,attr"`
		Failures int          `xml:"failures,attr"`
		Errors   int          `xml:"errors,attr"`
		Suites   []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name     string      `xml:"name,attr"`
		Tests    int         `xml:"tests,attr"`
		Failures int         `xml:"failures,attr"`
		Errors   int         `xml:"errors,attr"`
		Time     string      `xml:"time,attr"`
		Stamp    string      `xml:"timestamp,attr"`
		Cases    []junitCase `xml:"testcase"`
		Out      string      `xml:"system-out,omitempty"`
	}
	junitCase struct {
		Class   string        `xml:"classname,attr"`
		Name    string        `xml:"name,attr"`
		Time    string        `xml:"time,attr"`
		Failure *junitProblem `xml:"failure,omitempty"`
		Error   *junitProblem `xml:"error,omitempty"`
	}
	junitProblem struct {
		Message string `xml:"message,attr"`
		Type    string `xml:"type,attr"`
		Text    string `xml:",chardata"`
	}
)

// JUnit writes a test suite for each run and a test case for each expectation. A failure's text is why, and the timeline.
func JUnit(w io.Writer, runs []*drill.Report) error {
	var f junitFile
	for _, r := range runs {
		s := suiteOf(r)
		f.Tests, f.Failures, f.Errors = f.Tests+s.Tests, f.Failures+s.Failures, f.Errors+s.Errors
		f.Suites = append(f.Suites, s)
	}
	text, err := xml.MarshalIndent(f, "", "  ")
	if err != nil {
		return fmt.Errorf("encode JUnit: %w", err)
	}
	if _, err := fmt.Fprintf(w, "%s%s\n", xml.Header, text); err != nil {
		return fmt.Errorf("write JUnit: %w", err)
	}
	return nil
}

func suiteOf(r *drill.Report) junitSuite {
	length := fmt.Sprintf("%.3f", time.Duration(r.Length).Seconds())
	s := junitSuite{
		Name: title(r), Tests: len(r.Expectations), Time: length, Stamp: r.Started.UTC().Format("2006-01-02T15:04:05"),
		Out: strings.Join(r.Warnings, "\n"),
	}
	for _, v := range r.Expectations {
		c := junitCase{Class: r.Drill, Name: v.Window + ": " + v.Text, Time: "0"}
		if !v.Pass {
			s.Failures++
			c.Failure = &junitProblem{Message: "found " + v.Found, Type: cmp.Or(v.Cause, "expectation"), Text: reasons(v)}
		}
		s.Cases = append(s.Cases, c)
	}
	if r.Incomplete != "" {
		s.Tests, s.Errors = s.Tests+1, s.Errors+1
		s.Cases = append(s.Cases, junitCase{Class: r.Drill, Name: "timeline", Time: "0", Error: &junitProblem{Message: r.Incomplete, Type: "incomplete"}})
	}
	return s
}

// title names a run: "kill-best-pop", "kill-best-pop (run 2 of 5)". A CI system follows suites by their names, so the
// lab's is no part of it: a lab of the drill's own has another each time.
func title(r *drill.Report) string {
	name := r.Drill
	if r.Runs > 1 {
		name += fmt.Sprintf(" (run %d of %d)", r.Run, r.Runs)
	}
	return name
}

// reasons are a failed expectation's place, causes and timeline, a line each.
func reasons(v drill.Verdict) string {
	lines := []string{v.Pos}
	for _, why := range v.Why {
		lines = append(lines, "because "+why)
	}
	for _, l := range v.Around {
		lines = append(lines, "  | "+l)
	}
	return strings.Join(lines, "\n")
}
