// Package popd is the HTTP cache of one node: memory, then the shield POP, then the origin.
//
//	client ──HTTP──► edge popd ── key ─► memory ─┬─ fresh: serve
//	                                            └─ flight: one fetch per key ─► shield popd ─► origin
//
// What may be stored and for how long is decided by popd/fresh, under which key by popd/key, what several clients may
// share by popd/flight. This package puts sockets, configuration and counters around them.
package popd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/catchment-net/catchment/health"
	"github.com/catchment-net/catchment/internal/event"
	"github.com/catchment-net/catchment/popd/flight"
	"github.com/catchment-net/catchment/popd/fresh"
	"github.com/catchment-net/catchment/popd/h1"
	"github.com/catchment-net/catchment/popd/store/mem"
	"github.com/catchment-net/catchment/popd/upstream"
	"github.com/catchment-net/catchment/site"
)

// Server is the HTTP cache of one node. Its methods are safe for concurrent use.
type Server struct {
	o        Options
	start    time.Time // of o.Now when New was called
	store    *mem.Store
	flights  *flight.Group[*answer]
	marks    *flight.Marks
	unsliced *flight.Marks // URLs whose origin gives no ranges though it says so
	up       *upstream.Client
	tiers    tiers
	tallies  tallies
	metrics  *metrics
	loop     *h1.Server

	certificates *certificates

	config   atomic.Pointer[config] // nil before the first Apply
	view     atomic.Pointer[health.View]
	draining atomic.Bool
	busy     atomic.Int64  // requests being answered, health probes excepted
	last     atomic.Int64  // when the last request came, Unix nanoseconds, health probes excepted
	lastAny  atomic.Int64  // the same for client requests on anycast addresses alone
	clients  atomic.Uint64 // how many those were

	mu      sync.Mutex // guards the following; held by Apply and, to claim the run, by Run
	running bool
	listens addresses // of the configuration that Run opened
}

