package node

import (
	"context"
	"slices"
	"sync"

	"github.com/catchment-net/catchment/health"
	"github.com/catchment-net/catchment/topology"
)

// judgeAlone gives the daemon Views from its own probes for as long as it has no hub.
func (s *Service) judgeAlone(ctx context.Context) error {
	there := false
	for ctx.Err() == nil {
		if !there {
			there = s.judgeUntil(ctx)
			continue
		}
		select {
		case <-ctx.Done():
		case there = <-s.hubIs:
		}
	}
	return nil
}

// judgeUntil judges by own probes until ctx is done or the hub comes, and reports whether it is there. The hub's last View
// stays in force until the probes know of every other POP, and the drains in it for as long as the hub is away.
func (s *Service) judgeUntil(ctx context.Context) (there bool) {
	ctx, stop := context.WithCancel(ctx)
	j := s.ownJudge()
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
	case there = <-s.hubIs: // false: it came and went; its View has replaced ours, so begin anew
		return there
	}
}

func (s *Service) ownJudge() *judge {
	s.mu.Lock()
	topo, sites, last := s.topo, s.sites, s.last
	s.mu.Unlock()
	j := newJudge(topo, topo.Node(s.o.Name), sites, s.o)
	j.observe = true
	if last != nil {
		j.mergeIntents(drainsIn(last))
	}
	complete := last == nil // without a View of the hub's, anything known is better than nothing
	j.onView = func(v *health.View) {
		if complete = complete || knowsOthers(topo, v); complete {
			s.viewedAlone(v)
		}
	}
	return j
}

// viewedAlone takes a View of the own probes, unless the hub has come meanwhile.
func (s *Service) viewedAlone(v *health.View) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.byHub {
		s.daemon.SetView(v)
	}
}

// knowsOthers reports whether something is known of every service of every other POP.
func knowsOthers(topo *topology.Topology, v *health.View) bool {
	own := v.Nodes[v.Self].POP
	for _, p := range topo.POPs {
		if p.Name != own && slices.ContainsFunc(health.Services[:], func(s health.Service) bool { return v.State(p.Name, s) == health.Unknown }) {
			return false
		}
	}
	return true
}

// drainsIn makes intents of the drains that a View shows.
func drainsIn(v *health.View) []health.Intent {
	var all []health.Intent
	for name, n := range v.Nodes {
		if n.Draining {
			all = append(all, health.Intent{Target: name, Kind: health.IntentDrain, Why: n.Why, Set: v.Time})
		}
	}
	return all
}
