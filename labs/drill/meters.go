package drill

import (
	"context"
	"slices"
	"time"
)

// timerEvery is how often the engine looks how late its timers fire.
const timerEvery = 10 * time.Millisecond

// lateness measures until ctx is done how much later than asked for timers of this process fire.
func lateness(ctx context.Context, mono func() int64) Lateness {
	var late []int64
	timer := time.NewTimer(timerEvery)
	defer timer.Stop()
	for {
		due := mono() + int64(timerEvery)
		select {
		case <-ctx.Done():
			return latenessOf(late)
		case <-timer.C:
		}
		late = append(late, max(0, mono()-due))
		timer.Reset(timerEvery)
	}
}

func latenessOf(late []int64) Lateness {
	if len(late) == 0 {
		return Lateness{}
	}
	slices.Sort(late)
	return Lateness{Timers: len(late), P99: Span(late[rank(0.99, len(late))]), Max: Span(late[len(late)-1])}
}

// countEvery is how often the origins' counts are read while a drill needs them.
const countEvery = 250 * time.Millisecond

// counts reports whether an expectation needs the origins' counts.
func (d *Drill) counts() bool {
	for _, w := range d.Windows {
		for _, x := range w.Expect {
			if slices.ContainsFunc(x.expr.args, func(n *node) bool { return n.text == "origin_requests" }) {
				return true
			}
		}
	}
	return false
}

// countOrigins reads the origins' counts until ctx is done. A reading that fails is none: evidence is then missing.
func (r *run) countOrigins(ctx context.Context) {
	tick := time.NewTicker(countEvery)
	defer tick.Stop()
	for {
		if status, err := r.lab.Status(ctx); err == nil {
			now := r.o.Mono()
			r.mu.Lock()
			for _, o := range status.Origins {
				r.got.origins = append(r.got.origins, OriginReading{At: now, Host: o.Host, Requests: o.Requests})
			}
			r.mu.Unlock()
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
