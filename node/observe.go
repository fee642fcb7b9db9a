package node

import (
	"context"
	"slices"
	"time"

	"github.com/catchment-net/catchment/health"
	"github.com/catchment-net/catchment/health/probe"
	"github.com/catchment-net/catchment/topology"
)

// watchOthers starts the probes of the POPs that this node's POP observes: every node, every service, at its unicast
// address, as a client would ask. Called with mu held.
func (j *judge) watchOthers() {
	ctx, cancel := context.WithCancel(j.ctx)
	j.unwatch = cancel
	for _, p := range j.topo.POPs {
		if p.Name == j.self.POP.Name || !j.observe && !slices.Contains(health.Observers(j.topo, p.Name), j.self.POP.Name) {
			continue
		}
		for _, s := range health.Services {
			j.watchPOP(ctx, p, s)
		}
	}
}

// watchPOP judges one service of one POP by its nodes: it lives while one of them answers. Called with mu held.
func (j *judge) watchPOP(ctx context.Context, p *topology.POP, s health.Service) {
	states := make([]health.ServiceView, len(p.Nodes)) // guarded by j.mu
	for i, n := range p.Nodes {
		tracker := health.NewTracker(health.TrackerOptions{Interval: observeEvery, Timeout: observeTimeout, Fall: observeFall, Rise: observeRise, MaxRise: observeRise})
		pr := probe.New(probe.Options{Target: j.target(s, n), Interval: observeEvery, Timeout: observeTimeout, Net: j.net, Now: j.now, Logger: j.log})
		j.probers.Go(func() {
			pr.Run(ctx, func(v health.Verdict) {
				j.change(func(now time.Time) {
					if ctx.Err() != nil {
						return
					}
					was := states[i].State
					states[i] = tracker.Observe(now, v).View
					ok, text, known := sighting(states)
					if !known {
						return
					}
					j.fleet.SetObserved(now, p.Name, s, ok, text)
					if states[i].State != was {
						j.onRecord()
					}
				})
			})
		})
	}
}

// sighting makes one verdict on a POP of the states of its nodes: well if one is, not well if all are not. Until that
// is known there is none: an observer that has just started must not call a dead POP well.
func sighting(states []health.ServiceView) (ok bool, text string, known bool) {
	unknown := func(v health.ServiceView) bool { return v.State == health.Unknown }
	switch {
	case slices.ContainsFunc(states, func(v health.ServiceView) bool { return !unknown(v) && v.State.Usable() }):
		return true, "", true
	case len(states) == 0 || slices.ContainsFunc(states, unknown):
		return false, "", false
	}
	return false, states[0].Cause.Text, true
}
