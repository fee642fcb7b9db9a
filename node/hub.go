package node

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/catchment-net/catchment/admin"
	"github.com/catchment-net/catchment/bgpd"
	"github.com/catchment-net/catchment/control"
	"github.com/catchment-net/catchment/health"
	"github.com/catchment-net/catchment/internal/event"
	"github.com/catchment-net/catchment/topology"
)

// hub is the part of a node that there is once: it lives in the process that speaks BGP.
//
// Locks are taken in this order: judge.mu, the speaker's, hub.mu. A View is handed out under the first, the speaker
// asks for the last request under the second, and under the third nothing of ours is called that takes a lock or time.
type hub struct {
	o      *Options
	self   *topology.Node // as it was at the start; adopt sees to it that it stays so
	inside []daemon       // those that run in this process; none where they run apart
	judge  *judge
	bgp    *bgpd.Server
	pools  *pools
	admin  *admin.Server
	since  time.Time

	metrics  *metrics
	adopting sync.Mutex           // held while a Snapshot is taken; taken before all other locks
	held     atomic.Pointer[Held] // nil while nothing is

	snap   atomic.Pointer[control.Snapshot]
	claims chan []netip.Prefix // capacity 1: the newest claims of bgpd, on their way to the judge
	moved  chan struct{}       // capacity 1: bgpd's drain has come a step further

	mu    sync.Mutex // guards the following, and what the ports hold
	ports map[health.Service]*port
	meter meter
}

// newHub wires a hub. Each of its parts that opens sockets says so to ready.
func newHub(o *Options, snap *control.Snapshot, self *topology.Node, inside []daemon, ready *gate) (*hub, error) {
	h := &hub{o: o, self: self, inside: inside, ports: map[health.Service]*port{}, claims: make(chan []netip.Prefix, 1), moved: make(chan struct{}, 1), since: o.now()}
	if err := checkSize(snap); err != nil {
		return nil, err
	}
	h.snap.Store(snap)
	h.judge = newJudge(snap.Topology, self, snap.Sites, o)
	var err error
	if h.metrics, err = newMetrics(o.Registry); err != nil {
		return nil, err
	}
	ready.waiting += 2
	if h.bgp, err = bgpd.New(bgpd.Options{
		Node: self.Name, Listen: o.BGPListen, Neighbors: o.Neighbors, BFD: o.BFD, Kernel: o.Kernel, Undamped: o.Undamped, VIPs: o.VIPs,
		Logger: o.Logger, Events: o.Events, Registerer: o.Registry, Now: o.Now,
		OnClaims: h.claimed, OnProgress: func() { notify(h.moved) }, Quiet: h.lastRequest, Requests: h.requests, Ready: func([]string) { ready.listens(nil) },
	}); err != nil {
		return nil, err
	}
	h.reportZones(nil, snap.BadZones)
	if err := h.bgp.Apply(snap.Topology); err != nil {
		return nil, err
	}
	if h.pools, err = newPools(h, ready); err != nil {
		return nil, err
	}
	if h.admin, err = admin.New(admin.Options{Socket: o.Admin, Logger: o.Logger, Ready: func(string) { ready.listens(nil) }}); err != nil {
		return nil, err
	}
	h.routes()
	h.loadIntents()
	h.judge.onView = h.viewed
	h.judge.onRecord = h.pools.ownChanged
	h.judge.onSight = h.pools.sawTarget
	h.viewed(h.judge.seen.Load())
	return h, nil
}

// viewed hands a new View to everyone who acts on it. The speaker comes first: a withdrawal waits for nobody.
func (h *hub) viewed(v *health.View) {
	h.bgp.SetView(v)
	h.metrics.targetsDown.Set(float64(len(v.Targets)))
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, p := range h.ports {
		p.sink(update{View: v})
	}
}

// claimed takes what bgpd has on the wire. It is called with the speaker's lock held, so it only leaves a note; the
// newest wins.
func (h *hub) claimed(prefixes []netip.Prefix) { put(h.claims, prefixes) }

func (h *hub) takeClaims(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case c := <-h.claims:
			h.judge.setClaims(c)
		}
	}
}

