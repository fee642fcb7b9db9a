package health_test

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/catchment-net/catchment/health"
)

// epoch is when every test begins.
var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

const second = time.Second

// drive feeds a tracker one verdict a second and returns the state after the last. A letter is one second:
//
//   - good   - bad   l bad, but its timer was late   g good, but late   r refused   . no verdict, the watchdog looks
//     s good, but names something that fails for all   H the process dies   S it is started again   z the watchdog itself comes a minute late
func drive(o health.TrackerOptions, script string) (*health.Tracker, health.ServiceView) {
	o.Interval, o.Timeout = second, 800*time.Millisecond
	t := health.NewTracker(o)
	now := epoch
	bad := health.Verdict{Text: "no answer"}
	late := 401 * time.Millisecond
	for _, c := range script {
		now = now.Add(second)
		switch c {
		case '+':
			t.Observe(now, health.Verdict{OK: true})
		case '-':
			t.Observe(now, bad)
		case 'l':
			t.Observe(now, health.Verdict{Late: late})
		case 'g':
			t.Observe(now, health.Verdict{OK: true, Late: late})
		case 'r':
			t.Observe(now, health.Verdict{Refused: true, Text: "connection refused"})
		case 's':
			t.Observe(now, health.Verdict{OK: true, Shared: "the database"})
		case 'H':
			t.Hard(now, "died")
		case 'S':
			t.Started(now)
		case 'z':
			now = now.Add(time.Minute)
		}
		t.Overdue(now)
	}
	return t, t.View()
}

func TestTracker(t *testing.T) {
	usual := health.TrackerOptions{Fall: 2, Rise: 3 * second, Silence: 4 * second}
	local := usual
	local.Local = true
	for _, tt := range []struct {
		rule   string
		o      health.TrackerOptions
		script string
		want   health.State
	}{
		{"nothing is known before the first verdict", usual, "", health.Unknown},
		{"one good probe suffices at first start", usual, "+", health.Up},
		{"one bad one does not take it down", usual, "+++-", health.Up},
		{"two bad take it down", usual, "+++--", health.Down},
		{"bad ones must follow one another", usual, "+-+-+-", health.Up},
		{"one that was never up is down after bad ones", usual, "--", health.Down},
		{"one that was never up rises at once", usual, "-----+", health.Up},
		{"hold-down outlasts a quick recovery", usual, "+++--+++", health.Down},
		{"hold-down ends", usual, "+++--++++", health.Up},
		{"a bad verdict in hold-down begins it anew", usual, "+++--++-+++", health.Down},
		{"it ends after that", usual, "+++--++-++++", health.Up},
		{"the second flap doubles it", usual, "+--++++" + "--++++++", health.Down},
		{"to six seconds", usual, "+--++++" + "--+++++++", health.Up},
		{"late bad verdicts are discarded", usual, "+lll", health.Up},
		{"a late bad one does not interrupt bad ones either", usual, "+-l-", health.Down},
		{"late good ones count", usual, "g", health.Up},
		{"a refusal across a network is one bad verdict", usual, "+r", health.Up},
		{"a refusal on the same host is the end", local, "+r", health.Down},
		{"but not while it starts", local, "r", health.Unknown},
		{"death takes it down at once", usual, "+H", health.Down},
		{"verdicts of the dead do not count", usual, "+H++++++++", health.Down},
		{"a service that came back pays the hold-down", usual, "+HS+++", health.Down},
		{"and rises after it", usual, "+HS++++", health.Up},
		{"one that died before it was ever up pays nothing", usual, "HS+", health.Up},
		{"no verdict for four seconds is not yet silence", usual, "+....", health.Up},
		{"after five it is", usual, "+.....", health.Down},
		{"late verdicts do not break the silence", usual, "+lllll", health.Down},
		{"a watchdog that slept says nothing", usual, "+z", health.Up},
		{"and begins anew", usual, "+z....", health.Up},
		{"until it has seen the silence itself", usual, "+z.....", health.Down},
		{"what fails for all degrades", usual, "+sssss", health.Degraded},
		{"from the first verdict on", usual, "s", health.Degraded},
		{"until it works again", usual, "+sss+", health.Up},
		{"and does not keep a service that fails itself", usual, "+ss--", health.Down},
		{"nor is it forgotten by one bad verdict", usual, "+ss-", health.Degraded},
		{"the watchdog is off before the first verdict", usual, "..........", health.Unknown},
		{"on from the start of the process", usual, "S.....", health.Down},
		{"and off after its death", usual, "+HS++++H..........S+", health.Down},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			if _, got := drive(tt.o, tt.script); got.State != tt.want {
				t.Errorf("%q: got %v (%s), want %v", tt.script, got.State, got.Cause.Text, tt.want)
			}
		})
	}
}

