package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/catchment-net/catchment/gossip"
	"github.com/catchment-net/catchment/health"
	"github.com/catchment-net/catchment/topology"
)

// The keys of the gossiped states.
const (
	healthKey = "health" // one health.Record a message
	intentKey = "intent" // one health.Intent a message
)

// recordEvery is how often a node gossips its own record without a change: well within the 2 s for which its word
// counts.
const recordEvery = 500 * time.Millisecond

// pools are the gossip pools of a node: all nodes of the fleet, and those of its own POP with a LAN's timing.
type pools struct {
	hub   *hub
	fleet *gossip.Pool
	pop   *gossip.Pool  // nil where the POP has one node
	wake  chan struct{} // capacity 1: our own record has changed
}

func newPools(h *hub) (*pools, error) {
	p := &pools{hub: h, wake: make(chan struct{}, 1)}
	topo := h.judge.topo
	var err error
	if p.fleet, err = p.join(gossip.Fleet, topo.Name, topology.PortFleet, topo.Nodes()); err != nil {
		return nil, err
	}
	if len(h.self.POP.Nodes) > 1 {
		if p.pop, err = p.join(gossip.POP, topo.Name+"/"+h.self.POP.Name, topology.PortGossip, h.self.POP.Nodes); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func (p *pools) join(kind gossip.Kind, label string, port int, nodes []*topology.Node) (*gossip.Pool, error) {
	h := p.hub
	o := gossip.Options{
		Name: h.self.Name, Kind: kind, Label: label, Net: h.o.Net, Bind: address(h.self, port),
		Insecure: h.o.Insecure, Logger: h.o.Logger, Events: h.o.Events, Registerer: h.o.Registry,
		Seeds: func() []string {
			var seeds []string
			for _, n := range nodes {
				if n != h.self {
					seeds = append(seeds, address(n, port))
				}
			}
			return seeds
		},
	}
	if h.o.Keys != nil {
		o.Key = h.o.Keys.GossipKey
	}
	pool, err := gossip.New(o)
	if err != nil {
		return nil, err
	}
	if err := pool.Register(healthKey, healthState{h.judge}); err != nil {
		return nil, err
	}
	if err := pool.Register(intentKey, intentState{h.judge}); err != nil {
		return nil, err
	}
	return pool, nil
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
func (p *pools) ownChanged() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// tell gossips this node's record, on each change and every half second.
func (p *pools) tell(ctx context.Context) error {
	tick := time.NewTicker(recordEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-p.wake:
		}
		payload, err := p.hub.judge.record()
		if err != nil {
			return fmt.Errorf("encode own health record: %w", err)
		}
		p.send(healthKey, payload)
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

// healthState lets gossip carry health records without knowing what they are.
type healthState struct{ judge *judge }

// Marshal returns this node's own record, for a full exchange.
func (s healthState) Marshal() []byte {
	payload, err := s.judge.record()
	if err != nil {
		return nil
	}
	return payload
}

// Merge takes another node's record.
func (s healthState) Merge(payload []byte) error {
	var r health.Record
	if err := r.UnmarshalBinary(payload); err != nil {
		return err
	}
	s.judge.change(func(now time.Time) { s.judge.fleet.Merge(now, r) })
	return nil
}

// intentState carries operators' intents.
type intentState struct{ judge *judge }

// Marshal returns all intents in force, for a full exchange.
func (s intentState) Marshal() []byte {
	s.judge.mu.Lock()
	defer s.judge.mu.Unlock()
	payload, err := json.Marshal(s.judge.fleet.Intents())
	if err != nil {
		return nil
	}
	return payload
}

// Merge takes intents from another node.
func (s intentState) Merge(payload []byte) error {
	var intents []health.Intent
	if err := json.Unmarshal(payload, &intents); err != nil {
		return fmt.Errorf("decode intents: %w", err)
	}
	s.judge.change(func(now time.Time) {
		for _, i := range intents {
			s.judge.fleet.MergeIntent(now, i)
		}
	})
	return nil
}
