// Package shard spreads the keys of a POP over its nodes, so that together they remember as much as one large one.
//
//	miss ─► Order(key, nodes): owner, next, … ─► Balancer: the first that is not overloaded ─┬─ self: shield, origin
//	                                                                                         └─ peer: asks for us
//	     ─► Heat: is this key asked so often that every node should keep it?
//
// Which node owns a key depends on the key and the nodes' names alone, so all nodes of the POP, and every edge that asks
// a shield POP, agree without a word.
package shard

import (
	"encoding/binary"
	"slices"

	"github.com/catchment-net/catchment/popd/key"
)

// Order ranks names for a key by rendezvous hashing: the first owns it, the next takes its place when it is gone, and
// a name that comes or goes moves only its own keys. names stay as they are.
func Order(k key.Key, names []string) []string {
	ranked := slices.Clone(names)
	slices.SortFunc(ranked, func(a, b string) int {
		switch sa, sb := Score(k, a), Score(k, b); {
		case sa > sb:
			return -1
		case sa < sb:
			return 1
		}
		return 0
	})
	return ranked
}

// Score is how high a name ranks for a key; the highest wins.
func Score(k key.Key, name string) uint64 {
	const fnvOffset, fnvPrime = 14695981039346656037, 1099511628211
	h := uint64(fnvOffset)
	for i := range len(name) {
		h = (h ^ uint64(name[i])) * fnvPrime
	}
	// A key is a hash already; what is left to do is to mix it well with the name (the finaliser of splitmix64).
	x := binary.BigEndian.Uint64(k[8:16]) ^ h
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
