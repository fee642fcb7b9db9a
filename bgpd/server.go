package bgpd

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/catchment-net/catchment/bgpd/announce"
	"github.com/catchment-net/catchment/bgpd/fib"
	"github.com/catchment-net/catchment/bgpd/rpki"
	"github.com/catchment-net/catchment/bgpd/speaker"
	"github.com/catchment-net/catchment/health"
	"github.com/catchment-net/catchment/internal/event"
	"github.com/catchment-net/catchment/topology"
)

// Server speaks BGP for one node. Its methods are safe for concurrent use.
type Server struct {
	o       Options
	metrics *metrics
	wake    chan struct{} // capacity 1: next has changed
	kernel  atomic.Pointer[fib.Sync]
	paths   *paths
	rpki    *rpki.Validator

	mu       sync.Mutex // guards the following; held for a decision and its way to the speaker, never while waiting
	conf     *config    // nil before the first Apply
	speaker  *speaker.Speaker
	running  bool // the speaker runs: what is decided is on the wire
	stopping bool
	view     *health.View
	drains   map[netip.Prefix]announce.Drain
	progress health.Progress                   // of the node's drain; Requests are not kept
	ledger   map[netip.Prefix]announce.Account // of what the neighbours were told; nil before Run
	last     map[netip.Prefix]announce.Want    // what the wire carries; nil before Run
	next     time.Time                         // when to decide again though nothing happens; zero means never
	sessions int                               // established ones
	vips     *vips                             // nil where nobody asked for them, and before Run
	reported map[netip.Addr]speaker.Session    // as last heard
	claims   []netip.Prefix
	origins  map[netip.Prefix]string // what the RPKI says of our prefixes, as last told
	drained  chan struct{}           // closed when Drain has been called and nothing is announced any more
}

// New checks the options and starts nothing.
func New(o Options) (*Server, error) {
	if err := o.setDefaults(); err != nil {
		return nil, err
	}
	m, err := newMetrics(o.Registerer)
	if err != nil {
		return nil, err
	}
	s := &Server{
		o: o, metrics: m, wake: make(chan struct{}, 1), drains: map[netip.Prefix]announce.Drain{}, drained: make(chan struct{}), reported: map[netip.Addr]speaker.Session{},
		origins: map[netip.Prefix]string{},
	}
	s.rpki = rpki.New(rpki.Options{Now: o.Now, OnChange: s.originsChanged})
	s.paths, err = newPaths(s)
	return s, err
}

// Apply takes a topology: the node's prefixes, and its neighbours unless Options name them. All or nothing. The ASN,
// the router id and the listeners of a speaker that runs cannot change; that is an error which says so.
func (s *Server) Apply(t *topology.Topology) error {
	c, err := newConfig(&s.o, t)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.speaker == nil || !s.running:
		sp, err := s.newSpeaker(c)
		if err != nil {
			return err
		}
		s.speaker = sp
	case c.asn != s.conf.asn || c.routerID != s.conf.routerID || !slices.Equal(c.listen, s.conf.listen):
		return fmt.Errorf("node %q: the ASN, the router id or the listeners have changed; restart to take them up", s.o.Node)
	default:
		if err := s.speaker.SetMonitors(c.monitors()); err != nil {
			return fmt.Errorf("set monitors of %q: %w", s.o.Node, err)
		}
		s.speaker.SetAllowed(c.allowed())
		if err := s.speaker.SetNeighbors(c.neighbors); err != nil {
			return fmt.Errorf("set neighbors of %q: %w", s.o.Node, err)
		}
	}
	if err := s.paths.set(s.speaker, c); err != nil {
		return fmt.Errorf("node %q: %w", s.o.Node, err)
	}
	s.conf = c
	s.rpki.Set(t.BGP.RPKI.Servers, c.allowed())
	s.countSessions()
	s.decide()
	return nil
}

func (s *Server) newSpeaker(c *config) (*speaker.Speaker, error) {
	o := speaker.Options{
		ASN: c.asn, RouterID: c.routerID, Listen: c.listen, Neighbors: c.neighbors, Allowed: c.allowed(), Monitors: c.monitors(),
		OnSession: s.heardSession, Logger: s.o.Logger, Now: s.o.Now, Ready: s.ready,
	}
	if s.o.Kernel {
		o.OnBest = s.routeChanged
	}
	sp, err := speaker.New(o)
	if err != nil {
		return nil, fmt.Errorf("node %q: %w", s.o.Node, err)
	}
	return sp, nil
}

// SetView takes a newer view of the fleet. What it changes is on its way to the neighbours when SetView returns, in
// well under a millisecond. It never waits for a neighbour.
func (s *Server) SetView(v *health.View) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.view = v
	s.decide()
}

