package router

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
)

// route is a prefix and the neighbour that it leads to.
type route struct {
	prefix netip.Prefix
	via    string
}

// table is an immutable forwarding table. A lab's router knows tens of prefixes of a few lengths, so one map probe for
// each length, the longest first, is fast enough and easy to see through.
type table struct {
	lengths4, lengths6 []int // that occur, falling
	routes             map[netip.Prefix]string
}

func newTable(best map[netip.Prefix]route) *table {
	t := &table{routes: make(map[netip.Prefix]string, len(best))}
	four, six := map[int]bool{}, map[int]bool{}
	for p, r := range best {
		t.routes[p] = r.via
		if p.Addr().Is4() {
			four[p.Bits()] = true
		} else {
			six[p.Bits()] = true
		}
	}
	falling := func(a, b int) int { return cmp.Compare(b, a) }
	t.lengths4 = slices.SortedFunc(maps.Keys(four), falling)
	t.lengths6 = slices.SortedFunc(maps.Keys(six), falling)
	return t
}

// Lookup returns where the router sends packets to addr: the neighbour's name, or "" for a prefix of its own, and the
// longest prefix that holds addr. It takes no lock.
func (r *Router) Lookup(addr netip.Addr) (via string, prefix netip.Prefix, ok bool) {
	return r.table.Load().lookup(addr.Unmap())
}

func (t *table) lookup(addr netip.Addr) (via string, prefix netip.Prefix, ok bool) {
	lengths := t.lengths6
	if addr.Is4() {
		lengths = t.lengths4
	}
	for _, bits := range lengths {
		p, err := addr.Prefix(bits)
		if err != nil {
			continue
		}
		if via, ok := t.routes[p]; ok {
			return via, p, true
		}
	}
	return "", netip.Prefix{}, false
}
