package popd

import (
	"github.com/catchment-net/catchment/internal/fault"
	"github.com/catchment-net/catchment/popd/shard"
	"github.com/catchment-net/catchment/popd/upstream"
	"github.com/catchment-net/catchment/topology"
)

// The way of a request that a node cannot answer. Each arrow is taken once at most: what a peer asks for goes to no other
// peer, what an edge asks for to no other shield.
//
//	node ──peer=NODE──► the node of this POP that keeps the key ──edge=NODE──► shield ──► origin
//
// A peer's answer is kept here only if its key is hot: else the POP would remember one thing many times.

// tiers knows where this node's requests go within its POP. Its zero value is ready.
type tiers struct {
	balancer shard.Balancer
	heat     shard.Heat
}

// peer is the node of our POP that keeps the key of a, or nil if that is ourselves or if a has been at a peer already.
// hot says that the key is asked for so often that every node should keep it. done must be called once its answer has
// ended.
func (s *Server) peer(a *ask) (n *topology.Node, hot bool, done func()) {
	self := a.c.node
	if self == nil || len(self.POP.Nodes) < 2 || a.from.Peer {
		return nil, false, func() {}
	}
	name, done := s.tiers.balancer.Pick(a.primary, upstream.Peers(self, s.view.Load()))
	if name == self.Name {
		return nil, false, done
	}
	return a.c.topology.Node(name), s.tiers.heat.Touch(a.primary), done
}

// shields are the nodes to ask before the origin: none for an edge's request, which ends the tiers.
func (s *Server) shields(a *ask) []*topology.Node {
	edge := a.from.Node != "" && !a.from.Peer
	if edge || a.c.node == nil || fault.Is(fault.ShieldBypassed) {
		return nil
	}
	return upstream.Shields(a.c.topology, a.c.node.POP, s.view.Load(), a.primary)
}

// ofOurRules reports whether an answer comes from where URLs are keyed as here: an origin, or a node with the same rules
// for the site. Another's may not be stored, or two POPs would answer one URL differently (design §5).
func (a *ask) ofOurRules(resp *upstream.Answer) bool {
	return resp.Tier == upstream.Origin || resp.Rules == a.c.digests[a.site]
}
