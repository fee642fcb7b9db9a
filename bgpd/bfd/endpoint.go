package bfd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Peer is one wanted session.
type Peer struct {
	Name   string     // for status and logs
	Remote netip.Addr // the neighbour's address on the link; unique
	Local  netip.Addr // ours; the zero Addr lets the kernel choose
	Timing
}

// Options configures an Endpoint. Nothing is required.
type Options struct {
	Port uint16 // where both ends listen; 0 means 3784
	// OnChange is called when a session changes its state, from one goroutine; nil means nobody listens. Where a session
	// changes faster than it returns, it is called with the last state alone; Downs tells what it missed.
	OnChange func(Status)

	Logger     *slog.Logger          // nil discards
	Registerer prometheus.Registerer // nil keeps the metrics private
	Now        func() time.Time      // nil means time.Now

	ordinary bool // a test's: the thread's priority is not raised
}

// Status is a session, for people and for whoever depends on it.
type Status struct {
	Name        string
	Remote      netip.Addr
	State       State
	Since       time.Time // of State
	RemoteState State     // as last told
	Diag        Diag      // why we went down last; none while the session is Up
	Downs       int       // how often it was Up and is no more, on purpose or not
	// Failed says that the session was Up, is not, and that neither end has said that this is on purpose, nor the
	// neighbour's host that nobody speaks BFD there any more. What needs the path shall not trust it until it is Up again
	// (RFC 5882 §4.3); a neighbour that never spoke BFD never fails.
	Failed    bool
	Interval  time.Duration // between two of our packets at most, as negotiated; 0 while there are none
	Detection time.Duration // how long the neighbour may be silent; 0 while nothing is known of it
	Error     string        // why packets cannot be sent or heard; "" if they can
}

// Endpoint keeps the sessions of one host. Its methods are safe for concurrent use.
type Endpoint struct {
	o Options
	m *metrics

	mu      sync.Mutex // guards the following; held to copy, never while waiting
	want    []Peer
	changed bool     // want is not yet in force
	wake    func()   // ends the loop's wait; nil unless Run runs
	status  []Status // in the order of want
	pending []Status // for OnChange; at most one a session
	notify  chan struct{}
}

// New checks the options and starts nothing.
func New(o Options) (*Endpoint, error) {
	if o.Port == 0 {
		o.Port = Port
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Registerer == nil {
		o.Registerer = prometheus.NewRegistry()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.OnChange == nil {
		o.OnChange = func(Status) {}
	}
	m, err := newMetrics(o.Registerer)
	if err != nil {
		return nil, err
	}
	return &Endpoint{o: o, m: m, notify: make(chan struct{}, 1)}, nil
}

// Set makes the sessions be exactly these. One that stays keeps its state, also when its timing changes; one that goes
// tells its neighbour that this is on purpose. All or nothing.
func (e *Endpoint) Set(want []Peer) error {
	var errs []error
	for i, p := range want {
		fail := func(format string, args ...any) {
			errs = append(errs, fmt.Errorf("bfd with %q: "+format, append([]any{p.Name}, args...)...))
		}
		if !p.Remote.IsValid() || p.Remote.IsUnspecified() || p.Remote.Is4In6() {
			fail("address %q: want the address of a neighbor", p.Remote)
		}
		if p.Local.IsValid() && p.Local.Is4() != p.Remote.Is4() {
			fail("local address %q: want the family of the neighbor's, %q", p.Local, p.Remote)
		}
		if slices.ContainsFunc(want[:i], func(o Peer) bool { return o.Remote == p.Remote }) {
			fail("address %q: another session has it", p.Remote)
		}
		if err := p.check(); err != nil {
			fail("%w", err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.want, e.changed = slices.Clone(want), true
	if e.wake != nil {
		e.wake()
	}
	return nil
}

// Sessions returns the sessions in the order in which they were set; none before Run.
func (e *Endpoint) Sessions() []Status {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.status)
}

// Run keeps the sessions until ctx is done; then it tells the neighbours that this is on purpose, and returns. An address
// that cannot be used is no error of Run's but one of the session's: it may come yet. An Endpoint runs once.
func (e *Endpoint) Run(ctx context.Context) error {
	s, err := openSockets(e.o.Port)
	if err != nil {
		return fmt.Errorf("bfd: %w", err)
	}
	defer s.close()
	e.serve(ctx, s, s.wake)
	return nil
}

// serve runs the loop, and beside it what tells of changes, which may take its time.
func (e *Endpoint) serve(ctx context.Context, w wire, wake func()) {
	var parts sync.WaitGroup
	defer parts.Wait()
	telling, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	parts.Go(func() { e.tell(telling) })
	e.mu.Lock()
	e.wake = wake
	e.mu.Unlock()
	defer func() {
		e.mu.Lock()
		e.wake = nil
		e.mu.Unlock()
	}()
	defer context.AfterFunc(ctx, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		if e.wake != nil {
			e.wake()
		}
	})()
	done := make(chan struct{})
	go func() {
		defer close(done)
		newLoop(e, w).run(ctx)
	}()
	<-done
}

// tell calls OnChange until ctx is done.
func (e *Endpoint) tell(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.notify:
		}
		e.mu.Lock()
		pending := e.pending
		e.pending = nil
		e.mu.Unlock()
		for _, s := range pending {
			e.o.OnChange(s)
		}
	}
}

// wanted returns the wanted sessions if they have changed since the last call.
func (e *Endpoint) wanted() ([]Peer, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	changed := e.changed
	e.changed = false
	return e.want, changed
}

// publish takes the sessions as they are now, and those of them whose state has changed.
func (e *Endpoint) publish(all, changed []Status) {
	e.mu.Lock()
	e.status = all
	for _, s := range changed {
		if i := slices.IndexFunc(e.pending, func(o Status) bool { return o.Remote == s.Remote }); i >= 0 {
			e.pending[i] = s
		} else {
			e.pending = append(e.pending, s)
		}
	}
	e.mu.Unlock()
	if len(changed) == 0 {
		return
	}
	select {
	case e.notify <- struct{}{}:
	default:
	}
}
