package geodata_test

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/oschwald/maxminddb-golang/v2"

	"github.com/catchment-net/catchment/geodata"
)

// truth is what a table must agree with, found without it: by the database's own library and the rules one by one.
type truth struct {
	*geodata.Sources
	decide func(*geodata.Facts) []uint16
	reader *maxminddb.Reader
	lists  map[geodata.Facts][]uint16
}

func (w *truth) list(a netip.Addr) []uint16 {
	f := w.Facts(a)
	l, ok := w.lists[f]
	if !ok {
		l = w.decide(&f)
		w.lists[f] = l
	}
	return l
}

// differs looks through all of a network for an address whose list is not want: in each of the database's networks, and
// at each border of a rule.
func (w *truth) differs(tb testing.TB, p netip.Prefix, want []uint16) netip.Addr {
	tb.Helper()
	try := func(a netip.Addr) bool { return p.Contains(a) && !slices.Equal(w.list(a), want) }
	for _, r := range w.Rules.Prefixes {
		for _, a := range []netip.Addr{r.Prefix.Addr(), last(r.Prefix), r.Prefix.Addr().Prev(), last(r.Prefix).Next()} {
			if a.IsValid() && try(a) {
				return a
			}
		}
	}
	for result := range w.reader.NetworksWithin(p, maxminddb.IncludeNetworksWithoutData()) {
		if err := result.Err(); err != nil {
			tb.Fatal(err)
		}
		if a := result.Prefix().Addr(); a.BitLen() == p.Addr().BitLen() && try(a) {
			return a
		}
	}
	if try(p.Addr()) {
		return p.Addr()
	}
	return netip.Addr{}
}

func last(p netip.Prefix) netip.Addr { return geodata.RangeOf(p, geodata.Location{}).Last }

// checkTable asks a table for n addresses of each family, half of them anywhere and half in networks that are known. Each
// must have the list that the plain way finds, everybody in its scope the same one, and somebody in the scope that is one
// bit wider another.
func checkTable(t *testing.T, data []byte, n int) {
	t.Helper()
	s := world(t, data)
	decide := nearest(t)
	table := compiled(t, s, decide)
	reader, err := maxminddb.OpenBytes(data)
	if err != nil {
		t.Fatal(err)
	}
	w := &truth{s, decide, reader, map[geodata.Facts][]uint16{}}
	r := rand.New(rand.NewPCG(3, 0))
	known := map[int][]netip.Addr{4: inNetworks(t, s.Databases[0], 4), 6: inNetworks(t, s.Databases[0], 6)}
	seen := map[netip.Prefix]bool{}
	for i := range 2 * n {
		family := 4 + i%2*2
		a := known[family][r.IntN(len(known[family]))]
		switch i % 4 {
		case 0:
			a = v4(r.Uint32())
		case 1:
			a = anywhere6(r)
		}
		id, bits := table.Lookup(a)
		list := table.List(id)
		if want := w.list(a); !slices.Equal(list, want) {
			t.Fatalf("%v has list %v, want %v", a, list, want)
		}
		scope, err := a.Prefix(int(bits))
		if err != nil {
			t.Fatalf("%v has scope %d", a, bits)
		}
		if seen[scope] {
			continue
		}
		seen[scope] = true
		if other := w.differs(t, scope, list); other.IsValid() {
			t.Fatalf("scope %v of %v is too wide: %v in it has %v, not %v", scope, a, other, w.list(other), list)
		}
		if bits == 0 {
			continue
		}
		if wider, _ := a.Prefix(int(bits) - 1); !w.differs(t, wider, list).IsValid() {
			t.Fatalf("scope %v of %v is too narrow: all of %v shares %v", scope, a, wider, list)
		}
	}
	t.Logf("%d addresses in %d scopes", 2*n, len(seen))
}

func anywhere6(r *rand.Rand) netip.Addr {
	var b [16]byte
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	b[0] = 0x20 | b[0]&0x1f
	return netip.AddrFrom16(b)
}

func TestTableOfAGeneratedWorld(t *testing.T) { checkTable(t, generated(t, 4000, 1000), 2000) }
