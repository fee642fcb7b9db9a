package probe

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/catchment-net/catchment/health"
	"github.com/catchment-net/catchment/internal/underlay"
)

// TestLatenessOfOwnTimersIsMeasured: a prober that got no processor says so, and does not make up for probes it missed.
func TestLatenessOfOwnTimersIsMeasured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stall := map[int]time.Duration{2: 330 * time.Millisecond} // the third probe's deadline is noticed 250 ms late
		asked := 0
		target := Target{name: "stalls", ask: func(ctx context.Context, _ underlay.Net, _ time.Duration) error {
			d := stall[asked]
			asked++
			time.Sleep(d)
			return ctx.Err()
		}}
		ctx, cancel := context.WithCancel(t.Context())
		began := time.Now()
		var got []health.Verdict
		p := New(Options{Target: target, Interval: 100 * time.Millisecond, Timeout: 80 * time.Millisecond})
		p.Run(ctx, func(v health.Verdict) {
			if got = append(got, v); len(got) == 5 {
				cancel()
			}
		})
		want := []struct {
			at, late int // ms
			ok       bool
		}{{0, 0, true}, {100, 0, true}, {200, 250, false}, {600, 0, true}, {700, 0, true}}
		for i, w := range want {
			v := got[i]
			if v.Fired.Sub(began).Milliseconds() != int64(w.at) || v.Late.Milliseconds() != int64(w.late) || v.OK != w.ok {
				t.Errorf("probe %d: got at %v, late %v, OK %t; want at %dms, late %dms, OK %t", i, v.Fired.Sub(began), v.Late, v.OK, w.at, w.late, w.ok)
			}
		}
		tracker := health.NewTracker(health.TrackerOptions{Interval: 100 * time.Millisecond, Fall: 1})
		for _, v := range got {
			tracker.Observe(v.Fired, v)
		}
		if s := tracker.View().State; s != health.Up {
			t.Errorf("the service of a starved prober: got %v, want up", s)
		}
	})
}