// New checks the options. It opens no socket and starts nothing.
func New(o Options) (*Server, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	windows := o.Memory / windowsShare
	store := mem.New(mem.Options{Limit: o.Memory - windows})
	s := &Server{
		o:        o,
		start:    o.Now(),
		store:    store,
		flights:  flight.NewGroup[*answer](flight.Options{Store: store, MaxObject: o.MaxObject, MaxWindows: windows}),
		marks:    flight.NewMarks(flight.DefaultMarks),
		unsliced: flight.NewMarks(flight.DefaultMarks),
	}
	if s.metrics, err = newMetrics(o.Registerer, s); err != nil {
		return nil, err
	}
	s.certificates = newCertificates(o, s.metrics)
	s.loop, err = h1.New(h1.Options{
		Header: readHeaderTimeout, Idle: idleTimeout, Stall: o.Stall, HeaderBytes: maxHeaderBytes,
		Logger: o.Logger, Registerer: o.Registerer, Now: o.Now,
	})
	if err != nil {
		return nil, err
	}
	s.up, err = upstream.New(upstream.Options{
		Node: o.Node, Net: o.Net, ClientTLS: o.ClientTLS, OriginTLS: o.OriginTLS, Insecure: o.Insecure,
		Connect: o.Connect, FirstByte: o.FirstByte, Silence: o.Silence, Stall: o.Stall,
		MaxHeaderBytes: maxHeaderBytes, Now: o.Now,
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Apply swaps the configuration, all or nothing: requests that have begun keep the old one. It fails if c names an
// unknown node, or would need other listening addresses than those that a running Server has opened.
func (s *Server) Apply(c Config) error {
	next, err := newConfig(s.o, c)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	sites := c.Sites
	if c.Any != nil {
		sites = append(slices.Clone(sites), c.Any)
	}
	certs, err := s.certificates.prepare(sites)
	if err != nil {
		return err
	}
	if s.running && !s.listens.equal(next.listens) {
		return fmt.Errorf("listening addresses would change from %v to %v: restart popd to move them", s.listens, next.listens)
	}
	s.certificates.use(certs)
	next.tallies = map[*site.Site]*tally{}
	for _, st := range next.sites() {
		next.tallies[st] = s.tallies.of(st.Name)
	}
	s.config.Store(next)
	s.up.SetTopology(c.Topology)
	s.o.Events.Add(event.Event{Kind: event.Config, Subject: "popd", State: "applied"})
	return nil
}

// SetView takes what is known of the other POPs' health, by which shields are chosen. It never blocks.
func (s *Server) SetView(v *health.View) { s.view.Store(v) }

// LastRequest is when the last client request arrived on an anycast address, health probes and requests of other
// nodes excepted; the zero time if none did.
func (s *Server) LastRequest() time.Time {
	if n := s.lastAny.Load(); n != 0 {
		return time.Unix(0, n)
	}
	return time.Time{}
}

// now is the moment by which ages count.
func (s *Server) now() fresh.Instant { return fresh.At(s.start, s.o.Now()) }

// Requests is how many client requests arrived on an anycast address, counted as for LastRequest.
func (s *Server) Requests() uint64 { return s.clients.Load() }

// Run opens the sockets, calls Options.Ready, and serves until ctx is done; then it stops at once, mid-answer if need
// be. It returns nil on ctx end, and an error that names the address if one cannot be opened. It runs at most once at a
// time, and needs an Apply before it.
func (s *Server) Run(ctx context.Context) error {
	listens, err := s.claim()
	if err != nil {
		return err
	}
	defer s.unclaim()
	sockets, err := s.listen(ctx, listens)
	if err != nil {
		return err
	}
	defer s.up.CloseIdle()
	defer s.flights.Close()

	s.ready(sockets)
	asked := ctx
	ctx, fail := context.WithCancelCause(asked)
	defer fail(nil)
	watching, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { s.certificates.watch(watching) })
	wg.Go(func() { fail(s.log(watching)) })
	err = s.loop.Run(ctx, s.bindings(listens, sockets))
	stop()
	wg.Wait()
	if cause := context.Cause(ctx); err == nil && asked.Err() == nil && !errors.Is(cause, context.Canceled) {
		err = cause // the log could not be opened
	}
	s.o.Events.Add(event.Event{Kind: event.Process, Subject: "popd", State: "stopped"})
	return err
}

// log writes the access log until ctx is done; without one it only waits.
func (s *Server) log(ctx context.Context) error {
	if s.o.AccessLog != nil {
		return s.o.AccessLog.Run(ctx)
	}
	<-ctx.Done()
	return nil
}

// claim makes the caller the one Run and pins the listening addresses until unclaim.
func (s *Server) claim() (addresses, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.config.Load()
	switch {
	case c == nil:
		return addresses{}, errors.New("popd: nothing to serve: Apply a configuration before Run")
	case s.running:
		return addresses{}, errors.New("popd: already running")
	case len(c.listens.public) == 0:
		return addresses{}, fmt.Errorf("popd: node %q has no address to listen on", s.o.Node)
	case len(c.listens.internal) > 0 && s.o.ServerTLS == nil && !s.o.Insecure:
		return addresses{}, fmt.Errorf("popd: listening for other nodes on %q needs TLS keys", c.listens.internal[0])
	}
	s.running, s.listens = true, c.listens
	return c.listens, nil
}

func (s *Server) unclaim() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running = false
}

func (s *Server) ready(all []socket) {
	addrs := make([]string, len(all))
	for i, l := range all {
		addrs[i] = l.Addr().String()
	}
	s.o.Events.Add(event.Event{Kind: event.Process, Subject: "popd", State: "ready"})
	if s.o.Ready != nil {
		s.o.Ready(addrs)
	}
}

// Drain says "draining" on the health endpoint and asks clients to close their connections, while every request is
// still answered. It returns nil when none has come for a second and none is under way, or ctx's error. The Server stays
// draining until Undrain.
func (s *Server) Drain(ctx context.Context) error {
	s.loop.SetDraining(true)
	if !s.draining.Swap(true) {
		s.o.Events.Add(event.Event{Kind: event.Process, Subject: "popd", State: "draining"})
	}
	start := s.o.Now()
	tick := time.NewTicker(quietBeforeStop / 20)
	defer tick.Stop()
	for {
		now := s.o.Now()
		quiet := now.Sub(time.Unix(0, s.last.Load())) >= quietBeforeStop && now.Sub(start) >= quietBeforeStop
		if quiet && s.busy.Load() == 0 && s.loop.AtWork() == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("drain popd: %w", ctx.Err())
		case <-tick.C:
		}
	}
}

// Undrain takes a Drain back.
func (s *Server) Undrain() {
	s.loop.SetDraining(false)
	if s.draining.Swap(false) {
		s.o.Events.Add(event.Event{Kind: event.Process, Subject: "popd", State: "ready", Cause: "undrained"})
	}
}
