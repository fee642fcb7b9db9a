package health

import (
	"fmt"
	"time"
)

// The defaults of a Tracker, and the bounds of its hold-down.
const (
	defaultInterval = 100 * time.Millisecond
	defaultFall     = 3
	defaultRise     = 10 * time.Second
	defaultMaxRise  = 10 * time.Minute
	defaultForget   = 10 * time.Minute
	minSilence      = 2 * time.Second
	maxDoublings    = 20 // far beyond MaxRise for any sensible Rise; keeps the shift from overflowing
)

// TrackerOptions configures a Tracker. The zero value of each field is its default.
type TrackerOptions struct {
	Interval time.Duration // between two probes; 0 means 100 ms
	Timeout  time.Duration // of one probe; 0 means 80 % of Interval
	Fall     int           // bad verdicts in a row that take the service down; 0 means 3
	Rise     time.Duration // how long all verdicts must be good after the first fall; 0 means 10 s
	MaxRise  time.Duration // what Rise doubles to at most, flap by flap; 0 means 10 min; Rise switches doubling off
	Forget   time.Duration // one flap is forgotten for each such time of being up; 0 means 10 min
	Silence  time.Duration // no verdict for so long takes the service down; 0 means 20 Intervals, at least 2 s

	// Local says that prober and service share a host, so that a refused connection is the kernel's own word that the
	// process is gone: down at once with a hard cause. Across a network a refusal may come from anything on the way
	// and counts as one bad verdict.
	Local bool
}

func (o TrackerOptions) withDefaults() TrackerOptions {
	if o.Interval <= 0 {
		o.Interval = defaultInterval
	}
	if o.Timeout <= 0 {
		o.Timeout = o.Interval * 8 / 10
	}
	if o.Fall <= 0 {
		o.Fall = defaultFall
	}
	if o.Rise <= 0 {
		o.Rise = defaultRise
	}
	if o.MaxRise <= 0 {
		o.MaxRise = defaultMaxRise
	}
	o.MaxRise = max(o.MaxRise, o.Rise)
	if o.Forget <= 0 {
		o.Forget = defaultForget
	}
	if o.Silence <= 0 {
		o.Silence = max(minSilence, 20*o.Interval)
	}
	return o
}

// Tracker makes one service's state from the verdicts on it:
//
//	          first good verdict                    Fall bad in a row, silence, Hard
//	Unknown ────────────────────► Up ◄────────────────────────────────────────────► Down
//	                                  all good for Rise, twice that after each flap
//
// A drain lies over that: it turns Unknown and Up into Draining, and leaves Down as it is. So does something that fails for
// all POPs alike: it turns Up into Degraded, which is no reason to withdraw.
//
// A new Tracker is a first start: one good verdict suffices. So a hub that is started afresh (a new incarnation of the
// node) announces at once, while a service that died under a living hub and came back pays the hold-down. A Tracker is
// not safe for concurrent use.
type Tracker struct {
	o    TrackerOptions
	base State // Unknown, Up or Down
	why  Cause // of base

	everUp    bool
	bad       int       // bad verdicts in a row
	flaps     int       // falls from Up that are not forgotten
	upSince   time.Time // of the present Up
	goodSince time.Time // first good verdict of the present hold-down; zero when the last verdict was bad
	gone      bool      // Hard was said and Started not since: verdicts are of a process that no longer is

	last    time.Time // of the last verdict that counted; zero while the watchdog is off
	checked time.Time // of the last Overdue

	shared Cause // what the last good verdict named as failing for all; zero means nothing

	drain    bool
	drainWhy Cause
}

// Change is what a call has made of a Tracker's state.
type Change struct {
	Changed bool // the state or its cause differs from before the call
	View    ServiceView
}

// NewTracker returns a Tracker that knows nothing yet.
func NewTracker(o TrackerOptions) *Tracker { return &Tracker{o: o.withDefaults()} }

// Retime goes on with other options; the state, and what counts towards the next one, stay.
func (t *Tracker) Retime(o TrackerOptions) { t.o = o.withDefaults() }

// View returns the present state and its cause.
func (t *Tracker) View() ServiceView {
	if t.drain && t.base != Down {
		return ServiceView{State: Draining, Cause: t.drainWhy}
	}
	suspect := t.base == Up && t.bad > 0
	if t.base == Up && t.shared.Class == Shared {
		return ServiceView{State: Degraded, Cause: t.shared, Suspect: suspect}
	}
	return ServiceView{State: t.base, Cause: t.why, Suspect: suspect}
}

