package node

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/catchment-net/catchment/bgpd/arrivals"
)

// gauge tells a speaker that stands beside a service of somebody else when the last client asked. It looks at the packets
// that arrive, and only while there is a drain that wants to know.
type gauge struct {
	prefixes []netip.Prefix
	log      *slog.Logger

	mu      sync.Mutex      // guards the following
	ctx     context.Context //nolint:containedctx // the life of run, for a counter that begins while it runs
	counter *arrivals.Counter
	tried   bool
	watch   sync.WaitGroup
}

func newGauge(prefixes []netip.Prefix, log *slog.Logger) *gauge {
	return &gauge{prefixes: prefixes, log: log}
}

// run lets a counter live until ctx is done.
func (g *gauge) run(ctx context.Context) error {
	g.mu.Lock()
	g.ctx = ctx
	if g.counter != nil {
		g.watch.Go(func() { g.counter.Watch(ctx) })
	}
	g.mu.Unlock()
	<-ctx.Done()
	g.mu.Lock()
	g.ctx = nil
	g.mu.Unlock()
	g.watch.Wait()
	return nil
}

// begin counts from now on. Where that is not allowed, a drain waits the least time for the neighbours to move.
func (g *gauge) begin() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.tried {
		return
	}
	g.tried = true
	c, err := arrivals.Open(g.prefixes, time.Now)
	if err != nil {
		g.log.Warn("a drain cannot see whether clients still come, and does not wait for them (it needs CAP_NET_RAW)", "error", err)
		return
	}
	g.counter = c
	if g.ctx != nil {
		ctx := g.ctx
		g.watch.Go(func() { c.Watch(ctx) })
	}
}

// last is when the last client's packet arrived; zero while nobody counts.
func (g *gauge) last() time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.counter == nil {
		return time.Time{}
	}
	return g.counter.Last()
}
