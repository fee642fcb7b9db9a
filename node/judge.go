package node

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/catchment-net/catchment/health"
	"github.com/catchment-net/catchment/health/probe"
	"github.com/catchment-net/catchment/internal/event"
	"github.com/catchment-net/catchment/internal/underlay"
	"github.com/catchment-net/catchment/site"
	"github.com/catchment-net/catchment/topology"
)

// The timing of observers (docs/decisions/005): a probe opens a connection of its own, which costs two round trips, and
// must get its answer from the other side of the world. Two bad ones in a row take at most 0.7 + 0.7 + 0.65 s, and every
// name server answers without a dead POP within 2.5 s.
const (
	observeEvery   = 700 * time.Millisecond
	observeTimeout = 650 * time.Millisecond
	observeFall    = 2
	observeRise    = time.Second
)

// watchdogEvery is how often the trackers are asked whether verdicts stay away: four times in the shortest silence that
// counts.
const watchdogEvery = 500 * time.Millisecond

// judge makes the View: it runs the probes of this node's services and of the POPs that it observes, takes what the
// links and the gossip bring, and calls out when the View or this node's own record has changed. It is the one place
// where the pure core of package health meets clocks and sockets.
type judge struct {
	topo    *topology.Topology
	self    *topology.Node
	net     underlay.Net
	now     func() time.Time
	log     *slog.Logger
	events  *event.Ring
	observe bool // all POPs rather than those we observe: for a daemon that has lost its hub

	onView   func(*health.View) // called under mu, in order; must not block
	onRecord func()             // our own record has changed and wants gossip; called under mu, must not block
	onSight  func()             // so have our opinions of sites' targets
	intended chan struct{}      // capacity 1: an intent has changed

	seen atomic.Pointer[health.View] // the newest View, for readers that must not wait for mu

	mu      sync.Mutex // guards the following; held for a merge and the calls above
	fleet   *health.Fleet
	targets targetProber
	voices  []string // among whom the targets were divided last
	own     map[health.Service]*ownService
	ctx     context.Context    //nolint:containedctx // the life of run, for probers that start while it runs
	unwatch context.CancelFunc // ends the probes of other POPs
	probers sync.WaitGroup
}

// ownService is one service of this node.
type ownService struct {
	tracker *health.Tracker
	ready   bool               // its daemon listens
	pid     int                // of its daemon; 0 where that is this process
	stop    context.CancelFunc // of its prober; nil while there is none
}

func newJudge(topo *topology.Topology, self *topology.Node, sites []*site.Site, o *Options) *judge {
	j := &judge{
		topo: topo, self: self, net: o.Net, now: o.now, log: o.Logger, events: o.Events,
		fleet: health.NewFleet(topo, self.Name), own: map[health.Service]*ownService{},
		onView: func(*health.View) {}, onRecord: func() {}, onSight: func() {}, intended: make(chan struct{}, 1),
	}
	if o.Incarnation != 0 {
		j.fleet.SetIncarnation(o.Incarnation)
	}
	j.targets = targetProber{net: o.Net, now: o.now, log: o.Logger, seen: j.saw}
	j.fleet.SetChecks(j.targets.know(sites, topo.Health.Rise))
	for _, s := range health.Services {
		j.own[s] = &ownService{tracker: health.NewTracker(timing(topo.Health))}
	}
	j.seen.Store(j.fleet.View(j.now()))
	return j
}

// timing is that of the tracker of an own service.
func timing(h topology.Health) health.TrackerOptions {
	return health.TrackerOptions{Interval: h.Interval, Timeout: h.Timeout, Fall: h.Fall, Rise: h.Rise, Local: true}
}

// run probes what this node observes and ages what it knows, until ctx is done.
func (j *judge) run(ctx context.Context) error {
	j.mu.Lock()
	j.ctx = ctx
	for s, own := range j.own {
		if own.ready {
			j.probe(ctx, s, own)
		}
	}
	j.watchOthers()
	j.divide(true)
	j.mu.Unlock()
	tick := time.NewTimer(0)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			j.end()
			return nil
		case <-tick.C:
		}
		j.change(func(now time.Time) {
			for s, own := range j.own {
				if own.stop != nil {
					j.take(now, s, own.tracker.Overdue(now))
				}
			}
		})
		j.mu.Lock()
		next := j.fleet.NextCheck(j.now())
		j.mu.Unlock()
		tick.Reset(max(min(next.Sub(j.now()), watchdogEvery), time.Millisecond))
	}
}

