package geodata

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
	"slices"
)

// An entry of a trie is a leaf, or the place of a node or a bucket below. A leaf holds for a whole block, and since the
// widest aligned block around an address contains every smaller one, so does its scope.
//
//	leaf:   00 | 6 bits free | scope (8 bits) | list (16 bits)
//	bucket: 01 | word (30 bits)
//	node:   1  | word (31 bits)
type entry uint32

const (
	bucket entry = 1 << 30
	node   entry = 1 << 31
)

func leaf(list uint32, scope int) entry { return entry(uint32(scope)<<16 | list) }

func (e entry) list() uint16 { return uint16(e) }
func (e entry) scope() uint8 { return uint8(e >> 16) }

// trie is one family's table: an array for the first 16 bits of an address, and nodes for each 8 that follow. A node keeps
// its 256 entries as runs of equal ones, right behind the map of them: the whole Internet then fits a processor's cache,
// and is faster for it than with plain arrays.
//
// IPv6 is sparse: a block of few ranges is a bucket, which is searched, instead of a chain of nodes.
//
//	node: 4 words, a bit for each entry that differs from the one before it
//	      1 word, of which byte i counts the bits in the words before word i
//	      the runs' entries, two a word, the first one low
//	bucket: 1 word, the number of ranges
//	        a word for each range, the first 64 bits of its first address, and one for the end of the last (0: none)
//	        the ranges' lists, four a word, the first one low
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
	if e >= bucket {
		e = t.search(e, binary.BigEndian.Uint64(a[:8]))
	}
	return e
}

// search is the leaf for the address that begins with a in bucket e.
func (t *trie) search(e entry, a uint64) entry {
	b := t.nodes[e&^bucket:]
	n := uint(b[0])
	starts := b[1 : n+2]
	i := uint(0)
	for i+1 < n && starts[i+1] <= a {
		i++
	}
	scope := 0
	if starts[i] != 0 {
		scope = bits.LeadingZeros64(a^(starts[i]-1)) + 1
	}
	if starts[i+1] != 0 {
		scope = max(scope, bits.LeadingZeros64(a^starts[i+1])+1)
	}
	return leaf(uint32(uint16(b[n+2+i/4]>>(i%4*16))), scope)
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
	if starts, lists, ok := c.few(first, length); ok {
		return t.addBucket(starts, lists)
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

// addBucket appends a bucket.
func (t *trie) addBucket(starts []uint64, lists []uint16) entry {
	at := entry(len(t.nodes))
	t.nodes = append(t.nodes, uint64(len(lists)))
	t.nodes = append(t.nodes, starts...)
	for i, list := range lists {
		if i%4 == 0 {
			t.nodes = append(t.nodes, 0)
		}
		t.nodes[len(t.nodes)-1] |= uint64(list) << (i % 4 * 16)
	}
	return bucket | at
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

// maxBucket is how many ranges are searched one by one rather than found by nodes: 6 is fastest on the whole Internet (of 0, 3,
// 6 and 12).
const maxBucket = 6

// few returns the ranges that meet a block of IPv6, if they are few and begin and end with whole networks of 64 bits.
func (c *cutter) few(first number, length int) (starts []uint64, lists []uint16, ok bool) {
	if c.width != 128 {
		return nil, nil, false
	}
	end := first.end(length, c.width)
	var border number
	for i := c.at; i < len(c.start) && !end.less(c.start[i]); i++ {
		if border = c.start[i]; border.lo != 0 || len(lists) == maxBucket {
			return nil, nil, false
		}
		starts, lists = append(starts, border.hi), append(lists, uint16(c.value[i]))
	}
	border = c.last(c.at + len(lists) - 1).next() // 0 behind the last address of all
	return append(starts, border.hi), lists, border.lo == 0
}
