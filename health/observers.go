package health

import (
	"cmp"
	"hash/fnv"
	"slices"

	"github.com/catchment-net/catchment/topology"
)

// observersPerPOP is how many POPs probe each POP: the smallest number with a majority when one of them is wrong.
const observersPerPOP = 3

// Observers names the POPs that probe the given one, best first: the three that rendezvous hashing over the names
// picks, or all others if there are fewer. Every node computes the same; a POP that comes or goes changes only the sets
// that it belongs to.
func Observers(t *topology.Topology, pop string) []string {
	names := make([]string, 0, len(t.POPs))
	for _, p := range t.POPs {
		if p.Name != pop {
			names = append(names, p.Name)
		}
	}
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(cmp.Compare(Rendezvous(pop, b), Rendezvous(pop, a)), cmp.Compare(a, b))
	})
	return names[:min(len(names), observersPerPOP)]
}

// Rendezvous scores a pair of names, the same on every node: who has the highest score with a key comes first for it. FNV alone ranks names that differ in their last letter alike, so its bits are
// mixed once more (the finaliser of MurmurHash3).
func Rendezvous(key, name string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(key))
	h.Write([]byte{0})
	h.Write([]byte(name))
	return blend(h.Sum64())
}

// blend is the finaliser of MurmurHash3.
func blend(x uint64) uint64 {
	x = (x ^ x>>33) * 0xff51afd7ed558ccd
	x = (x ^ x>>33) * 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}
