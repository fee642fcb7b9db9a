package node

import (
	"context"
	"errors"
	"time"

	"github.com/catchment-net/catchment/gossip"
	"github.com/catchment-net/catchment/health"
	"github.com/catchment-net/catchment/topology"
)

// The keys of the gossiped states.
const (
	healthKey = "health" // one health.Record a message
	intentKey = "intent" // a list of health.Intent
	digestKey = "digest" // one node's configuration, as its digest
	targetKey = "target" // health.Sights, as many as fit one message
)

// recordEvery is how often a node gossips its own record without a change: well within the 2 s for which its word
// counts.
const recordEvery = 500 * time.Millisecond

// digestEvery is how often a node gossips the digest of its configuration.
const digestEvery = 5 * time.Second

// pools are the gossip pools of a node: all nodes of the fleet, and those of its own POP with a LAN's timing.
type pools struct {
	hub    *hub
	fleet  *gossip.Pool
	pop    *gossip.Pool  // nil where the POP had one node at the start
	wake   chan struct{} // capacity 1: our own record has changed
	sight  chan struct{} // capacity 1: our opinion of a target has changed
	census *census
}

func newPools(h *hub, ready *gate) (*pools, error) {
	p := &pools{hub: h, wake: make(chan struct{}, 1), sight: make(chan struct{}, 1), census: newCensus(h.self.Name)}
	topo := h.snap.Load().Topology
	var err error
	if p.fleet, err = p.join(gossip.Fleet, topo.Name, topology.PortFleet, ready); err != nil {
		return nil, err
	}
	if len(h.self.POP.Nodes) > 1 {
		if p.pop, err = p.join(gossip.POP, topo.Name+"/"+h.self.POP.Name, topology.PortGossip, ready); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// seeds are where the other nodes of a pool ought to be, by the present topology.
func (p *pools) seeds(kind gossip.Kind, port int) []string {
	var seeds []string
	for _, n := range p.hub.snap.Load().Topology.Nodes() {
		if n.Name != p.hub.self.Name && (kind == gossip.Fleet || n.POP.Name == p.hub.self.POP.Name) {
			seeds = append(seeds, address(n, port))
		}
	}
	return seeds
}

func (p *pools) join(kind gossip.Kind, label string, port int, ready *gate) (*gossip.Pool, error) {
	h := p.hub
	ready.waiting++
	o := gossip.Options{
		Name: h.self.Name, Kind: kind, Label: label, Net: h.o.Net, Bind: address(h.self, port),
		Insecure: h.o.Insecure, Logger: h.o.Logger, Events: h.o.Events, Registerer: h.o.Registry,
		Seeds: func() []string { return p.seeds(kind, port) },
		Ready: func(string) { ready.listens(nil) },
	}
	if h.o.Keys != nil {
		o.Key = h.o.Keys.GossipKey
	}
	pool, err := gossip.New(o)
	if err != nil {
		return nil, err
	}
	return pool, errors.Join(
		pool.Register(healthKey, healthState{h.judge}),
		pool.Register(intentKey, intentState{h.judge}),
		pool.Register(digestKey, digestState{p}),
		pool.Register(targetKey, targetState{h.judge}),
	)
}

// run runs the pools until ctx is done.
func (p *pools) run(ctx context.Context) error {
	parts := []func(context.Context) error{p.fleet.Run, p.tell}
	if p.pop != nil {
		parts = append(parts, p.pop.Run)
	}
	return runAll(ctx, parts...)
}

// leave says good-bye, so that the others need not find out.
func (p *pools) leave(ctx context.Context) error {
	err := p.fleet.Leave(ctx)
	if p.pop != nil {
		err = errors.Join(err, p.pop.Leave(ctx))
	}
	return err
}

// ownChanged asks for our own record to be gossiped now. It never blocks.
func (p *pools) ownChanged() { notify(p.wake) }

// sawTarget asks for our opinions of targets to be gossiped now. It never blocks.
func (p *pools) sawTarget() { notify(p.sight) }

// tellSights gossips all opinions of targets.
func (p *pools) tellSights() {
	for _, payload := range p.hub.judge.sights() {
		p.send(targetKey, payload)
	}
}

// tell gossips this node's record, on each change and every half second, and now and then its configuration's digest
// and the intents that it knows: one that was lost on its way must not wait for a full exchange.
func (p *pools) tell(ctx context.Context) error {
	tick := time.NewTicker(recordEvery)
	defer tick.Stop()
	slow := time.NewTicker(digestEvery)
	defer slow.Stop()
	for {
		p.sendState(healthKey, healthState{p.hub.judge})
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			p.tellSights()
		case <-p.sight:
			p.tellSights()
		case <-p.wake:
		case <-slow.C:
			p.sendState(digestKey, digestState{p})
			for _, i := range p.hub.judge.intents() { // one a message: each was small enough when it was set
				p.send(intentKey, encodeIntents([]health.Intent{i}))
			}
			p.count()
		}
	}
}

// sendState gossips all that a state has to say.
func (p *pools) sendState(key string, s gossip.State) {
	if payload := s.Marshal(); payload != nil {
		p.send(key, payload)
	}
}

func (p *pools) send(key string, payload []byte) {
	for _, pool := range []*gossip.Pool{p.fleet, p.pop} {
		if pool == nil {
			continue
		}
		if err := pool.Send(key, payload); err != nil {
			p.hub.o.Logger.Warn("gossip not sent", "pop", p.hub.self.POP.Name, "key", key, "error", err)
		}
	}
}
