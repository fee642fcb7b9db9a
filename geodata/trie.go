package geodata

import (
	"math/bits"
	"net/netip"
	"slices"
)

// An entry of a trie is a leaf or the number of a node below. A leaf holds for a whole block, and since the widest aligned
// block around an address contains every smaller one, so does its scope.
//
//	leaf: 0 | 7 bits free | scope (8 bits) | list (16 bits)
//	node: 1 | number (31 bits)
type entry uint32

const node entry = 1 << 31

func leaf(list uint32, scope int) entry { return entry(uint32(scope)<<16 | list) }

func (e entry) list() uint16 { return uint16(e) }
func (e entry) scope() uint8 { return uint8(e >> 16) }

// trie is one family's table: an array for the first 16 bits of an address, and nodes for each 8 that follow. A node keeps
// its 256 entries as runs of equal ones, right behind the map of them: the whole Internet then fits a processor's cache,
// and is faster for it than with plain arrays.
//
//	node: 4 words, a bit for each entry that differs from the one before it
//	      1 word, of which byte i counts the bits in the words before word i
//	      the runs' entries, two a word, the first one low
type trie struct {
	root  []entry // 65,536
	nodes []uint64
}

func (t *trie) lookup4(addr netip.Addr) entry {
	a := addr.As4()
	e := t.root[uint(a[0])<<8|uint(a[1])]
	if e >= node {
		e = t.below(e, a[2])
	}
	if e >= node {
		e = t.below(e, a[3])
	}
	return e
}

func (t *trie) lookup6(addr netip.Addr) entry {
	a := addr.As16()
	e := t.root[uint(a[0])<<8|uint(a[1])]
	for i := 2; e >= node; i++ {
		e = t.below(e, a[i&15])
	}
	return e
}

// below is the entry of node e for the next byte of an address.
func (t *trie) below(e entry, next byte) entry {
	n := t.nodes[e&^node:]
	word := next >> 6
	run := uint(byte(n[4]>>(8*word))) + uint(bits.OnesCount64(n[word]<<(63-next&63))) - 1
	return entry(n[5+run>>1] >> (run & 1 * 32))
}

func newTrie(s *spans) *trie {
	t := &trie{root: make([]entry, 1<<16)}
	c := cutter{spans: s}
	for i := range t.root {
		t.root[i] = t.fill(&c, number{}.child(i>>8, 0, s.width).child(i&255, 8, s.width), 16)
	}
	t.nodes = slices.Clone(t.nodes) // gives back what was kept for growth
	return t
}

// fill makes the entry of the block of that length at first.
func (t *trie) fill(c *cutter, first number, length int) entry {
	if e, ok := c.leaf(first, length); ok {
		return e
	}
	var buf [256]entry
	var starts [4]uint64
	own := buf[:0]
	for i := range 256 {
		e := t.fill(c, first.child(i, length, c.width), length+8)
		if len(own) > 0 && own[len(own)-1] == e {
			continue
		}
		own = append(own, e)
		starts[i>>6] |= 1 << (i & 63)
	}
	return t.add(starts, own)
}

// add appends a node.
func (t *trie) add(starts [4]uint64, own []entry) entry {
	at := entry(len(t.nodes))
	t.nodes = append(t.nodes, starts[:]...)
	counts, before := uint64(0), 0
	for i, s := range starts {
		counts |= uint64(before) << (8 * i)
		before += bits.OnesCount64(s)
	}
	t.nodes = append(t.nodes, counts)
	for i, e := range own {
		if i&1 == 0 {
			t.nodes = append(t.nodes, uint64(e))
		} else {
			t.nodes[len(t.nodes)-1] |= uint64(e) << 32
		}
	}
	return node | at
}

// size is the trie's memory in bytes.
func (t *trie) size() int { return 4*cap(t.root) + 8*cap(t.nodes) }

// cutter walks ranges in order, in step with the blocks that are asked for.
type cutter struct {
	*spans
	at int // the range that holds the first address of the last block asked for
}

// leaf makes the entry of a block that lies in one range; otherwise it is not ok. Blocks are asked for in order.
func (c *cutter) leaf(first number, length int) (entry, bool) {
	for c.at+1 < len(c.start) && !first.less(c.start[c.at+1]) {
		c.at++
	}
	last := c.last(c.at)
	if last.less(first.end(length, c.width)) {
		return 0, false
	}
	return leaf(c.value[c.at], first.widest(c.start[c.at], last, c.width)), true
}
