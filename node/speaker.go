package node

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/catchment-net/catchment/admin"
	"github.com/catchment-net/catchment/bgpd"
	"github.com/catchment-net/catchment/health"
	"github.com/catchment-net/catchment/health/probe"
	"github.com/catchment-net/catchment/internal/event"
)

// Speaker is a standalone speaker with what tells it how its service is.
type Speaker struct {
	o      StandaloneBGP
	bgp    *bgpd.Server
	admin  *admin.Server
	prober *probe.Prober
	wishes *wishes
	gauge  *gauge
	since  time.Time
	idle   time.Duration // how old a lifeline must be for its end to say nothing

	mu      sync.Mutex // guards tracker, view
	tracker *health.Tracker
	view    *health.View // as the server has it; nil before the first change
}

// NewStandaloneBGP checks the flags and wires the speaker; it opens nothing.
func NewStandaloneBGP(o StandaloneBGP) (*Speaker, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	topo, name, neighbors, err := o.Build()
	if err != nil {
		return nil, err
	}
	ring := event.NewRing(event.Options{Node: name})
	ready := &gate{open: o.Ready, waiting: 2}
	s := &Speaker{o: o, since: time.Now(), idle: idleAfter, gauge: newGauge(o.Announce, o.Logger), tracker: health.NewTracker(health.TrackerOptions{Interval: o.Interval, Timeout: o.Timeout, Fall: o.Fall, Rise: o.Rise})}
	if o.Probe != "" {
		target, err := parseTarget(o.Probe)
		if err != nil {
			return nil, err
		}
		s.prober = probe.New(probe.Options{Target: target, Interval: o.Interval, Timeout: o.Timeout, Pressure: probe.ReadPressure, Logger: o.Logger})
	}
	if _, _, err := parseLifeline(o.Lifeline); err != nil {
		return nil, err
	}
	if s.bgp, err = bgpd.New(bgpd.Options{
		Node: name, Neighbors: neighbors, NextHops: o.NextHops, Listen: o.Listen, BFD: o.Watched(), Alone: true, Quiet: s.gauge.last,
		Logger: o.Logger, Events: ring, Ready: ready.listens,
	}); err != nil {
		return nil, err
	}
	if err := s.bgp.Apply(topo); err != nil {
		return nil, err
	}
	if o.Admin == "" {
		o.Admin = filepath.Join(o.State, "admin.sock")
	}
	if s.admin, err = admin.New(admin.Options{Socket: strings.TrimPrefix(o.Admin, "unix:"), Logger: o.Logger, Ready: func(string) { ready.listens(nil) }}); err != nil {
		return nil, err
	}
	if s.wishes, err = loadWishes(filepath.Join(o.State, "intent.json")); err != nil {
		return nil, err
	}
	s.routes(ring)
	return s, nil
}

// Run announces while the service is well, until ctx is done.
func (s *Speaker) Run(ctx context.Context) error {
	parts := []func(context.Context) error{part("bgpd", s.bgp.Run), part("admin", s.admin.Run), s.followWishes, s.gauge.run}
	if s.prober != nil {
		parts = append(parts, s.probe, s.watchdog)
	}
	switch {
	case s.o.Lifeline != "":
		parts = append(parts, s.holdLifeline)
	case s.prober == nil: // without either the service is taken to live
		s.note(s.tracker.Started)
		s.note(s.alive)
	}
	return runAll(ctx, parts...)
}

func (s *Speaker) probe(ctx context.Context) error {
	s.prober.Run(ctx, func(v health.Verdict) { s.note(func(now time.Time) health.Change { return s.tracker.Observe(now, v) }) })
	return nil
}

// watchdog takes the service down when no verdict comes any more.
func (s *Speaker) watchdog(ctx context.Context) error {
	tick := time.NewTicker(watchdogEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			s.note(s.tracker.Overdue)
		}
	}
}

func (s *Speaker) alive(now time.Time) health.Change {
	return s.tracker.Observe(now, health.Verdict{OK: true, Scheduled: now, Fired: now})
}

// note lets fn change the tracker's state and hands the result to the speaker.
func (s *Speaker) note(fn func(now time.Time) health.Change) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	was := s.tracker.View().Cause
	c := fn(now)
	if !c.Changed || c.View.Cause == was { // of a suspicion nobody else is to hear
		return
	}
	s.publish(now)
	s.o.Logger.Info("service changed", "state", c.View.State.String(), "cause", c.View.Cause.Text)
}

// publish is called with mu held.
func (s *Speaker) publish(now time.Time) {
	seq := uint64(1)
	if s.view != nil {
		seq = s.view.Seq + 1
	}
	wish := s.wishes.now()
	if wish.InForce(now) {
		s.gauge.begin()
	}
	s.view = bgpd.StandaloneView(seq, now, s.tracker.View(), wish)
	s.bgp.SetView(s.view)
}

// holdLifeline keeps a connection to the service: its end is the service's death, known at once.
func (s *Speaker) holdLifeline(ctx context.Context) error {
	network, address, err := parseLifeline(s.o.Lifeline)
	if err != nil {
		return err
	}
	for ctx.Err() == nil {
		if at, err := s.live(ctx, network, address); ctx.Err() == nil {
			s.note(func(time.Time) health.Change { return s.tracker.Hard(at, err.Error()) })
		}
		select {
		case <-ctx.Done():
		case <-time.After(redialEvery):
		}
	}
	return nil
}

// idleAfter is how old a lifeline must be for its end to be the service's habit of closing what says nothing, if the
// service takes another one at once. A younger one that ends was turned away.
const idleAfter = time.Second

// live holds one lifeline after the other and returns when and why there was none any more: the service has ended the last
// one and takes no other. A service that closes idle connections, as most do, lives.
func (s *Speaker) live(ctx context.Context, network, address string) (at time.Time, why error) {
	none := "no lifeline"
	for at = time.Now(); ; at = time.Now() {
		var d net.Dialer
		conn, err := d.DialContext(ctx, network, address)
		if err != nil {
			return at, fmt.Errorf("%s: %s", none, errText(err))
		}
		began := time.Now()
		ended := s.hold(ctx, conn)
		if ctx.Err() != nil {
			return at, ctx.Err()
		}
		if age := time.Since(began); age < s.idle {
			return began.Add(age), fmt.Errorf("the lifeline ended: %s; it was %v old", errText(ended), age.Round(time.Millisecond))
		}
		none = "the lifeline ended: " + errText(ended) + "; no other"
	}
}

// vouchEvery is how often an open lifeline is a good verdict, where nothing else is said: the usual interval of probes.
const vouchEvery = 100 * time.Millisecond

// hold waits for the end of a connection to the service. Without a probe, the connection's life is the good verdict, at
// every interval: a service that comes back counts only when it has lived for the rise.
func (s *Speaker) hold(ctx context.Context, conn net.Conn) error {
	s.note(func(now time.Time) health.Change { return s.tracker.Started(now) })
	ctx, end := context.WithCancel(ctx)
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	var beat sync.WaitGroup
	defer beat.Wait()
	defer end()
	if s.prober == nil {
		s.note(s.alive)
		beat.Go(func() {
			tick := time.NewTicker(cmp.Or(s.o.Interval, vouchEvery))
			defer tick.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
					s.note(s.alive)
				}
			}
		})
	}
	_, err := io.Copy(io.Discard, conn)
	return err
}

// Drain moves the clients away and returns when nothing is announced any more.
func (s *Speaker) Drain(ctx context.Context) error {
	s.gauge.begin()
	return s.bgp.Drain(ctx)
}
