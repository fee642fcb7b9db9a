package geodata

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// policy is a decision that depends on all that it may: it trusts in the order of design §7.
func policy(f *Facts) []uint16 {
	for _, r := range []*Rule{f.Prefix, f.ASN, f.Measured} {
		if r != nil {
			var list []uint16
			for _, name := range r.To {
				list = append(list, uint16(name[0]))
			}
			return list
		}
	}
	if !f.Known {
		return []uint16{0}
	}
	list := []uint16{1, 2}
	for _, c := range f.Place.Country + f.Place.Region {
		list = append(list, uint16(c))
	}
	return list
}

// Whatever the databases and the rules, the table says what the plain way says, for the whole of each scope; and no wider
// network would do.
func TestTableIsThePlainWay(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := drawSources(t, rt)
		atlas, err := NewAtlas(s)
		if err != nil {
			rt.Fatal(err)
		}
		table, err := atlas.Compile(policy)
		if err != nil {
			rt.Fatal(err)
		}
		for range 8 {
			checkAddr(&s, table, drawAddr(rt), rt.Fatalf)
		}
		for _, r := range slices.Concat(s.Rules.Prefixes, s.Rules.Measured) { // at the borders
			last := numberOf(r.Prefix.Addr()).end(r.Prefix.Bits(), r.Prefix.Addr().BitLen()).addr(r.Prefix.Addr().BitLen())
			for _, a := range []netip.Addr{r.Prefix.Addr(), last, r.Prefix.Addr().Prev(), last.Next()} {
				if a.IsValid() {
					checkAddr(&s, table, a, rt.Fatalf)
				}
			}
		}
	})
}

// checkAddr compares the table with the plain way at addr. What the scope must share is tried at addresses that lie just
// inside of it, and just inside of the one a bit wider, at every length below.
func checkAddr(s *Sources, table *Table, addr netip.Addr, fail func(string, ...any)) {
	plain := func(a netip.Addr) []uint16 {
		f := s.Facts(a)
		return policy(&f)
	}
	id, bits := table.Lookup(addr)
	want := plain(addr)
	if !slices.Equal(table.List(id), want) {
		fail("list of %v = %v, want %v", addr, table.List(id), want)
	}
	scope, err := addr.Prefix(int(bits))
	if err != nil {
		fail("scope %d of %v: %v", bits, addr, err)
	}
	for _, a := range corners(scope) {
		if !slices.Equal(plain(a), want) {
			fail("scope %v of %v is too wide: %v has %v, not %v", scope, addr, a, plain(a), want)
		}
	}
	if bits == 0 {
		return
	}
	wider, _ := addr.Prefix(int(bits) - 1)
	if !slices.ContainsFunc(append(corners(wider), borders(s, wider)...), func(a netip.Addr) bool { return !slices.Equal(plain(a), want) }) {
		fail("scope %v of %v is too narrow: %v shares %v", scope, addr, wider, want)
	}
}

// corners are the first and last address of each half, quarter … of a network along its edges.
func corners(p netip.Prefix) []netip.Addr {
	width := p.Addr().BitLen()
	first := numberOf(p.Addr())
	last := first.end(p.Bits(), width)
	out := []netip.Addr{first.addr(width), last.addr(width)}
	for depth := p.Bits(); depth < width; depth++ {
		out = append(out, first.with(depth, width).addr(width), first.end(depth+1, width).addr(width))
	}
	return out
}

// borders are the first and last addresses of all that lies within p.
func borders(s *Sources, p netip.Prefix) []netip.Addr {
	var out []netip.Addr
	add := func(q netip.Prefix) {
		if p.Contains(q.Addr()) {
			out = append(out, q.Addr(), numberOf(q.Addr()).end(q.Bits(), q.Addr().BitLen()).addr(q.Addr().BitLen()))
		}
	}
	for _, r := range slices.Concat(s.Rules.Prefixes, s.Rules.Measured) {
		add(r.Prefix)
	}
	for _, db := range s.Databases {
		_ = db.tree.walk(p.Addr().BitLen(), func(start number, _ uint32) error {
			a := start.addr(p.Addr().BitLen())
			add(netip.PrefixFrom(a, a.BitLen()))
			return nil
		})
	}
	return out
}

