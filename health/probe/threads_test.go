package probe

import (
	"context"
	"errors"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/catchment-net/catchment/health"
	"github.com/catchment-net/catchment/internal/underlay"
)

const ms = time.Millisecond

func TestParseThread(t *testing.T) {
	for _, tt := range []struct {
		times, stat string
		want        Thread
		ok          bool
	}{
		{"1000000 2000000 7\n", "12 (popd) S 1 12", Thread{ms, 2 * ms, false}, true},
		{"1000000 2000000 7\n", "12 (a) b) R) R 1 12", Thread{ms, 2 * ms, true}, true},
		{"1000000 2000000 7\n", "12 (popd) T 1 12", Thread{ms, 2 * ms, false}, true},
		{"", "12 (popd) S", Thread{}, false},
		{"1 2 3", "12 popd", Thread{}, false},
		{"1 2 3", "12 (popd)", Thread{}, false},
	} {
		if got, ok := parseThread([]byte(tt.times), []byte(tt.stat)); got != tt.want || ok != tt.ok {
			t.Errorf("%q, %q: got %+v, %t", tt.times, tt.stat, got, ok)
		}
	}
}

func TestStarved(t *testing.T) {
	before := Threads{1: {10 * ms, 5 * ms, false}, 2: {0, 0, true}}
	for _, tt := range []struct {
		what string
		now  Threads
		want time.Duration
	}{
		{"asleep", Threads{1: {10 * ms, 5 * ms, false}, 2: {0, 0, false}}, 0},
		{"stopped, after it was asked", Threads{1: {10 * ms, 6 * ms, false}}, ms},
		{"has waited", Threads{1: {11 * ms, 17 * ms, false}}, 12 * ms},
		{"waits", Threads{1: {11 * ms, 5 * ms, true}}, 19 * ms},
		{"spins", Threads{2: {19 * ms, ms, true}}, ms},
		{"is new", Threads{3: {0, time.Hour, true}}, 0},
		{"unknown", nil, 0},
	} {
		if got := tt.now.starved(before, 20*ms); got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.what, got, tt.want)
		}
	}
}

func TestReadThreads(t *testing.T) {
	if _, err := os.Stat("/proc/self/schedstat"); err != nil {
		t.Skip("this system does not say how long threads have waited:", err)
	}
	got := ReadThreads(os.Getpid())
	ready := 0
	for _, thread := range got {
		if thread.Ready {
			ready++
		}
	}
	if len(got) == 0 || ready == 0 {
		t.Errorf("got %+v, want this thread to be ready at least", got)
	}
	if got := ReadThreads(0); len(got) != 0 {
		t.Errorf("no process: got %+v", got)
	}
}

func TestParsePressure(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"some avg10=99.35 avg60=98.23 avg300=94.18 total=1001259365\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n": 1001259365 * time.Microsecond,
		"some avg10=0.00 avg60=0.00 avg300=0.00 total=0":                                                               0,
		"":                    -1,
		"full total=1\n":      -1,
		"some total=-1\n":     -1,
		"some avg10=1.00\n":   -1,
		"some total=1 more=2": -1,
	} {
		if got, ok := parsePressure([]byte(text)); ok != (want >= 0) || ok && got != want {
			t.Errorf("%q: got %v, %t, want %v", text, got, ok, want)
		}
	}
}

// A service that waits for a processor is not taken for one that hangs; one that hangs is.
func TestAStarvedServiceDoesNotHang(t *testing.T) {
	for _, tt := range []struct {
		what string
		wait time.Duration // of its thread in each interval
		want health.State
	}{{"it hangs", 0, health.Down}, {"it waits a little", 3 * ms, health.Down}, {"it starves", 15 * ms, health.Up}} {
		for _, known := range []bool{true, false} {
			starve(t, tt.what, tt.wait, tt.want, known)
		}
	}
}

// Where only the machine's pressure is known, a service is excused for a moment: one that hangs is found, however busy the
// machine.
func TestPressureExcusesForAMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fails := false
		target := Target{name: "hangs", ask: func(context.Context, underlay.Net, time.Duration) error {
			if fails {
				return errors.New("no")
			}
			return nil
		}}
		pressure := time.Duration(0)
		o := Options{Target: target, Interval: 20 * ms, Pressure: func() (time.Duration, bool) {
			pressure += time.Hour
			return pressure, true
		}}
		tracker := health.NewTracker(health.TrackerOptions{Interval: 20 * ms, Fall: 3})
		ctx, cancel := context.WithCancel(t.Context())
		var since time.Time
		New(o).Run(ctx, func(v health.Verdict) {
			if !fails {
				fails, since = true, time.Now()
			}
			if tracker.Observe(time.Now(), v); tracker.View().State == health.Down || time.Since(since) > time.Second {
				cancel()
			}
		})
		if took := time.Since(since); took < pressureLimit || took > pressureLimit+100*ms {
			t.Errorf("found after %v, want a little more than %v", took, pressureLimit)
		}
	})
}

// starve probes a service that answers once and then waits so long for a processor in each interval, its threads known or
// only the machine's pressure.
func starve(t *testing.T, what string, wait time.Duration, want health.State, known bool) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		fails, asked := false, 0
		target := Target{name: "hangs", ask: func(context.Context, underlay.Net, time.Duration) error {
			if asked++; fails {
				return errors.New("no")
			}
			return nil
		}}
		waited := time.Duration(0)
		o := Options{Target: target, Interval: 20 * ms, Pressure: func() (time.Duration, bool) {
			waited += wait
			return waited, true
		}}
		if known {
			pressure := o.Pressure
			o.Threads = func() Threads {
				now, _ := pressure()
				return Threads{1: {Waited: now}}
			}
			o.Pressure = func() (time.Duration, bool) { return time.Duration(asked) * time.Hour, true }
		}
		tracker := health.NewTracker(health.TrackerOptions{Interval: 20 * ms, Fall: 3})
		ctx, cancel := context.WithCancel(t.Context())
		New(o).Run(ctx, func(v health.Verdict) {
			fails = true
			if tracker.Observe(time.Now(), v); asked == 8 {
				cancel()
			}
		})
		if got := tracker.View(); got.State != want || !got.Suspect && want == health.Up {
			t.Errorf("%s, threads known %t: got %+v, want %v", what, known, got, want)
		}
	})
}
