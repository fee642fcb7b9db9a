package geodata

import (
	"net/netip"
	"slices"
	"sort"
)

// spans cuts one family's whole address space into disjoint ranges, each with a value: range i begins at start[i] and
// ends where the next one begins. start[0] is address 0; neighbours have different values.
type spans struct {
	width int // bits of an address: 32 or 128
	start []number
	value []uint32
}

// whole gives the whole space value 0.
func whole(width int) *spans {
	return &spans{width, []number{{}}, []uint32{0}}
}

// add appends a range that begins at start, above all before; it joins the last one if they have one value.
func (s *spans) add(start number, value uint32) {
	if n := len(s.value); n > 0 && s.value[n-1] == value {
		return
	}
	s.start = append(s.start, start)
	s.value = append(s.value, value)
}

// find returns the index of the range that holds a.
func (s *spans) find(a number) int {
	return sort.Search(len(s.start), func(i int) bool { return a.less(s.start[i]) }) - 1
}

// last is the last address of range i.
func (s *spans) last(i int) number {
	if i+1 < len(s.start) {
		return s.start[i+1].previous()
	}
	return number{}.end(0, s.width)
}

// lookup returns the value of a's range and the length of the widest aligned block around a in it.
func (s *spans) lookup(a netip.Addr) (value uint32, length int) {
	n := numberOf(a)
	i := s.find(n)
	return s.value[i], n.widest(s.start[i], s.last(i), s.width)
}

// translate gives each range the value that table has for its own, and joins what has become equal.
func (s *spans) translate(table []uint32) *spans {
	out := &spans{width: s.width}
	for i, v := range s.value {
		out.add(s.start[i], table[v])
	}
	return out
}

// combine cuts the space wherever one of two partitions does; join is asked once for every pair of values that meet.
func combine(a, b *spans, join func(a, b uint32) uint32) *spans {
	out := &spans{
		width: a.width,
		start: make([]number, 0, len(a.start)+len(b.start)),
		value: make([]uint32, 0, len(a.start)+len(b.start)),
	}
	known := map[[2]uint32]uint32{}
	for i, j := 0, 0; i < len(a.start) && j < len(b.start); {
		pair := [2]uint32{a.value[i], b.value[j]}
		v, ok := known[pair]
		if !ok {
			v = join(pair[0], pair[1])
			known[pair] = v
		}
		start := a.start[i]
		if start.less(b.start[j]) {
			start = b.start[j]
		}
		out.add(start, v)
		switch endA, endB := a.last(i), b.last(j); {
		case endA == endB:
			i, j = i+1, j+1
		case endA.less(endB):
			i++
		default:
			j++
		}
	}
	return out
}

// network is a prefix with a value.
type network struct {
	prefix netip.Prefix
	value  uint32
}

// flatten turns nested networks of one family into disjoint ranges: the longest prefix wins, of equal ones the last.
// What none covers has value 0.
func flatten(width int, all []network) *spans {
	nets := slices.Clone(all)
	slices.SortStableFunc(nets, func(a, b network) int {
		if c := a.prefix.Addr().Compare(b.prefix.Addr()); c != 0 {
			return c
		}
		return a.prefix.Bits() - b.prefix.Bits()
	})
	out := whole(width)
	var open []network // each holds the next one
	// closeTo ends the open networks that end before start; the one around an ended network goes on behind it.
	closeTo := func(ended func(end number) bool) {
		for len(open) > 0 {
			inner := open[len(open)-1].prefix
			end := numberOf(inner.Addr()).end(inner.Bits(), width)
			if !ended(end) {
				return
			}
			open = open[:len(open)-1]
			outer := uint32(0)
			if len(open) > 0 {
				outer = open[len(open)-1].value
			}
			if end != (number{}).end(0, width) {
				out.replace(end.next(), outer)
			}
		}
	}
	for _, n := range nets {
		start := numberOf(n.prefix.Addr())
		closeTo(func(end number) bool { return end.less(start) })
		out.replace(start, n.value)
		open = append(open, n)
	}
	closeTo(func(number) bool { return true })
	return out
}

// replace is add for a start that may be the last one's: then it takes its place.
func (s *spans) replace(start number, value uint32) {
	if n := len(s.start); n > 0 && s.start[n-1] == start {
		s.start, s.value = s.start[:n-1], s.value[:n-1]
	}
	s.add(start, value)
}