// Run speaks BGP until ctx is done; then it tells the neighbours why it goes (RFC 9003; the cause of ctx, if it has one)
// and returns. It needs an Apply before it.
func (s *Server) Run(ctx context.Context) error {
	s.mu.Lock()
	sp := s.speaker
	if sp == nil {
		s.mu.Unlock()
		return errors.New("bgpd: run without a topology: call Apply first")
	}
	if s.running {
		s.mu.Unlock()
		return errors.New("bgpd: it runs already")
	}
	vips, err := s.openVIPs()
	if err != nil {
		s.mu.Unlock()
		return fmt.Errorf("bgpd of %q: %w", s.o.Node, err)
	}
	s.vips, s.running = vips, true
	s.last = map[netip.Prefix]announce.Want{}
	s.decide()
	s.mu.Unlock()

	defer s.checkOrigins(context.WithoutCancel(ctx))()
	speaking, stopSpeaking := context.WithCancel(context.WithoutCancel(ctx))
	defer stopSpeaking()
	ended := make(chan error, 1)
	go func() { ended <- s.paths.watch(speaking, func(ctx context.Context) error { return s.speak(ctx, sp) }) }()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			s.goodbye(ctx, sp)
			stopSpeaking()
			return s.end(<-ended)
		case err := <-ended:
			return s.end(err)
		case <-s.wake:
		case <-timer.C:
			s.mu.Lock()
			s.decide()
			s.mu.Unlock()
		}
		s.mu.Lock()
		if !s.next.IsZero() {
			timer.Reset(max(0, s.next.Sub(s.o.Now())))
		}
		s.mu.Unlock()
	}
}

// goodbyeMax bounds the wait for the sessions to close politely.
const goodbyeMax = 300 * time.Millisecond

func (s *Server) goodbye(ctx context.Context, sp *speaker.Speaker) {
	why := "is stopping"
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		why = cause.Error()
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), goodbyeMax)
	defer cancel()
	if err := sp.Shutdown(ctx, "catchment "+s.o.Node+" "+why); err != nil {
		s.o.Logger.Warn("sessions did not close politely", "node", s.o.Node, "error", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		s.climb(health.Progress{Step: health.StepDown, Since: s.o.Now()}, why)
	}
}

// end notes that nothing is on the wire any more.
func (s *Server) end(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.vipFailed(s.vips.end())
	s.vips = nil
	s.running, s.speaker, s.last, s.ledger, s.next, s.sessions = false, nil, nil, nil, time.Time{}, 0
	s.claim(nil)
	if s.stopping {
		s.markDrained()
	}
	if err != nil {
		return fmt.Errorf("bgpd of %q: %w", s.o.Node, err)
	}
	return nil
}

func (s *Server) ready() {
	s.mu.Lock()
	sp := s.speaker
	s.mu.Unlock()
	if s.o.Ready == nil || sp == nil {
		return
	}
	var addrs []string
	for _, a := range sp.Addrs() {
		addrs = append(addrs, a.String())
	}
	s.o.Ready(addrs)
}

// Drain moves the node's clients away, down the ladder of package announce. It returns when no anycast prefix is
// announced any more; the sessions and the unicast prefixes stay until Run's context ends. A server that does not run
// has nothing to drain.
func (s *Server) Drain(ctx context.Context) error {
	s.mu.Lock()
	s.stopping = true
	if !s.running {
		s.markDrained()
	}
	s.decide()
	s.mu.Unlock()
	select {
	case <-s.drained:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("drain bgpd of %q: %w", s.o.Node, ctx.Err())
	}
}

// markDrained is called with mu held.
func (s *Server) markDrained() {
	select {
	case <-s.drained:
	default:
		close(s.drained)
	}
}

// heardSession is called by the speaker, in order, from one goroutine. A session that does not come up goes through its
// lower states several times a second; only what it becomes and what it was is an event.
func (s *Server) heardSession(n speaker.Session) {
	s.mu.Lock()
	was := s.reported[n.Address]
	s.reported[n.Address] = n
	s.countSessions()
	s.claim(s.attracting())
	s.mu.Unlock()
	came, went, failed := n.State == speaker.Established, n.Downs != was.Downs, n.Error != was.Error
	if !came && !went && !failed {
		return
	}
	cause := n.Cause
	if n.Error != "" {
		cause = n.Error
	}
	s.o.Events.Add(event.Event{
		Kind: event.Session, Subject: n.Neighbor, State: string(n.State), Cause: cause,
		Detail: map[string]string{"address": n.Address.String(), "asn": strconv.FormatUint(uint64(n.ASN), 10)},
	})
	s.o.Logger.Info("session changed", "node", s.o.Node, "peer", n.Neighbor, "state", n.State, "cause", cause)
}

// countSessions is called with mu held.
func (s *Server) countSessions() {
	s.sessions = 0
	if s.speaker == nil {
		return
	}
	for _, n := range s.speaker.Neighbors() {
		if n.State == speaker.Established {
			s.sessions++
		}
	}
	s.metrics.sessions.Set(float64(s.sessions))
}
