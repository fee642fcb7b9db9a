package drill

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/catchment-net/catchment/labs"
)

// Repeat runs the drill n times in one lab; each run is judged by itself. If a run has no verdict, the reports of those
// before it come with the error.
func Repeat(ctx context.Context, lab labs.Lab, d *Drill, o Options, n int) ([]*Report, error) {
	if n <= 1 {
		r, err := Run(ctx, lab, d, o)
		if err != nil {
			return nil, err
		}
		return []*Report{r}, nil
	}
	var all []*Report
	for i := 1; i <= n; i++ {
		o.Run, o.Runs = i, n
		if o.Out != nil {
			fmt.Fprintf(o.Out, "── run %d of %d\n", i, n)
		}
		r, err := Run(ctx, lab, d, o)
		if err != nil {
			return all, fmt.Errorf("run %d of %d: %w", i, n, err)
		}
		all = append(all, r)
	}
	return all, nil
}

// Series is a drill that was repeated, as report.json holds it.
type Series struct {
	Summary Summary   `json:"summary"`
	Runs    []*Report `json:"runs"`
}

// Summary is what several runs of one drill came to. It passes if every run does.
type Summary struct {
	Drill        string               `json:"drill"`
	Runs         int                  `json:"runs"`
	Passed       int                  `json:"passed"`
	Pass         bool                 `json:"pass"`
	Expectations []ExpectationSummary `json:"expectations"`
}

// ExpectationSummary is how one expectation fared. Min is the smallest number found, Worst the one at the end that the
// expectation forbids; null means forever. They are of the Measured runs alone, and absent if there were none.
type ExpectationSummary struct {
	Window   string `json:"window"`
	Text     string `json:"text"`
	Passed   int    `json:"passed"`
	Measured int    `json:"measured"`
	Unit     string `json:"unit,omitempty"`
	Numbers  *Range `json:"numbers,omitempty"`
}

// Range is what several runs measured. Null is forever.
type Range struct {
	Min    *float64 `json:"min"`
	Median *float64 `json:"median"`
	Worst  *float64 `json:"worst"`
}

// Summarize sums up the runs of one drill.
func Summarize(runs []*Report) Summary {
	s := Summary{Runs: len(runs), Pass: len(runs) > 0}
	for _, r := range runs {
		s.Drill, s.Pass = r.Drill, s.Pass && r.Pass
		if r.Pass {
			s.Passed++
		}
	}
	if len(runs) == 0 {
		return s
	}
	for i, first := range runs[0].Expectations {
		e := ExpectationSummary{Window: first.Window, Text: first.Text}
		var values []*float64
		worse := ""
		for _, r := range runs {
			if i >= len(r.Expectations) {
				continue
			}
			v := r.Expectations[i]
			if v.Pass {
				e.Passed++
			}
			if v.Unit != "" {
				values, e.Unit, worse = append(values, v.Value), v.Unit, v.Worse
			}
		}
		if e.Measured = len(values); e.Measured > 0 {
			e.Numbers = rangeOf(values, worse)
		}
		s.Expectations = append(s.Expectations, e)
	}
	return s
}

// rangeOf sorts the values; forever is above all others. The median of an even number is the higher of the middle two.
func rangeOf(values []*float64, worse string) *Range {
	slices.SortStableFunc(values, func(a, b *float64) int {
		switch {
		case a == nil && b == nil:
			return 0
		case a == nil:
			return 1
		case b == nil:
			return -1
		}
		return cmp.Compare(*a, *b)
	})
	r := &Range{Min: values[0], Median: values[len(values)/2], Worst: values[len(values)-1]}
	if worse == "lower" {
		r.Worst = r.Min
	}
	return r
}
