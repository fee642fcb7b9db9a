package geodata

import (
	"fmt"
	"net/netip"
	"slices"
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

// last is the last address of range i.
func (s *spans) last(i int) number {
	if i+1 < len(s.start) {
		return s.start[i+1].previous()
	}
	return number{}.end(0, s.width)
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

// block is a range of addresses with a value, from a source that may nest them.
type block struct {
	first, last number
	value       uint32
	line        int32 // where it was read
}

func blockOf(p netip.Prefix, value uint32) block {
	first := numberOf(p.Addr())
	return block{first: first, last: first.end(p.Bits(), p.Addr().BitLen()), value: value}
}

// crossing is two blocks that overlap and of which neither holds the other.
type crossing struct{ a, b block }

func (c *crossing) Error() string {
	return fmt.Sprintf("the ranges of lines %d and %d cross", c.a.line, c.b.line)
}

// flatten turns the nested blocks of one family into disjoint ranges: the smallest block wins, of equal ones the last.
// What none covers has value 0. It sorts blocks in place.
func flatten(width int, blocks []block) (*spans, error) {
	slices.SortStableFunc(blocks, func(a, b block) int {
		if c := a.first.compare(b.first); c != 0 {
			return c
		}
		return b.last.compare(a.last)
	})
	out := whole(width)
	var open []block // each holds the next one
	// closeTo ends the open blocks that end before limit; the one around an ended block goes on behind it.
	closeTo := func(limit number) {
		for len(open) > 0 && open[len(open)-1].last.less(limit) {
			end := open[len(open)-1].last
			open = open[:len(open)-1]
			outer := uint32(0)
			if len(open) > 0 {
				outer = open[len(open)-1].value
			}
			out.replace(end.next(), outer)
		}
	}
	top := number{}.end(0, width)
	for _, b := range blocks {
		closeTo(b.first)
		if n := len(open); n > 0 && open[n-1].last.less(b.last) {
			return nil, &crossing{open[n-1], b}
		}
		out.replace(b.first, b.value)
		open = append(open, b)
	}
	closeTo(top)
	return out, nil
}

// replace is add for a start that may be the last one's: then it takes its place.
func (s *spans) replace(start number, value uint32) {
	if n := len(s.start); n > 0 && s.start[n-1] == start {
		s.start, s.value = s.start[:n-1], s.value[:n-1]
	}
	s.add(start, value)
}

// prefixes calls fn for the networks that cover each range whose value is not 0, in order.
func (s *spans) prefixes(fn func(netip.Prefix, uint32) error) error {
	for i, v := range s.value {
		if v == 0 {
			continue
		}
		last := s.last(i)
		for first := s.start[i]; ; {
			length := first.widest(first, last, s.width)
			for length < s.width && !first.aligned(length, s.width) {
				length++
			}
			if err := fn(netip.PrefixFrom(first.addr(s.width), length), v); err != nil {
				return err
			}
			end := first.end(length, s.width)
			if end == last {
				break
			}
			first = end.next()
		}
	}
	return nil
}
