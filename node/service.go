package node

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/catchment-net/catchment/health"
	"github.com/catchment-net/catchment/topology"
)

// Hub is the process that speaks BGP when the daemons of a node run apart: dnsd and popd attach to its link.
type Hub struct{ hub *hub }

// NewHub checks the configuration and wires a hub; it opens nothing.
func NewHub(o Options) (*Hub, error) {
	snap, self, err := o.setDefaults()
	if err != nil {
		return nil, err
	}
	h, err := newHub(&o, snap, self)
	if err != nil {
		return nil, err
	}
	h.ready = func() {
		if o.Ready != nil {
			o.Ready([]string{"unix:" + o.linkSocket(), "unix:" + o.Admin})
		}
	}
	return &Hub{h}, nil
}

// Run runs the hub until ctx is done.
func (h *Hub) Run(ctx context.Context) error {
	l, err := listenLink(h.hub.o.linkSocket())
	if err != nil {
		return err
	}
	return runAll(ctx, h.hub.run, part("link", func(ctx context.Context) error { return h.hub.acceptLinks(ctx, l) }))
}

// Drain moves the clients of this node away and returns when it may be stopped.
func (h *Hub) Drain(ctx context.Context) error { return h.hub.drain(ctx) }

// Service is dnsd or popd in a process of its own, attached to a hub. While the hub is away it keeps its last Snapshot
// and judges the other POPs by probes of its own.
type Service struct {
	o        *Options
	kind     health.Service
	self     *topology.Node
	topo     *topology.Topology
	daemon   runner
	follower *follower

	listening atomic.Bool
	draining  atomic.Bool
	changed   chan struct{} // capacity 1
	alone     chan bool     // capacity 1: whether the hub is away
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
	s := &Service{o: &o, kind: kind, self: self, topo: snap.Topology, changed: make(chan struct{}, 1), alone: make(chan bool, 1)}
	if kind == health.DNS {
		s.daemon, err = newDNS(&o, self, s.ready)
	} else {
		s.daemon, err = newWeb(&o, self, s.ready)
	}
	if err != nil {
		return nil, err
	}
	if err := s.daemon.Apply(snap.Topology.Name, snap.Files); err != nil {
		return nil, err
	}
	s.follower = &follower{
		socket: o.Hub, service: kind, node: self.Name, daemon: s.daemon, log: o.Logger, changed: s.changed,
		joined: func(joined bool) { put(s.alone, !joined) },
		state:  func() (bool, bool) { return s.listening.Load(), s.draining.Load() },
	}
	return s, nil
}

// put leaves the newest value in a channel of capacity 1 that one goroutine fills.
func put[T any](c chan T, v T) {
	select {
	case <-c:
	default:
	}
	c <- v
}

func (s *Service) ready(_ health.Service, addrs []string) {
	s.listening.Store(true)
	s.tell()
	if s.o.Ready != nil {
		s.o.Ready(addrs)
	}
}

// tell makes the follower report now.
func (s *Service) tell() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// Run runs the daemon until ctx is done.
func (s *Service) Run(ctx context.Context) error {
	s.alone <- true
	return runAll(ctx, part(serviceName(s.kind), s.daemon.Run), s.follower.run, s.judgeAlone)
}

// judgeAlone gives the daemon Views from its own probes for as long as it has no hub. The last View of the hub stays in
// force until the probes have something to say.
func (s *Service) judgeAlone(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case alone := <-s.alone:
			for alone {
				alone = s.judgeUntil(ctx)
			}
		}
	}
}

// judgeUntil judges by own probes until ctx is done or the hub comes or goes, and reports whether it is still away.
func (s *Service) judgeUntil(ctx context.Context) (alone bool) {
	ctx, stop := context.WithCancel(ctx)
	j := newJudge(s.topo, s.self, s.o.Net, s.o)
	j.observe = true
	j.onView = s.daemon.SetView
	var running sync.WaitGroup
	running.Go(func() {
		if err := j.run(ctx); err != nil {
			s.o.Logger.Error("own probes ended", "error", err)
		}
	})
	defer running.Wait()
	defer stop()
	select {
	case <-ctx.Done():
		return false
	case alone = <-s.alone:
		return alone
	}
}

// Drain tells the hub that this daemon wants no new clients, waits until they have gone, and returns when it may be
// stopped.
func (s *Service) Drain(ctx context.Context) error {
	s.draining.Store(true)
	s.tell()
	if err := s.daemon.Drain(ctx); err != nil {
		return fmt.Errorf("drain %s: %w", serviceName(s.kind), err)
	}
	return nil
}