func TestTrackerCauses(t *testing.T) {
	o := health.TrackerOptions{Fall: 2, Rise: 3 * second, Silence: 4 * second, Local: true}
	for _, tt := range []struct {
		script string
		class  health.Class
		text   string
		since  time.Duration
	}{
		{"+--", health.Soft, "2 probes failed: no answer", 3 * second},
		{"+----", health.Soft, "2 probes failed: no answer", 3 * second},
		{"+H", health.Hard, "died", 2 * second},
		{"+--H", health.Hard, "died", 4 * second}, // a soft cause becomes hard
		{"+H--", health.Hard, "died", 2 * second}, // and not the other way round
		{"+r", health.Hard, "connection refused", 2 * second},
		{"+.....", health.Soft, "no verdict for 4s", 6 * second},
		{"-+", health.NoCause, "", 2 * second},
		{"+ss", health.Shared, "the database fails, for all POPs alike", 2 * second},
	} {
		_, got := drive(o, tt.script)
		want := health.Cause{Class: tt.class, Text: tt.text, Since: epoch.Add(tt.since)}
		if got.Cause != want {
			t.Errorf("%q: got %+v, want %+v", tt.script, got.Cause, want)
		}
	}
}

// A bad verdict makes a service suspect, until the next good one or its fall.
func TestSuspicion(t *testing.T) {
	for script, want := range map[string]bool{"": false, "-": false, "+": false, "+-": true, "+-+": false, "+--": false, "+l": false, "+s-": true} {
		if _, got := drive(health.TrackerOptions{Fall: 2, Rise: 3 * second}, script); got.Suspect != want {
			t.Errorf("%q: suspect is %t", script, got.Suspect)
		}
	}
}

func TestHoldDoublesToItsLimitAndForgets(t *testing.T) {
	o := health.TrackerOptions{Fall: 1, Rise: second, MaxRise: 5 * second, Forget: time.Minute}
	flap := "-++++++"
	var got []time.Duration
	for n := 1; n <= 5; n++ {
		tr, _ := drive(o, "+"+strings.Repeat(flap, n-1)+"-")
		got = append(got, tr.Hold())
	}
	want := []time.Duration{second, 2 * second, 4 * second, 5 * second, 5 * second}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("hold after %d flaps: got %v, want %v", i+1, got[i], want[i])
		}
	}
	// Two minutes of being up forget two of three flaps.
	tr, _ := drive(o, "+"+strings.Repeat(flap, 3)+strings.Repeat("+", 120)+"-")
	if tr.Hold() != 2*second {
		t.Errorf("hold after a quiet time: got %v, want 2s", tr.Hold())
	}
}

func TestDrainLiesOverTheState(t *testing.T) {
	tr := health.NewTracker(health.TrackerOptions{Fall: 1})
	if c := tr.Drain(epoch, true, "stopping"); !c.Changed || c.View.State != health.Draining || c.View.Cause.Class != health.Wish {
		t.Errorf("drain: got %+v", c)
	}
	if c := tr.Drain(epoch.Add(second), true, "stopping"); c.Changed {
		t.Errorf("drain again: got %+v, want no change", c)
	}
	if c := tr.Observe(epoch, health.Verdict{OK: true}); c.Changed {
		t.Errorf("good verdict while draining: got %+v, want no change", c)
	}
	if c := tr.Observe(epoch, health.Verdict{Text: "x"}); !c.Changed || c.View.State != health.Down {
		t.Errorf("bad verdict while draining: got %+v, want down", c)
	}
	if c := tr.Drain(epoch, false, ""); c.Changed {
		t.Errorf("undrain while down: got %+v, want no change", c)
	}
}

// TestComesBackAtMostOncePerHoldDown: whatever the probes say, a fall is followed by at least Rise without coming back,
// only good verdicts count for it, and a hold-down never exceeds MaxRise.
func TestComesBackAtMostOncePerHoldDown(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := health.TrackerOptions{
			Interval: second, Fall: rapid.IntRange(1, 4).Draw(t, "fall"),
			Rise: time.Duration(rapid.IntRange(1, 8).Draw(t, "rise")) * second, MaxRise: 20 * second, Forget: 30 * second,
		}
		tr := health.NewTracker(o)
		now, fell := epoch, time.Time{}
		goodFor := 0 // seconds of good verdicts without a bad one
		was := health.Unknown
		for _, c := range rapid.SliceOfN(rapid.SampledFrom([]byte("++++++--HS.lo")), 1, 300).Draw(t, "script") {
			now = now.Add(second)
			switch c {
			case '+':
				tr.Observe(now, health.Verdict{OK: true})
				goodFor++
			case '-':
				tr.Observe(now, health.Verdict{})
				goodFor = 0
			case 'l':
				tr.Observe(now, health.Verdict{Late: second})
			case 'o':
				tr.Observe(now, health.Verdict{Ours: true})
			case 'H':
				tr.Hard(now, "died")
				goodFor = 0
			case 'S':
				tr.Started(now)
				goodFor = 0
			}
			is := tr.View().State
			switch {
			case was == health.Up && is == health.Down:
				fell = now
			case was == health.Down && is == health.Up && !fell.IsZero():
				if now.Sub(fell) < o.Rise {
					t.Fatalf("back after %v, rise is %v", now.Sub(fell), o.Rise)
				}
				if goodFor < 2 {
					t.Fatalf("back after %d good verdicts", goodFor)
				}
			case is == health.Unknown && was != health.Unknown:
				t.Fatal("forgot what it knew")
			}
			if h := tr.Hold(); h < o.Rise || h > 20*second {
				t.Fatalf("hold %v out of bounds", h)
			}
			was = is
		}
	})
}
