package geodata

import (
	"cmp"
	"math/bits"
	"slices"
	"strconv"
)

// Change is how many addresses have moved from one country, or one AS, to another. IPv4 counts addresses, IPv6 networks of
// 64 bits.
type Change struct {
	From string  `json:"from"` // empty: not known
	To   string  `json:"to"`
	V4   uint64  `json:"ipv4_addresses"`
	V6   float64 `json:"ipv6_64s"`
}

// Difference is what two databases disagree on.
type Difference struct {
	Countries []Change `json:"countries"` // most IPv4 addresses first, then most IPv6 networks
	ASNs      []Change `json:"asns"`
	Moved     Change   `json:"moved"` // to another country or AS, all together
	Total     Change   `json:"known"` // what the new one knows
}

// Diff compares what two databases say of country and AS, for every address.
func Diff(before, after *DB) (*Difference, error) {
	out := &Difference{}
	countries, asns := map[[2]string]*Change{}, map[[2]string]*Change{}
	for _, width := range []int{32, 128} {
		all := newInterner(known{})
		trim := func(l Location) Location { return Location{Country: l.Country, ASN: l.ASN} }
		a, err := before.ranges(width, all, trim)
		if err != nil {
			return nil, err
		}
		b, err := after.ranges(width, all, trim)
		if err != nil {
			return nil, err
		}
		var pairs [][2]uint32
		both := combine(a, b, func(x, y uint32) uint32 {
			pairs = append(pairs, [2]uint32{x, y})
			return uint32(len(pairs) - 1)
		})
		for i, v := range both.value {
			size := Change{}
			size.count(both.start[i], both.last(i), width)
			from, to := all.values[pairs[v][0]], all.values[pairs[v][1]]
			if to.ok {
				out.Total.add(size)
			}
			if from.Location != to.Location {
				out.Moved.add(size)
			}
			move(countries, from.Country, to.Country, size)
			move(asns, asName(from.ASN), asName(to.ASN), size)
		}
	}
	out.Countries, out.ASNs = sorted(countries), sorted(asns)
	return out, nil
}

func asName(n uint32) string {
	if n == 0 {
		return ""
	}
	return "AS" + strconv.FormatUint(uint64(n), 10)
}

// count sizes a range: IPv6 in networks of 64 bits, of which the least part counts as its share.
func (c *Change) count(first, last number, width int) {
	if width == 32 {
		c.V4 = last.lo - first.lo + 1
		return
	}
	lo, borrow := bits.Sub64(last.lo, first.lo, 0)
	hi, _ := bits.Sub64(last.hi, first.hi, borrow)
	c.V6 = float64(hi) + float64(lo)/(1<<64)
}

func (c *Change) add(d Change) { c.V4, c.V6 = c.V4+d.V4, c.V6+d.V6 }

func move(all map[[2]string]*Change, from, to string, size Change) {
	if from == to {
		return
	}
	c := all[[2]string{from, to}]
	if c == nil {
		c = &Change{From: from, To: to}
		all[[2]string{from, to}] = c
	}
	c.add(size)
}

func sorted(all map[[2]string]*Change) []Change {
	out := make([]Change, 0, len(all))
	for _, c := range all {
		out = append(out, *c)
	}
	slices.SortFunc(out, func(a, b Change) int {
		return cmp.Or(cmp.Compare(b.V4, a.V4), cmp.Compare(b.V6, a.V6), cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To))
	})
	return out
}
