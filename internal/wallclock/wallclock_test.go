package wallclock

import (
	"path/filepath"
	"testing"
	"time"
	"unsafe"

	"pgregory.net/rapid"
)

// The wall clock steps by what was asked for, to the nanosecond, and no interval is touched.
func TestStepMovesTheWallClockAlone(t *testing.T) {
	if got, want := unsafe.Sizeof(time.Time{}), unsafe.Sizeof(layout{}); got != want {
		t.Fatalf("time.Time has %d bytes, we know %d", got, want)
	}
	rapid.Check(t, func(t *rapid.T) {
		by := time.Duration(rapid.Int64Range(-int64(10*365*24*time.Hour), int64(10*365*24*time.Hour)).Draw(t, "by"))
		now := time.Now()
		got := step(now, by)
		if d := got.Sub(now); d != 0 {
			t.Errorf("stepped by %v, the monotonic clock moved by %v", by, d)
		}
		if d := got.Round(0).Sub(now.Round(0)); d != by {
			t.Errorf("the wall clock moved by %v, want %v", d, by)
		}
		later := step(now.Add(time.Second), -by)
		if d := later.Sub(got); d != time.Second {
			t.Errorf("an interval across another step is %v, want 1 s", d)
		}
		bare := now.Round(0)
		if d := step(bare, by).Sub(bare); d != by {
			t.Errorf("a time without a monotonic reading moved by %v, want %v", d, by)
		}
	})
}

func TestSetReachesAnOpenClockAtOnce(t *testing.T) {
	file := filepath.Join(t.TempDir(), "clock")
	if _, err := Open(file); err == nil {
		t.Fatal("a clock that is not there opens")
	}
	if err := Set(file, 0); err != nil {
		t.Fatal(err)
	}
	c, err := Open(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, by := range []time.Duration{0, time.Hour, -90 * time.Second, 0} {
		if err := Set(file, by); err != nil {
			t.Fatal(err)
		}
		before := time.Now()
		if d := c.Now().Round(0).Sub(before.Round(0)) - by; d < 0 || d > time.Minute {
			t.Errorf("set to %v: the clock is off by %v more", by, d)
		}
	}
}