// changing runs fn and tells what it did to the state.
func (t *Tracker) changing(fn func()) Change {
	before := t.View()
	fn()
	after := t.View()
	return Change{Changed: before != after, View: after}
}

// Started notes that the service's process listens. It arms the watchdog; the state stays what it is until a verdict.
func (t *Tracker) Started(now time.Time) Change {
	return t.changing(func() {
		t.gone = false
		t.bad = 0
		t.goodSince = time.Time{}
		t.last, t.checked = now, now
	})
}

// Observe takes a verdict. A bad one whose own timer fired late by more than half its timeout is discarded: the prober
// starved, or the service did, and neither hangs. So is one whose fault is ours. A late good one counts, since the service
// did answer.
func (t *Tracker) Observe(now time.Time, v Verdict) Change {
	return t.changing(func() {
		if t.gone || !v.OK && (v.Ours || v.Late > t.o.Timeout/2) {
			return
		}
		t.last = now
		if v.OK {
			t.share(now, v.Shared)
			t.good(now)
			return
		}
		t.bad++
		t.goodSince = time.Time{}
		switch {
		case v.Refused && t.o.Local && t.base == Up:
			t.fall(now, Cause{Class: Hard, Text: v.Text, Since: now})
		case t.bad >= t.o.Fall:
			t.fall(now, Cause{Class: Soft, Text: fmt.Sprintf("%d probes failed: %s", t.o.Fall, v.Text), Since: now})
		}
	})
}

// share notes what fails for all POPs alike.
func (t *Tracker) share(now time.Time, name string) {
	switch text := name + " fails, for all POPs alike"; {
	case name == "":
		t.shared = Cause{}
	case t.shared.Text != text:
		t.shared = Cause{Class: Shared, Text: text, Since: now}
	}
}

func (t *Tracker) good(now time.Time) {
	t.bad = 0
	if t.base == Up {
		return
	}
	if t.goodSince.IsZero() {
		t.goodSince = now
	}
	if t.everUp && now.Sub(t.goodSince) < t.Hold() {
		return
	}
	t.base, t.why = Up, Cause{Since: now}
	t.everUp, t.upSince = true, now
}

// fall takes the service down; one that is down already keeps its cause, unless the new one is harder.
func (t *Tracker) fall(now time.Time, why Cause) {
	t.goodSince = time.Time{}
	if t.base == Down {
		if why.Class > t.why.Class {
			t.why = why
		}
		return
	}
	if t.base == Up {
		t.flaps = max(0, t.flaps-int(now.Sub(t.upSince)/t.o.Forget)) + 1
	}
	t.base, t.why = Down, why
}

// Hold is how long all verdicts must be good before the service counts as up again: Rise, doubled for each flap that
// is not forgotten after the first, at most MaxRise. It is meaningful while the service is down.
func (t *Tracker) Hold() time.Duration {
	return min(t.o.Rise<<min(max(t.flaps-1, 0), maxDoublings), t.o.MaxRise)
}

// Hard takes the service down at once: its process is gone. Verdicts are ignored until Started.
func (t *Tracker) Hard(now time.Time, cause string) Change {
	return t.changing(func() {
		t.gone = true
		t.bad = 0
		t.last = time.Time{}
		t.drain = false // it was the process that wanted to drain
		t.fall(now, Cause{Class: Hard, Text: cause, Since: now})
	})
}

// Overdue is the watchdog: it takes the service down when no verdict has come for Silence. Call it at least four times
// in each Silence. A call that itself comes late says only that this process did not run (it was stopped, or starved),
// and starts the time anew.
func (t *Tracker) Overdue(now time.Time) Change {
	return t.changing(func() {
		late := now.Sub(t.checked) > t.o.Silence/2
		t.checked = now
		switch {
		case t.last.IsZero():
		case late:
			t.last = now
		case now.Sub(t.last) > t.o.Silence:
			t.fall(now, Cause{Class: Soft, Text: fmt.Sprintf("no verdict for %v", t.o.Silence), Since: now})
		}
	})
}

// Drain notes that the service wants no new clients, or wants them again.
func (t *Tracker) Drain(now time.Time, on bool, why string) Change {
	return t.changing(func() {
		if on && !t.drain {
			t.drainWhy = Cause{Class: Wish, Text: why, Since: now}
		}
		t.drain = on
	})
}