// end waits for the probers, whose context is done, and lets none begin.
func (j *judge) end() {
	j.mu.Lock()
	j.ctx, j.unwatch = nil, nil
	j.mu.Unlock()
	j.probers.Wait()
	j.targets.wait()
}

// merge takes another node's record. One that is no news changes nothing.
func (j *judge) merge(r health.Record) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.fleet.Merge(j.now(), r) {
		if j.fleet.Owes() {
			j.onRecord()
		}
		j.publish()
	}
}

// mergeIntents takes intents that another node knows.
func (j *judge) mergeIntents(all []health.Intent) {
	j.change(func(now time.Time) {
		for _, i := range all {
			if j.fleet.MergeIntent(now, i) {
				notify(j.intended)
			}
		}
	})
}

// intents are the newest on each target, lifted and expired ones included.
func (j *judge) intents() []health.Intent {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.fleet.Intents()
}

// change applies fn to the fleet and publishes the View if that changed it.
func (j *judge) change(fn func(now time.Time)) {
	j.mu.Lock()
	defer j.mu.Unlock()
	fn(j.now())
	j.publish()
}

// publish is called with mu held.
func (j *judge) publish() {
	old := j.seen.Load()
	v := j.fleet.View(j.now())
	if v == old {
		return
	}
	j.seen.Store(v)
	j.onView(v)
	j.divide(false)
	reportChanges(j.events, j.topo, old, v)
}

// take notes what a tracker made of a verdict. Called with mu held.
func (j *judge) take(now time.Time, s health.Service, c health.Change) {
	if !c.Changed {
		return
	}
	j.fleet.SetOwn(now, s, c.View)
	j.onRecord()
}

// ready begins to probe a service whose daemon listens. The daemon's process is pid, or ours if that is 0.
func (j *judge) ready(s health.Service, pid int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	own := j.own[s]
	if own.ready {
		return
	}
	own.ready, own.pid = true, pid
	now := j.now()
	j.take(now, s, own.tracker.Started(now))
	j.publish()
	if j.ctx != nil {
		j.probe(j.ctx, s, own)
	}
}

// probe starts the prober of an own service. Called with mu held.
func (j *judge) probe(ctx context.Context, s health.Service, own *ownService) {
	ctx, own.stop = context.WithCancel(ctx)
	o := probe.Options{Target: j.target(s, j.self), Interval: j.topo.Health.Interval, Timeout: j.topo.Health.Timeout, Pressure: probe.ReadPressure, Net: j.net, Now: j.now, Logger: j.log}
	if pid := own.pid; pid != 0 && pid != os.Getpid() {
		o.Threads = func() probe.Threads { return probe.ReadThreads(pid) }
	}
	p := probe.New(o)
	j.probers.Go(func() {
		p.Run(ctx, func(v health.Verdict) {
			j.change(func(now time.Time) {
				if ctx.Err() == nil { // a verdict that arrives after the death of its service says nothing
					j.take(now, s, own.tracker.Observe(now, v))
				}
			})
		})
	})
}

// lost withdraws a service whose daemon is gone: a hard cause, acted upon before this returns.
func (j *judge) lost(s health.Service, why string) {
	j.change(func(now time.Time) {
		own := j.own[s]
		own.ready = false
		if own.stop != nil {
			own.stop()
			own.stop = nil
		}
		j.take(now, s, own.tracker.Hard(now, why))
	})
}

// draining notes that a daemon wants no new clients, or wants them again.
func (j *judge) draining(s health.Service, on bool, why string) {
	j.change(func(now time.Time) { j.take(now, s, j.own[s].tracker.Drain(now, on, why)) })
}

// adopt puts another topology, in which this node is the same, and other sites under what is known.
func (j *judge) adopt(topo *topology.Topology, sites []*site.Site) {
	j.change(func(time.Time) {
		retimed := j.topo.Health != topo.Health
		j.topo = topo
		j.fleet.Adopt(topo)
		j.fleet.SetChecks(j.targets.know(sites, topo.Health.Rise))
		j.divide(true)
		if retimed {
			j.retime()
		}
		if j.unwatch != nil {
			j.unwatch()
			j.watchOthers()
		}
	})
}

