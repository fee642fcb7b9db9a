package doctor

import (
	"fmt"
	"io"
	"strings"
)

// State is a judgement.
type State string

// What a finding or a runner is.
const (
	OK      State = "ok"
	Limited State = "limited" // it works, less well or not in all cases
	Missing State = "missing"
)

// Finding is one thing that was looked at.
type Finding struct {
	Name  string `json:"name"`
	State State  `json:"state"`
	Found string `json:"found"`         // what is there
	For   string `json:"for"`           // what it is for
	Fix   string `json:"fix,omitempty"` // the command that mends it
}

// Report is all that Examine says.
type Report struct {
	Runners  []Finding `json:"runners"`
	Findings []Finding `json:"findings"`
}

// CanRun reports whether any runner can bring a lab up here.
func (r Report) CanRun() bool {
	for _, f := range r.Runners {
		if f.State != Missing {
			return true
		}
	}
	return false
}

// WriteTo prints the report for people: runners first, then every finding, with its remedy below it.
func (r Report) WriteTo(w io.Writer) (int64, error) {
	var b strings.Builder
	width := 0
	for _, list := range [][]Finding{r.Runners, r.Findings} {
		for _, f := range list {
			width = max(width, len(f.Name))
		}
	}
	section := func(head string, list []Finding) {
		fmt.Fprintln(&b, head)
		for _, f := range list {
			fmt.Fprintf(&b, "  %-7s  %-*s  %s (%s)\n", f.State, width, f.Name, f.Found, f.For)
			if f.Fix != "" {
				fmt.Fprintf(&b, "  %7s  %-*s  fix: %s\n", "", width, "", f.Fix)
			}
		}
	}
	section("Runners", r.Runners)
	section("Host", r.Findings)
	n, err := io.WriteString(w, b.String())
	return int64(n), err
}
