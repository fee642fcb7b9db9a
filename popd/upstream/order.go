package upstream

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"math"
	"slices"

	"github.com/catchment-net/catchment/health"
	"github.com/catchment-net/catchment/popd/key"
	"github.com/catchment-net/catchment/popd/shard"
	"github.com/catchment-net/catchment/site"
	"github.com/catchment-net/catchment/topology"
)

// Order is the order in which to ask origins for the n-th request: over many n the first one is spread by weight;
// backups come after all others. It is pure: one n, one order.
func Order(origins []site.Origin, n uint64) []site.Origin {
	if len(origins) < 2 {
		return origins
	}
	type ranked struct {
		site.Origin
		score float64
	}
	all := make([]ranked, len(origins))
	for i, o := range origins {
		var seed [16]byte
		binary.BigEndian.PutUint64(seed[:], n)
		binary.BigEndian.PutUint64(seed[8:], uint64(i))
		all[i] = ranked{o, score(seed[:], float64(max(o.Weight, 1)))}
	}
	slices.SortStableFunc(all, func(a, b ranked) int {
		if a.Backup != b.Backup {
			if a.Backup {
				return 1
			}
			return -1
		}
		return cmp.Compare(b.score, a.score)
	})
	out := make([]site.Origin, len(all))
	for i, r := range all {
		out[i] = r.Origin
	}
	return out
}

// Shields is the order in which a node of the POP self asks shields for a key: by rendezvous (every POP agrees, and a
// lost shield moves only its own keys), without those whose web service may not be used now. Of each POP it is the node
// that rendezvous picks among the usable ones. A node of a shield asks the origin itself, so it gets none, which with
// the rule that requests from other nodes get none either makes two shield hops impossible. It is pure.
func Shields(t *topology.Topology, self *topology.POP, v *health.View, k key.Key) []*topology.Node {
	if t == nil || self == nil || self.Shield {
		return nil
	}
	type ranked struct {
		node  *topology.Node
		score uint64
	}
	var all []ranked
	for _, p := range t.POPs {
		if !p.Shield || p == self || !v.Usable(p.Name, health.Web) {
			continue
		}
		if n := pick(p, v, k); n != nil {
			all = append(all, ranked{n, shard.Score(k, p.Name)})
		}
	}
	slices.SortStableFunc(all, func(a, b ranked) int { return cmp.Compare(b.score, a.score) })
	nodes := make([]*topology.Node, len(all))
	for i, r := range all {
		nodes[i] = r.node
	}
	return nodes
}

// pick is the node of a POP that keeps a key: the first by rendezvous of those that may be used; nil if none may.
func pick(p *topology.POP, v *health.View, k key.Key) *topology.Node {
	var best *topology.Node
	for _, n := range p.Nodes {
		if usable(v, n.Name) && (best == nil || shard.Score(k, n.Name) > shard.Score(k, best.Name)) {
			best = n
		}
	}
	return best
}

// Peers are the names of a POP's nodes that may keep keys now: self always, the others while they may be used. It is
// pure.
func Peers(self *topology.Node, v *health.View) []string {
	var names []string
	for _, n := range self.POP.Nodes {
		if n == self || usable(v, n.Name) {
			names = append(names, n.Name)
		}
	}
	return names
}

func usable(v *health.View, node string) bool {
	if v == nil {
		return true
	}
	n, known := v.Nodes[node]
	return !known || !n.Draining && n.Services[health.Web].State.Usable()
}

// score is weighted rendezvous hashing: the highest score wins with a probability in proportion to the weight.
func score(seed []byte, weight float64) float64 {
	sum := sha256.Sum256(seed)
	u := (float64(binary.BigEndian.Uint64(sum[:])>>11) + 0.5) / (1 << 53) // in (0, 1)
	return -weight / math.Log(u)
}
