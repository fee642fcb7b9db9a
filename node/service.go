package node

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/catchment-net/catchment/control"
	"github.com/catchment-net/catchment/health"
	"github.com/catchment-net/catchment/site"
	"github.com/catchment-net/catchment/topology"
)

// Hub is the process that speaks BGP when the daemons of a node run apart: dnsd and popd attach to its link.
type Hub struct {
	hub   *hub
	ready *gate
}

// NewHub checks the configuration and wires a hub; it opens nothing.
func NewHub(o Options) (*Hub, error) {
	snap, self, err := o.setDefaults()
	if err != nil {
		return nil, err
	}
	ready := &gate{open: o.Ready, waiting: 1}
	h, err := newHub(&o, snap, self, nil, ready)
	if err != nil {
		return nil, err
	}
	return &Hub{h, ready}, nil
}

// Run runs the hub until ctx is done.
func (h *Hub) Run(ctx context.Context) error {
	o := h.hub.o
	l, err := listenLink(o.linkSocket())
	if err != nil {
		return err
	}
	h.ready.listens([]string{"unix:" + o.linkSocket(), "unix:" + o.Admin})
	return runAll(ctx, h.hub.run, part("link", func(ctx context.Context) error { return h.hub.acceptLinks(ctx, l) }))
}

// Drain moves the clients of this node away and returns when it may be stopped.
func (h *Hub) Drain(ctx context.Context) error {
	if err := h.hub.drain(ctx); err != nil {
		return err
	}
	return h.hub.pools.leave(ctx)
}

// Service is dnsd or popd in a process of its own, attached to a hub. While the hub is away it keeps its last Snapshot
// and judges the other POPs by probes of its own.
type Service struct {
	o        *Options
	kind     health.Service
	daemon   runner
	follower *follower

	listening atomic.Bool
	draining  atomic.Bool
	drained   atomic.Bool   // its node is, by the hub's View
	changed   chan struct{} // capacity 1: the follower is to report
	hubIs     chan bool     // capacity 1: whether the hub is there now

	mu    sync.Mutex         // guards the following; held for a SetView, so that Views of hub and own probes keep their order
	topo  *topology.Topology // of the Snapshot in force
	sites []*site.Site       // and of it
	byHub bool               // the hub is there, and own probes have no say
	last  *health.View       // the hub's last

	purged []purgeDone // what the next report answers
}

// runner is a daemon with its life.
type runner interface {
	daemon
	Run(ctx context.Context) error
	Drain(ctx context.Context) error
}

// NewService checks the configuration and wires dnsd or popd; it opens nothing.
func NewService(o Options, kind health.Service) (*Service, error) {
	snap, self, err := o.setDefaults()
	if err != nil {
		return nil, err
	}
	s := &Service{o: &o, kind: kind, changed: make(chan struct{}, 1), hubIs: make(chan bool, 1)}
	if kind == health.DNS {
		s.daemon, err = newDNS(&o, self, s.ready)
	} else {
		s.daemon, err = newWeb(&o, self, s.ready)
	}
	if err != nil {
		return nil, err
	}
	if err := s.apply(snap); err != nil {
		return nil, err
	}
	s.follower = &follower{
		socket: o.Hub, service: kind, node: self.Name, log: o.Logger, changed: s.changed,
		state: s.report, often: func() bool { return s.drained.Load() || s.draining.Load() }, apply: s.taken, view: s.viewed, left: s.left, restart: o.Restart, purge: s.purge,
	}
	return s, nil
}

// apply gives the daemon a Snapshot.
func (s *Service) apply(snap *control.Snapshot) error {
	if err := s.daemon.Apply(snap); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.topo, s.sites = snap.Topology, snap.Sites
	return nil
}

// taken is apply for a Snapshot of the hub's, which is kept for a start without hub and folder.
func (s *Service) taken(snap *control.Snapshot) error {
	if err := s.apply(snap); err != nil {
		return err
	}
	s.save(snap)
	return nil
}

func (s *Service) save(snap *control.Snapshot) {
	if s.o.State == "" {
		return
	}
	if err := control.Save(s.o.State, snap); err != nil {
		s.o.Logger.Error("last good configuration not kept", "error", err)
	}
}

func (s *Service) ready(_ health.Service, addrs []string) {
	s.listening.Store(true)
	notify(s.changed)
	if s.o.Ready != nil {
		s.o.Ready(addrs)
	}
}

func (s *Service) report() report {
	clients := s.daemon.traffic()
	return report{Ready: s.listening.Load(), Draining: s.draining.Load(), Last: clients.last, Requests: clients.total, Purged: s.answers()}
}

// viewed takes a View of the hub.
func (s *Service) viewed(v *health.View) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = v
	s.daemon.SetView(v)
	self := v.Nodes[s.o.Name]
	if drained := self.Draining || self.Services[s.kind].State == health.Draining; drained != s.drained.Swap(drained) {
		notify(s.changed)
	}
	if !s.byHub {
		s.byHub = true
		put(s.hubIs, true)
	}
}

// left notes that the hub is away.
func (s *Service) left() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.byHub = false
	put(s.hubIs, false)
}

// Run runs the daemon until ctx is done.
func (s *Service) Run(ctx context.Context) error {
	return runAll(ctx, part(serviceName(s.kind), s.daemon.Run), part("link", s.follower.run), s.judgeAlone)
}

// Drain tells the hub that this daemon wants no new clients, waits until they have gone, and returns when it may be
// stopped.
func (s *Service) Drain(ctx context.Context) error {
	s.draining.Store(true)
	notify(s.changed)
	if err := s.daemon.Drain(ctx); err != nil {
		return fmt.Errorf("drain %s: %w", serviceName(s.kind), err)
	}
	return nil
}
