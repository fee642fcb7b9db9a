package report

import (
	"cmp"
	"slices"

	"github.com/catchment-net/catchment/labs/drill"
)

// summary compares several runs.
type summary struct {
	Passed, Of int
	Families   []string
	Rows       []summaryRow
	Median     summaryRow
	Worst      summaryRow
	Unsteady   []unsteady
}

// summaryRow is one run, or the median or the worst of each column.
type summaryRow struct {
	Run        *run // nil of median and worst
	Lost       int
	Wrong      int
	Empty      int
	Longest    drill.Span
	Withdrawal []cell // in the order of Families
}

// cell is a span that may be absent.
type cell struct {
	Known bool
	Span  drill.Span
}

// unsteady is an expectation that did not hold in every run.
type unsteady struct {
	Window, Text string
	Runs         []int // in which it failed, counted from 1
}

func summarize(runs []*run) *summary {
	s := &summary{Of: len(runs)}
	for _, r := range runs {
		if r.Pass {
			s.Passed++
		}
		for _, f := range r.Families {
			if !slices.Contains(s.Families, f) {
				s.Families = append(s.Families, f)
			}
		}
	}
	slices.Sort(s.Families)
	for _, r := range runs {
		row := summaryRow{Run: r, Lost: r.Totals.Lost, Wrong: r.Totals.WrongBodies, Empty: r.Totals.EmptyAnswers, Longest: r.Totals.Longest}
		for _, f := range s.Families {
			span, ok := r.Totals.Withdrawal[f]
			row.Withdrawal = append(row.Withdrawal, cell{ok, span})
		}
		s.Rows = append(s.Rows, row)
	}
	s.Median, s.Worst = s.over(middle[int], middle[drill.Span]), s.over(slices.Max[[]int], slices.Max[[]drill.Span])
	s.Unsteady = failures(runs)
	return s
}

// over makes a row of one statistic of each column.
func (s *summary) over(counts func([]int) int, spans func([]drill.Span) drill.Span) summaryRow {
	ints := func(of func(summaryRow) int) int {
		var list []int
		for _, row := range s.Rows {
			list = append(list, of(row))
		}
		return counts(list)
	}
	var longest []drill.Span
	for _, row := range s.Rows {
		longest = append(longest, row.Longest)
	}
	out := summaryRow{
		Lost: ints(func(r summaryRow) int { return r.Lost }), Wrong: ints(func(r summaryRow) int { return r.Wrong }),
		Empty: ints(func(r summaryRow) int { return r.Empty }), Longest: spans(longest),
	}
	for i := range s.Families {
		var list []drill.Span
		for _, row := range s.Rows {
			if row.Withdrawal[i].Known {
				list = append(list, row.Withdrawal[i].Span)
			}
		}
		out.Withdrawal = append(out.Withdrawal, cell{true, spans(list)})
	}
	return out
}

// middle is the median; of an even number the upper one of the two in the middle, so that it is a value that was measured.
func middle[T cmp.Ordered](list []T) T {
	list = slices.Sorted(slices.Values(list))
	return list[len(list)/2]
}

// failures lists the expectations that failed in some run.
func failures(runs []*run) []unsteady {
	var list []unsteady
	for _, r := range runs {
		for _, v := range r.Expectations {
			if v.Pass {
				continue
			}
			i := slices.IndexFunc(list, func(u unsteady) bool { return u.Window == v.Window && u.Text == v.Text })
			if i < 0 {
				list, i = append(list, unsteady{Window: v.Window, Text: v.Text}), len(list)
			}
			list[i].Runs = append(list[i].Runs, r.Number)
		}
	}
	return list
}
