package node

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/catchment-net/catchment/health"
	"github.com/catchment-net/catchment/health/probe"
	"github.com/catchment-net/catchment/internal/underlay"
	"github.com/catchment-net/catchment/site"
	"github.com/catchment-net/catchment/topology"
)

// probesPerSecond is how many addresses of sites' own targets a node asks in a second. With more than fit observeEvery,
// each is asked less often, and a death is found later: 140 addresses for a node are found as fast as a POP's.
const probesPerSecond = 200

// firstAnswers is how long a name server that starts waits for the first opinions of targets at most: two probes that fail,
// and gossip.
const firstAnswers = 3 * time.Second

// awaitKnown returns when known says so, after firstAnswers, or at the end of ctx.
func awaitKnown(ctx context.Context, known func() bool) {
	ctx, cancel := context.WithTimeout(ctx, firstAnswers)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !known() {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// checksOf lists what sites want probed.
func checksOf(sites []*site.Site) []site.Check {
	var all []site.Check
	for _, s := range sites {
		for _, h := range s.Hosts {
			all = append(all, h.Checks()...)
		}
	}
	return all
}

// targetProber asks the addresses that fall to this node.
type targetProber struct {
	net underlay.Net
	now func() time.Time
	log *slog.Logger
	// seen takes what a tracker makes of each verdict, once that is known. It is called by the probers' goroutines.
	seen func(id string, ok bool, text string)

	mu      sync.Mutex // guards the following; held for starts and ends of probers
	all     map[string]site.Check
	ids     []string // of all, in the order of the sites
	rise    time.Duration
	running map[string]running
	probers sync.WaitGroup
}

// running is a prober at work.
type running struct {
	check site.Check
	every time.Duration
	rise  time.Duration
	stop  context.CancelFunc
}

// know takes another configuration; what is asked changes with the next assign.
func (t *targetProber) know(sites []*site.Site, rise time.Duration) (ids []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.all, t.ids, t.rise = map[string]site.Check{}, nil, rise
	for _, c := range checksOf(sites) {
		t.all[c.ID] = c
		t.ids = append(t.ids, c.ID)
	}
	return t.ids
}

// assign asks these addresses from now on until ctx is done, and no others. It returns those that are asked no more.
func (t *targetProber) assign(ctx context.Context, ids []string) (gone []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	every := max(observeEvery, time.Duration(len(ids))*time.Second/probesPerSecond)
	for id, r := range t.running {
		wanted := slices.Contains(ids, id)
		if wanted && r.check == t.all[id] && r.rise == t.rise && r.every == every {
			continue
		}
		r.stop()
		delete(t.running, id)
		if !wanted {
			gone = append(gone, id)
		}
	}
	for i, id := range ids {
		c, known := t.all[id]
		if _, runs := t.running[id]; runs || !known {
			continue
		}
		if t.running == nil {
			t.running = map[string]running{}
		}
		ctx, stop := context.WithCancel(ctx)
		t.running[id] = running{c, every, t.rise, stop}
		t.probers.Go(func() { t.ask(ctx, c, every, t.rise, time.Duration(i)*every/time.Duration(len(ids))) })
	}
	return gone
}

// ask probes one address until ctx is done, first after a pause, so that the probes of many are spread over the interval.
func (t *targetProber) ask(ctx context.Context, c site.Check, every, rise, pause time.Duration) {
	first := time.NewTimer(pause)
	defer first.Stop()
	select {
	case <-ctx.Done():
		return
	case <-first.C:
	}
	tracker := health.NewTracker(health.TrackerOptions{Interval: every, Timeout: observeTimeout, Fall: observeFall, Rise: rise})
	p := probe.New(probe.Options{Target: probe.HTTPHost(c.URL, c.Host), Interval: every, Timeout: observeTimeout, Net: t.net, Now: t.now, Logger: t.log})
	p.Run(ctx, func(v health.Verdict) {
		view := tracker.Observe(t.now(), v).View
		if ctx.Err() == nil && view.State != health.Unknown {
			t.seen(c.ID, view.State.Usable(), view.Cause.Text)
		}
	})
}

// wait returns when all probers have ended, whose context is done.
func (t *targetProber) wait() { t.probers.Wait() }

// loneTargets probes all targets for a name server without a fleet.
type loneTargets struct {
	prober targetProber
	view   func(*health.View)

	mu    sync.Mutex // guards the following, and keeps Views in order
	fleet *health.Fleet
	last  *health.View
}

func newLoneTargets(sites []*site.Site, rise time.Duration, net underlay.Net, log *slog.Logger, view func(*health.View)) *loneTargets {
	const name = "dnsd"
	l := &loneTargets{view: view, fleet: health.NewFleet(&topology.Topology{}, name)}
	l.prober = targetProber{net: net, now: time.Now, log: log, seen: l.saw}
	l.fleet.SetChecks(l.prober.know(sites, rise))
	return l
}

func (l *loneTargets) saw(id string, ok bool, text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fleet.SetSight(time.Now(), id, ok, text)
	if v := l.fleet.View(time.Now()); v != l.last {
		l.last = v
		l.view(v)
	}
}

// run probes until ctx is done.
func (l *loneTargets) run(ctx context.Context) error {
	l.prober.assign(ctx, l.prober.ids)
	<-ctx.Done()
	l.prober.wait()
	return nil
}

// await returns when all are known, or soon.
func (l *loneTargets) await(ctx context.Context) {
	awaitKnown(ctx, func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.fleet.TargetsKnown(time.Now())
	})
}