func drawSources(tb testing.TB, rt *rapid.T) Sources {
	tb.Helper()
	var s Sources
	for d := range rapid.IntRange(0, 3).Draw(rt, "databases") {
		var rows []Row
		for i, p := range drawPrefixes(rt, "rows", 20) {
			rows = append(rows, Row{
				Prefix: p, Country: []string{"DE", "US", "BR", ""}[(i+d)%4], ASN: uint32(i % 3), Lat: float64(i % 2),
			})
		}
		s.Databases = append(s.Databases, open(tb, rows))
	}
	name := func(i int) []string { return []string{fmt.Sprint(i % 3)} }
	for i, p := range drawPrefixes(rt, "prefix rules", 5) {
		s.Rules.Prefixes = append(s.Rules.Prefixes, &Rule{Prefix: p, To: name(i)})
	}
	for i, p := range drawPrefixes(rt, "measured", 8) {
		s.Rules.Measured = append(s.Rules.Measured, &Rule{Prefix: p, To: name(i + 1)})
	}
	if rapid.Bool().Draw(rt, "ASN rule") {
		s.Rules.ASNs = append(s.Rules.ASNs, &Rule{ASN: 2, To: name(2)})
	}
	return s
}

func drawPrefixes(rt *rapid.T, what string, most int) []netip.Prefix {
	var out []netip.Prefix
	for range rapid.IntRange(0, most).Draw(rt, what) {
		if p := drawPrefix(rt); !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	return out
}

func TestTableOfNothing(t *testing.T) {
	atlas, err := NewAtlas(Sources{})
	if err != nil {
		t.Fatal(err)
	}
	table, err := atlas.Compile(func(*Facts) []uint16 { return []uint16{7} })
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range []netip.Addr{{}, netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")} {
		if id, scope := table.Lookup(a); id != 0 || scope != 0 || table.List(id)[0] != 7 {
			t.Errorf("Lookup(%v) = %d, %d; want list 0 for everybody", a, id, scope)
		}
	}
}

func TestTableRefusesTooManyLists(t *testing.T) {
	a := &Atlas{v4: whole(32), v6: whole(128), facts: make([]Facts, MaxLists+1)}
	n := 0
	_, err := a.Compile(func(*Facts) []uint16 { n++; return []uint16{uint16(n), uint16(n >> 16)} })
	if err == nil {
		t.Error("no error for one list too many")
	}
}

// Any rules at all, nested and side by side: 18 bytes a rule, of which the first chooses family and kind.
func FuzzTable(f *testing.F) {
	f.Add([]byte("\x00\x18\xc6\x33\x64\x00............\x01\x40\x20\x01\x0d\xb8\x00\x01.........."))
	f.Add(bytes.Repeat([]byte{3, 128, 0xff}, 24))
	f.Fuzz(func(t *testing.T, data []byte) {
		var s Sources
		for i := range slices.Collect(slices.Chunk(data, 18)) {
			if i == 10 {
				break
			}
			row := make([]byte, 18)
			copy(row, data[18*i:])
			addr := netip.AddrFrom16([16]byte(row[2:]))
			if row[0]&1 == 0 {
				addr = netip.AddrFrom4([4]byte(row[2:]))
			} else if addr.Is4In6() {
				continue
			}
			prefix, _ := addr.Prefix(int(row[1]) % (addr.BitLen() + 1))
			r := &Rule{Prefix: prefix, To: []string{string('a' + row[0]>>4)}}
			if row[0]&2 == 0 {
				s.Rules.Prefixes = append(s.Rules.Prefixes, r)
			} else {
				s.Rules.Measured = append(s.Rules.Measured, r)
			}
		}
		checkBorders(t, &s)
	})
}

// checkBorders compares a table of the sources with the plain way at each rule's borders.
func checkBorders(t *testing.T, s *Sources) {
	t.Helper()
	atlas, err := NewAtlas(*s)
	if err != nil {
		t.Fatal(err)
	}
	table, err := atlas.Compile(policy)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range slices.Concat(s.Rules.Prefixes, s.Rules.Measured) {
		last := RangeOf(r.Prefix, Location{}).Last
		for _, a := range []netip.Addr{r.Prefix.Addr(), last, r.Prefix.Addr().Prev(), last.Next()} {
			if a.IsValid() {
				checkAddr(s, table, a, t.Fatalf)
			}
		}
	}
}
