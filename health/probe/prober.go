// Package probe asks services whether they live. Each probe is a real request on a connection of its own and must read
// an answer: a stopped process still completes TCP handshakes.
package probe

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"syscall"
	"time"

	"github.com/catchment-net/catchment/health"
	"github.com/catchment-net/catchment/internal/underlay"
)

// Options configures a Prober. Target is required; the zero value of every other field is its default.
type Options struct {
	Target   Target
	Interval time.Duration // between the beginnings of two probes; 0 means 100 ms
	Timeout  time.Duration // for a whole probe; 0 means 80 % of Interval; never more than Interval
	// Threads reads the threads of the service's process, where that is another than ours. A bad verdict on a service
	// that waited for a processor says as little as one of a prober that did. Nil means that nobody knows.
	Threads func() Threads
	// Pressure reads for how long anybody on this machine has waited for a processor, as ReadPressure does: where the
	// service's threads are not known, a bad verdict from a machine that is short of processors says as little, for a
	// fifth of a second. Nil means that nobody knows.
	Pressure func() (time.Duration, bool)
	Net      underlay.Net     // nil means underlay.Host{}
	Now      func() time.Time // nil means time.Now
	Logger   *slog.Logger     // nil discards
}

// Prober asks one target again and again, one probe at a time.
type Prober struct {
	o      Options
	before *shortage // at the last verdict, if that was bad; for Run alone
	since  time.Time // of the first bad verdict in a row; for Run alone
}

// pressureLimit is for how long a machine that is short of processors excuses a service whose own threads are not known:
// longer than an ordinary process was seen to wait (170 ms), and short enough that one that hangs is not kept.
const pressureLimit = 200 * time.Millisecond

// shortage is what is known of waiting for processors at a time.
type shortage struct {
	at       time.Time
	threads  Threads       // of the service; nil where nobody knows
	pressure time.Duration // of the machine, where the threads are not known
	pressed  bool          // pressure is known
}

// New returns a Prober; it asks nothing before Run.
func New(o Options) *Prober {
	if o.Interval <= 0 {
		o.Interval = 100 * time.Millisecond
	}
	if o.Timeout <= 0 {
		o.Timeout = o.Interval * 8 / 10
	}
	o.Timeout = min(o.Timeout, o.Interval)
	if o.Net == nil {
		o.Net = underlay.Host{}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Prober{o: o}
}

// Run probes at once and then every Interval, and calls fn with each verdict from its own goroutine, until ctx is done.
// A probe that the end of ctx cuts off has no verdict. Beginnings that were missed are not made up for.
func (p *Prober) Run(ctx context.Context, fn func(health.Verdict)) {
	due := p.o.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		v := p.Once(ctx, due)
		if ctx.Err() != nil {
			return
		}
		p.excuse(&v)
		fn(v)
		now := p.o.Now()
		due = due.Add(p.o.Interval)
		// One that ran to the end of its interval is followed at once; beginnings that were missed by more are gone.
		if behind := now.Sub(due); behind > p.o.Interval/2 {
			due = due.Add(behind.Truncate(p.o.Interval) + p.o.Interval)
		}
		timer.Reset(due.Sub(now))
	}
}

// Once makes one probe, which was to begin at the time due, and returns its verdict.
func (p *Prober) Once(ctx context.Context, due time.Time) health.Verdict {
	v := health.Verdict{Scheduled: due, Fired: p.o.Now()}
	v.Late = max(v.Fired.Sub(due), 0)
	timed, cancel := context.WithTimeout(ctx, p.o.Timeout)
	defer cancel()
	err := p.o.Target.ask(timed, p.o.Net, p.o.Timeout)
	if shared, ok := errors.AsType[sharedError](err); ok {
		err = nil
		v.Shared = strings.ToValidUTF8(string(shared)[:min(len(shared), maxShared)], "")
	}
	v.Took = p.o.Now().Sub(v.Fired)
	// An answer that came in after the deadline is none: the timer, not the reader, was late.
	v.OK = err == nil && v.Took <= p.o.Timeout
	v.Late = max(v.Late, v.Took-p.o.Timeout)
	if !v.OK {
		_, v.Ours = errors.AsType[ownError](err)
		v.Refused = errors.Is(err, syscall.ECONNREFUSED)
		v.Text = p.reason(timed, err)
		p.o.Logger.Debug("probe failed", "target", p.o.Target.name, "cause", v.Text, "took", v.Took, "late", v.Late)
	}
	return v
}

// excuse counts as lateness how long the service, or else anybody on the machine, has waited for a processor since the last
// verdict, if both are bad: an answer that is there in time needs no excuse, and so in quiet times nothing is read.
func (p *Prober) excuse(v *health.Verdict) {
	if v.OK {
		p.before = nil
		return
	}
	was, is := p.before, p.shortage()
	p.before = &is
	switch {
	case was == nil:
		p.since = is.at
	case was.threads != nil && is.threads != nil:
		v.Late = max(v.Late, is.threads.starved(was.threads, is.at.Sub(was.at)))
	case was.pressed && is.pressed && is.at.Sub(p.since) <= pressureLimit:
		v.Late = max(v.Late, is.pressure-was.pressure)
	}
}

func (p *Prober) shortage() shortage {
	is := shortage{at: p.o.Now()}
	if p.o.Threads != nil {
		is.threads = p.o.Threads()
	}
	if is.threads == nil && p.o.Pressure != nil {
		is.pressure, is.pressed = p.o.Pressure()
	}
	return is
}

// maxShared bounds the name of something shared, in bytes.
const maxShared = 60

// maxText bounds a verdict's text, in bytes: it travels in gossip.
const maxText = 120

// reason says in a few words why a probe failed.
func (p *Prober) reason(timed context.Context, err error) string {
	var op *net.OpError
	switch {
	case err == nil || timed.Err() != nil:
		return fmt.Sprintf("no answer within %v", p.o.Timeout)
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.As(err, &op) && op.Err != nil:
		err = op.Err
	}
	text := err.Error()
	if len(text) > maxText {
		text = strings.ToValidUTF8(text[:maxText-3], "") + "…"
	}
	return text
}
