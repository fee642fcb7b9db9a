// Package dnsd is an authoritative name server: zones from master files, and over them the hosts of sites, each
// answered with the POP or target that is best for the client and up.
//
//	client ──UDP/TCP──► socket ─► wire.Parse ─► zone.Set.Resolve ─┬─► records of the zone
//	                                                              └─► steer.Policy (client, health.View)
//	       ◄────────── reply (EDNS, ECS scope, size) ◄────────────────┘
//
// One packet in, one packet out: Server.answer is that function; a faster one for the common queries fits before it.
package dnsd

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/catchment-net/catchment/dnsd/cookie"
	"github.com/catchment-net/catchment/dnsd/rrl"
	"github.com/catchment-net/catchment/dnsd/steer"
	"github.com/catchment-net/catchment/health"
	"github.com/catchment-net/catchment/internal/event"
)

// Server is one name server. All methods are safe for concurrent use; Run may be called once.
type Server struct {
	o       Options
	metrics *metrics
	state   atomic.Pointer[state] // nil before the first Apply
	tcp     *counters             // of all connections
	cookies *cookie.Secrets
	limiter *rrl.Limiter
	log     *queryLog
	bodies

	mu      sync.Mutex   // guards the following and the stores to state
	running []string     // what Run listens on; nil before Run
	view    *health.View // the newest
}

// state is all that an answer depends on besides the query. A query loads it once, so that no answer mixes two
// configurations, tables or views. It is immutable.
type state struct {
	config *config
	health *steer.Health // of the policies in config; the same pointer while no answer changes
}

// New checks the options and registers the metrics. It opens nothing; until the first Apply every name is REFUSED.
func New(o Options) (*Server, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	limiter, err := rrl.New(o.RateLimit, o.Now())
	if err != nil {
		return nil, fmt.Errorf("dnsd: %w", err)
	}
	log, err := newQueryLog(o.QueryLog)
	if err != nil {
		return nil, fmt.Errorf("dnsd: %w", err)
	}
	m, err := newMetrics(o.Registerer, limiter, log)
	if err != nil {
		return nil, err
	}
	return &Server{
		o: o, metrics: m, tcp: m.newCounters(), bodies: newBodies(identity(o.POP, o.Node)), cookies: o.Cookies, limiter: limiter, log: log,
	}, nil
}

// Apply replaces the whole configuration, or, with an error that names every bad host, nothing. A zone that cannot be
// read hurts itself only (ZoneFaults), as long as there is another. What has not changed costs nothing. The addresses
// that we listen on cannot change while Run runs: such a configuration is refused and wants a restart.
func (s *Server) Apply(c Config) error {
	var before *config
	if now := s.state.Load(); now != nil {
		before = now.config
	}
	next, err := compile(c, before)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running != nil && s.o.Listen == nil && !slices.Equal(s.running, next.listen) {
		return fmt.Errorf("dnsd listens on %v, the new configuration says %v; restart this node to move it", s.running, next.listen)
	}
	var old *index
	if now := s.state.Load(); now != nil {
		old = now.config.index
	}
	next.index = newIndex(next.zones, old, s.metrics.zoneNo.number)
	s.state.Store(&state{next, next.steering.Health(s.view, nil)})
	s.metrics.served.Set(float64(next.zones.Len()))
	s.reportZones(next, c.Zones)
	return nil
}

// SetView replaces the health view; the very next answer uses it.
func (s *Server) SetView(v *health.View) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.view = v
	now := s.state.Load()
	if now == nil {
		return
	}
	if h := now.config.steering.Health(v, now.health); h != now.health {
		s.state.Store(&state{now.config, h})
	}
}

// Explain says where a client is sent, by what answers him now: for one host, or for all if host is empty.
func (s *Server) Explain(client netip.Addr, host string) ([]steer.Explanation, error) {
	now := s.state.Load()
	if now == nil {
		return nil, errors.New("the name server has no configuration yet")
	}
	return steer.Explain(now.config.policies, client, host, now.health)
}

// Drain returns when the server may be stopped without anybody noticing: when no client has asked for a second, or
// after ten seconds at the latest, since a name server that stops costs a resolver one retry and no user anything. The
// end of ctx ends it with its error. Meanwhile every query is answered.
func (s *Server) Drain(ctx context.Context) error {
	s.event("draining", "asked to drain")
	end := s.o.Now().Add(drainLimit)
	for {
		now := s.o.Now()
		wait := min(s.LastRequest().Add(quietForDrain).Sub(now), end.Sub(now))
		if wait <= 0 {
			return nil
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return fmt.Errorf("drain dnsd: %w", ctx.Err())
		case <-t.C:
		}
	}
}

// LastRequest is when a client last asked on an anycast address; health probes (class CH) do not count. Zero: never.
func (s *Server) LastRequest() time.Time {
	last := s.metrics.total().last
	if last == 0 {
		return time.Time{}
	}
	return time.Unix(0, last)
}

// Requests is how often clients have asked on an anycast address, counted as for LastRequest.
func (s *Server) Requests() uint64 { return s.metrics.total().clients }

// identity is "POP/NODE", or as much of it as we have.
func identity(pop, node string) string {
	if pop == "" || node == "" {
		return pop + node
	}
	return pop + "/" + node
}

func (s *Server) event(state, cause string) {
	s.o.Events.Add(event.Event{Node: s.o.Node, Kind: event.Process, Subject: "dnsd", State: state, Cause: cause})
}
