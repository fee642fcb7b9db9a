package drill

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/catchment-net/catchment/internal/conf"
	"github.com/catchment-net/catchment/labs"
)

const endWord = "end"

// undoes lists what a verb undoes; nil for those that break something.
func undoes(v labs.Verb) []labs.Verb {
	switch v {
	case labs.Undrain:
		return []labs.Verb{labs.Drain}
	case labs.Heal:
		return slices.DeleteFunc(labs.Verbs(), func(v labs.Verb) bool { return v == labs.Undrain || v == labs.Heal })
	}
	return nil
}

func verbs() []string {
	var all []string
	for _, v := range labs.Verbs() {
		all = append(all, string(v))
	}
	return append(all, endWord)
}

// placed is a step with its place in the file.
type placed struct {
	Step
	at conf.Value
}

// steps reads `at`: what happens when, and the end.
func (r *reader) steps(v conf.Value) {
	var all []placed
	for _, e := range v.Entries() {
		at, ok := clock(e.Key.Text())
		if !ok || at > maxDrill {
			e.Key.Fail(fmt.Sprintf("time %q of a step", e.Key.Text()), fmt.Sprintf("write one such as 3s, at most %v", maxDrill))
			continue
		}
		items := e.Value.Items()
		if len(items) == 0 {
			e.Key.Fail(fmt.Sprintf("nothing happens at %s", e.Key.Text()), "write such as kill ams, or end")
		}
		for _, item := range items {
			if text := strings.TrimSpace(item.Word()); text == endWord {
				r.end(item, at)
			} else if f, ok := r.fault(item, text); ok {
				all = append(all, placed{Step{at, f}, item})
			}
		}
	}
	slices.SortStableFunc(all, func(a, b placed) int { return cmp.Compare(a.At, b.At) })
	if r.d.End == 0 {
		if v.IsMap() {
			v.Fail("the drill has no end", "add a line such as 20s: end")
		}
		return
	}
	for i, s := range all {
		if s.At >= r.d.End {
			s.at.Fail(fmt.Sprintf("%q comes when the drill has ended", s.at.Text()), fmt.Sprintf("choose a time before %v, or a later end", r.d.End))
		}
		r.follows(all[:i], s)
		r.d.Steps = append(r.d.Steps, s.Step)
	}
}

func (r *reader) end(v conf.Value, at time.Duration) {
	switch {
	case r.d.End != 0:
		v.Fail("a second end", "keep one")
	case at == 0:
		v.Fail("the drill ends when it begins", "choose a later time")
	default:
		r.d.End = at
	}
}

// follows checks that what a step undoes was done before.
func (r *reader) follows(before []placed, s placed) {
	undone := undoes(s.Fault.Verb)
	if undone == nil {
		return
	}
	for _, b := range before {
		if b.Fault.Subject == s.Fault.Subject && slices.Contains(undone, b.Fault.Verb) {
			return
		}
	}
	s.at.Fail(fmt.Sprintf("nothing was done to %q before that %q could undo", s.Fault.Subject, s.Fault.Verb), "name a subject of an earlier step")
}