// divide takes up the probes of sites' targets that fall to this node: anew when other nodes are heard, or with force.
// Called with mu held.
func (j *judge) divide(force bool) {
	if j.ctx == nil {
		return
	}
	voices := j.fleet.Voices(j.now())
	if !force && slices.Equal(voices, j.voices) {
		return
	}
	j.voices = voices
	for _, id := range j.targets.assign(j.ctx, j.fleet.Assigned(voices)) {
		j.fleet.Unsight(id)
	}
}

// awaitTargets returns when of every address of a target somebody says how it is, or after firstAnswers: the first answers
// must not name what is known to be dead.
func (j *judge) awaitTargets(ctx context.Context) {
	known := func() bool {
		j.mu.Lock()
		defer j.mu.Unlock()
		return j.fleet.TargetsKnown(j.now())
	}
	awaitKnown(ctx, known)
}

// saw takes an opinion of this node's own on a target's address.
func (j *judge) saw(id string, ok bool, text string) {
	j.change(func(now time.Time) {
		if j.ctx != nil && j.fleet.SetSight(now, id, ok, text) {
			j.onSight()
		}
	})
}

// mergeSights takes another node's opinions.
func (j *judge) mergeSights(s health.Sights) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.fleet.MergeSights(j.now(), s) {
		j.publish()
	}
}

// sights are this node's own opinions, encoded for gossip.
func (j *judge) sights() (all [][]byte) {
	j.mu.Lock()
	own := j.fleet.OwnSights(j.now())
	j.mu.Unlock()
	for _, s := range own {
		payload, err := s.MarshalBinary()
		if err != nil {
			j.log.Error("own opinions of targets not gossiped", "pop", j.self.POP.Name, "error", err)
			return nil
		}
		all = append(all, payload)
	}
	return all
}

// retime lets the own services' trackers and probers go on with the timing of the present topology. Called with mu held.
func (j *judge) retime() {
	for s, own := range j.own {
		own.tracker.Retime(timing(j.topo.Health))
		if own.stop != nil {
			own.stop()
			own.stop = nil
			if j.ctx != nil {
				j.probe(j.ctx, s, own)
			}
		}
	}
}

// target is the question that tells whether a service of a node lives: a real request through it.
func (j *judge) target(s health.Service, n *topology.Node) probe.Target {
	if s == health.DNS {
		return probe.DNS(address(n, topology.PortDNS))
	}
	return probe.HTTP("http://" + address(n, topology.PortHTTP) + topology.HealthPath)
}

// address is where a node is reached from elsewhere: its first unicast address.
func address(n *topology.Node, port int) string {
	return net.JoinHostPort(n.Addrs[0].String(), strconv.Itoa(port))
}

func (j *judge) setClaims(claims []netip.Prefix) {
	j.change(func(now time.Time) {
		j.fleet.SetClaims(now, claims)
		j.onRecord()
	})
}

// setProgress notes how far this node's drain is. The requests of the last second are gossiped with the next record.
func (j *judge) setProgress(p health.Progress) {
	j.change(func(now time.Time) {
		j.fleet.SetProgress(now, p)
		if was := j.seen.Load().Nodes[j.self.Name].Progress; was.Step != p.Step {
			j.onRecord()
		}
	})
}

// record is this node's own word, encoded for gossip.
func (j *judge) record() ([]byte, error) {
	j.mu.Lock()
	r := j.fleet.Record(j.now())
	j.mu.Unlock()
	return r.MarshalBinary()
}

// wish notes what an operator wants and returns it as it now holds.
func (j *judge) wish(req IntentRequest) (held health.Intent) {
	intent := health.Intent{Target: req.Target, Kind: health.IntentDrain, Why: req.Why, By: req.By, Lifted: !req.Drain}
	if req.For > 0 {
		intent.Expires = j.now().Add(req.For)
	}
	state := "drain"
	if intent.Lifted {
		state = "undrain"
	}
	j.events.Add(event.Event{Kind: event.Intent, Subject: req.Target, State: state, Cause: req.Why, Detail: map[string]string{"by": req.By}})
	j.change(func(now time.Time) {
		held = j.fleet.SetIntent(now, intent)
		notify(j.intended)
		j.onRecord()
	})
	return held
}

// leave marks all services of this node as draining: it is about to stop.
func (j *judge) leave(why string) {
	j.change(func(now time.Time) {
		for s, own := range j.own {
			j.take(now, s, own.tracker.Drain(now, true, why))
		}
	})
}
