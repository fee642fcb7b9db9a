package health

import "github.com/catchment-net/catchment/topology"

// Adopt puts another topology under what this node knows: words of nodes and sightings of POPs that it no longer has
// are forgotten, all else stays, this node's own word and its sequence included.
func (f *Fleet) Adopt(t *topology.Topology) {
	f.topo, f.self = t, t.Node(f.name)
	for name := range f.heard {
		if t.Node(name) == nil {
			delete(f.heard, name)
		}
	}
	for w := range f.observed {
		if t.POP(w.pop) == nil {
			delete(f.observed, w)
		}
	}
	for target := range f.intents {
		if t.POP(target) == nil && t.Node(target) == nil {
			delete(f.intents, target)
		}
	}
}