// reload takes a Snapshot that the watcher has read. What cannot be applied whole is not applied at all.
func (h *hub) reload(snap *control.Snapshot, err error) {
	if err != nil {
		h.adopting.Lock()
		defer h.adopting.Unlock()
		h.release()
		h.refused(err)
		return
	}
	_, _ = h.take(snap, false) // a refusal has been reported
}

// adopt puts a Snapshot in force here: first the daemons of this process, then the speaker; if one of them refuses, the
// others get the old one back, which they had taken before. Daemons that run apart get it by the link and refuse, if
// they must, for themselves; that is an event. It is called with adopting held.
func (h *hub) adopt(snap *control.Snapshot) error {
	old := h.snap.Load()
	if err := h.fits(old, snap); err != nil {
		return err
	}
	err := applyAll(snap, h.inside)
	if err == nil {
		err = h.bgp.Apply(snap.Topology)
	}
	if err != nil {
		return errors.Join(err, applyAll(old, h.inside))
	}
	h.snap.Store(snap)
	h.reportZones(old.BadZones, snap.BadZones)
	h.save(snap)
	h.judge.adopt(snap.Topology, snap.Sites)
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, p := range h.ports {
		p.sink(update{Name: snap.Topology.Name, Files: snap.Files})
	}
	return nil
}

// applyAll gives all daemons a Snapshot, up to the first that refuses it.
func applyAll(snap *control.Snapshot, daemons []daemon) error {
	for _, d := range daemons {
		if err := d.Apply(snap); err != nil {
			return err
		}
	}
	return nil
}

// fits checks what a running node cannot take up, before anything changes.
func (h *hub) fits(old, snap *control.Snapshot) error {
	self := snap.Topology.Node(h.self.Name)
	if self == nil || !slices.Equal(self.Addrs, h.self.Addrs) || self.POP.Name != h.self.POP.Name || snap.Topology.ASN != old.Topology.ASN {
		return fmt.Errorf("this node (%s) has gone from the topology, or its addresses, its POP or the ASN have changed: restart it to take that up", h.self.Name)
	}
	return checkSize(snap)
}

// checkSize refuses a Snapshot that the link could not carry.
func checkSize(snap *control.Snapshot) error {
	size := 0
	for _, text := range snap.Files {
		size += len(text)
	}
	if size > maxSnapshot {
		return fmt.Errorf("the configuration has %d bytes; a node takes at most %d", size, maxSnapshot)
	}
	return nil
}

// save keeps a Snapshot for a start without the folder. That it cannot be kept makes it no worse now.
func (h *hub) save(snap *control.Snapshot) {
	if h.o.State == "" {
		return
	}
	if err := control.Save(h.o.State, snap); err != nil {
		h.o.Logger.Error("last good configuration not kept", "error", err)
	}
}

// run runs the hub's parts until ctx is done.
func (h *hub) run(ctx context.Context) error {
	return runAll(ctx,
		part("health", h.judge.run),
		part("bgpd", h.bgp.Run),
		part("gossip", h.pools.run),
		part("admin", h.admin.Run),
		part("control", h.watch),
		h.takeClaims, h.followDrain, h.keepIntents,
	)
}

// watch follows the configuration's folder.
func (h *hub) watch(ctx context.Context) error {
	snap := h.snap.Load()
	h.save(snap)
	return control.Watch(ctx, h.o.Dir, control.WatchOptions{Digest: snap.Digest, Last: h.snap.Load}, h.reload)
}

// drain tells the fleet that this node is going, moves its clients away and returns when nothing is announced any more.
// The node stays in the gossip: without its word, observers would find it well and DNS would send clients back.
func (h *hub) drain(ctx context.Context) error {
	h.o.Events.Add(event.Event{Kind: event.Process, Subject: h.self.Name, State: "draining", Cause: "told to stop"})
	h.judge.leave("the node is shutting down")
	if err := h.bgp.Drain(ctx); err != nil {
		return fmt.Errorf("drain bgpd: %w", err)
	}
	return nil
}

// put leaves the newest value in a channel of capacity 1. At most one goroutine at a time may call it for a channel.
func put[T any](c chan T, v T) {
	select {
	case <-c:
	default:
	}
	c <- v
}
