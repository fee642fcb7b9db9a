package mem

import "hash/maphash"

// ghostWays is how many places there are for each key. With this many, few are lost before their time.
const ghostWays = 16

// ghosts remembers keys that left the small queue without having been used: one that comes back is worth the main
// queue (S3-FIFO, SOSP 2023 §4.1). Each takes four bytes: 16 bits of a hash, and when it came, in steps. It belongs to
// its shard.
type ghosts struct {
	places []uint32 // buckets of ghostWays; 0 is free
	seed   maphash.Seed
	came   uint64 // keys so far
	step   uint64 // keys for one step of the clock
}

// newGhosts has room for about n keys.
func newGhosts(n int, seed maphash.Seed) ghosts {
	return ghosts{places: make([]uint32, max(n/ghostWays, 1)*ghostWays), seed: seed, step: max(1, uint64(n)/256)}
}

func (g *ghosts) bucket(k digest) (places []uint32, print uint32) {
	h := maphash.Comparable(g.seed, k)
	at := int(h>>32*uint64(len(g.places)/ghostWays)>>32) * ghostWays
	return g.places[at : at+ghostWays], uint32(h%0xffff+1) << 16
}

// clock counts steps in 16 bits.
func (g *ghosts) clock() uint32 { return uint32(g.came/g.step) & 0xffff }

// add remembers k, in the place of the one that has been there longest.
func (g *ghosts) add(k digest) {
	places, print := g.bucket(k)
	now := g.clock()
	oldest, age := 0, uint32(0)
	for i, p := range places {
		if p == 0 {
			oldest = i
			break
		}
		if a := (now - p) & 0xffff; a >= age {
			oldest, age = i, a
		}
	}
	places[oldest] = print | now
	g.came++
}

// take reports whether k came among the last window keys, and forgets it.
func (g *ghosts) take(k digest, window int) bool {
	places, print := g.bucket(k)
	for i, p := range places {
		if p&0xffff0000 == print {
			places[i] = 0
			return uint64((g.clock()-p)&0xffff)*g.step <= uint64(max(window, 0))
		}
	}
	return false
}
