package geodata

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/maxmind/mmdbwriter"
	"github.com/maxmind/mmdbwriter/mmdbtype"
	"github.com/oschwald/geoip2-golang/v2"
	"pgregory.net/rapid"
)

func rows() []Row {
	row := func(prefix, country, continent, city string, lat, lon float64, asn uint32) Row {
		return Row{
			Prefix: netip.MustParsePrefix(prefix), Country: country, Continent: continent, City: city, Lat: lat, Lon: lon, ASN: asn,
		}
	}
	return []Row{
		row("198.51.100.0/27", "DE", "EU", "Berlin", 52.52, 13.4, 64501),
		row("198.51.100.64/27", "US", "NA", "New York", 40.71, -74, 64503),
		row("2001:db8:c1::/48", "DE", "EU", "Berlin", 52.52, 13.4, 64501),
		row("10.0.0.0/8", "BR", "SA", "", -23.5, -46.6, 0),
		row("10.1.0.0/16", "PT", "EU", "Lisbon", 38.7, -9.1, 64502),
		row("2001::/32", "", "AN", "", -90, 0, 0), // Teredo, which aliases would refuse
	}
}

func build(tb testing.TB, rows []Row) []byte {
	tb.Helper()
	var b bytes.Buffer
	if err := Build(&b, rows); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

func open(tb testing.TB, rows []Row) *DB {
	tb.Helper()
	db, err := FromBytes(build(tb, rows))
	if err != nil {
		tb.Fatal(err)
	}
	return db
}

func TestLocate(t *testing.T) {
	db := open(t, rows())
	for _, c := range []struct {
		name, addr, city, country, scope string
		ok                               bool
	}{
		{"v4 in a v6 tree", "198.51.100.7", "Berlin", "DE", "198.51.100.0/27", true},
		{"v6", "2001:db8:c1:2::1", "Berlin", "DE", "2001:db8:c1::/48", true},
		{"hole beside a network", "198.51.100.40", "", "", "198.51.100.32/27", false},
		{"hole with a known neighbour further on", "198.51.100.200", "", "", "198.51.100.128/25", false},
		{"longer prefix wins", "10.1.2.3", "Lisbon", "PT", "10.1.0.0/16", true},
		{"shorter prefix is cut up around it", "10.0.2.3", "", "BR", "10.0.0.0/16", true},
		{"the cut goes on", "10.200.0.1", "", "BR", "10.128.0.0/9", true},
		{"far from all", "240.0.0.1", "", "", "224.0.0.0/3", false},
		{"Teredo", "2001:0:1::", "", "", "2001::/32", true},
		{"mapped v4 is v6", "::ffff:198.51.100.7", "", "", "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			addr := netip.MustParseAddr(c.addr)
			loc, scope, ok := db.Locate(addr)
			if ok != c.ok || loc.City != c.city || loc.Country != c.country {
				t.Errorf("Locate(%s) = %+v, %v; want %q %q %v", c.addr, loc, ok, c.city, c.country, c.ok)
			}
			if c.scope != "" && scope.String() != c.scope {
				t.Errorf("Locate(%s) scope = %v, want %s", c.addr, scope, c.scope)
			}
			if !scope.Contains(addr) {
				t.Errorf("Locate(%s) scope %v does not hold the address", c.addr, scope)
			}
		})
	}
	got, _, _ := db.Locate(netip.MustParseAddr("198.51.100.65"))
	want := Location{Country: "US", Continent: "NA", City: "New York", Point: true, Lat: 40.71, Lon: -74, ASN: 64503}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("whole location (-want +got):\n%s", d)
	}
}

func TestNilDatabaseKnowsNobody(t *testing.T) {
	for _, a := range []string{"192.0.2.1", "2001:db8::1"} {
		var db *DB
		_, scope, ok := db.Locate(netip.MustParseAddr(a))
		if ok || scope.Bits() != 0 || !scope.Contains(netip.MustParseAddr(a)) {
			t.Errorf("Locate(%s) = %v, %v; want /0 of its family, not known", a, scope, ok)
		}
	}
	if _, scope, ok := open(t, rows()).Locate(netip.Addr{}); ok || scope.IsValid() {
		t.Errorf("no address: scope %v, %v; want nothing", scope, ok)
	}
}

// A database of IPv4 only says nothing of any IPv6 address, and one of a few IPv6 networks nothing of all IPv4.
func TestFamiliesApart(t *testing.T) {
	tree, err := mmdbwriter.New(mmdbwriter.Options{DatabaseType: "X-Country", IPVersion: 4, BuildEpoch: 1, IncludeReservedNetworks: true})
	if err != nil {
		t.Fatal(err)
	}
	rec := mmdbtype.Map{"country": mmdbtype.Map{"iso_code": mmdbtype.String("DE")}}
	if err := tree.Insert(ipNet(netip.MustParsePrefix("192.0.2.0/24")), rec); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := tree.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	db, err := FromBytes(b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if loc, scope, ok := db.Locate(netip.MustParseAddr("192.0.2.9")); !ok || loc.Country != "DE" || loc.Point || scope.Bits() != 24 {
		t.Errorf("v4 = %+v %v %v; want DE without a point, /24", loc, scope, ok)
	}
	if _, scope, ok := db.Locate(netip.MustParseAddr("2001:db8::1")); ok || scope.String() != "::/0" {
		t.Errorf("v6 in a v4 database = %v %v; want ::/0, not known", scope, ok)
	}
	six := open(t, []Row{{Prefix: netip.MustParsePrefix("2001:db8::/32"), Country: "DE"}})
	if _, scope, ok := six.Locate(netip.MustParseAddr("192.0.2.9")); ok || scope.String() != "0.0.0.0/0" {
		t.Errorf("v4 beside v6 networks = %v %v; want 0.0.0.0/0, not known", scope, ok)
	}
}

// Whatever the rows, every address in a scope has the location that the scope was given with, and that location is the
// longest matching row's.
func TestScopeHoldsForAll(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var all []Row
		seen := map[netip.Prefix]bool{}
		for i := range rapid.IntRange(1, 30).Draw(rt, "rows") {
			p := drawPrefix(rt)
			if !seen[p] {
				seen[p] = true
				all = append(all, Row{Prefix: p, Country: []string{"DE", "US", "BR"}[i%3]})
			}
		}
		db := open(t, all)
		addr := drawAddr(rt)
		loc, scope, ok := db.Locate(addr)
		if country, found := longestRow(all, addr); ok != found || loc.Country != country {
			rt.Fatalf("Locate(%v) = %q %v, want %q %v", addr, loc.Country, ok, country, found)
		}
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 0))
		for range 32 {
			other := within(r, scope)
			if country, found := longestRow(all, other); found != ok || country != loc.Country {
				rt.Fatalf("%v in scope %v of %v is in %q, not %q", other, scope, addr, country, loc.Country)
			}
		}
	})
}

func drawAddr(rt *rapid.T) netip.Addr {
	if rapid.Bool().Draw(rt, "v4") {
		return netip.AddrFrom4([4]byte{10, rapid.Byte().Draw(rt, "b"), rapid.Byte().Draw(rt, "c"), rapid.Byte().Draw(rt, "d")})
	}
	return netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, rapid.Byte().Draw(rt, "b"), rapid.Byte().Draw(rt, "c"), 15: rapid.Byte().Draw(rt, "d")})
}

func drawPrefix(rt *rapid.T) netip.Prefix {
	a := drawAddr(rt)
	bits := rapid.IntRange(8, 32).Draw(rt, "bits")
	if a.Is6() {
		bits = rapid.IntRange(16, 128).Draw(rt, "bits of 128")
	}
	return netip.PrefixFrom(a, bits).Masked()
}

func longestRow(all []Row, a netip.Addr) (country string, found bool) {
	best := -1
	for _, r := range all {
		if r.Prefix.Contains(a) && r.Prefix.Bits() > best {
			best, country = r.Prefix.Bits(), r.Country
		}
	}
	return country, best >= 0
}

func within(r *rand.Rand, p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		if r.IntN(2) == 1 {
			b[i/8] |= 0x80 >> (i % 8)
		}
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

func TestBuildIsDeterministic(t *testing.T) {
	all := rows()
	first := build(t, all)
	slices.Reverse(all)
	if !bytes.Equal(first, build(t, all)) {
		t.Error("the same rows in another order give another file")
	}
}

func TestOtherToolsReadIt(t *testing.T) {
	r, err := geoip2.OpenBytes(build(t, rows()))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	city, err := r.City(netip.MustParseAddr("198.51.100.1"))
	if err != nil || city.Country.ISOCode != "DE" || city.City.Names.English != "Berlin" {
		t.Errorf("geoip2 City = %+v, %v; want Berlin, DE", city, err)
	}
}

func TestBuildRefuses(t *testing.T) {
	p := netip.MustParsePrefix
	for _, c := range []struct {
		name string
		rows []Row
		want string
	}{
		{"host bits", []Row{{Prefix: p("192.0.2.1/24")}}, `"192.0.2.1/24": want a network without host bits`},
		{"no prefix", []Row{{Country: "DE"}}, "want a network"},
		{"two places", []Row{{Prefix: p("192.0.2.0/24"), Country: "DE"}, {Prefix: p("192.0.2.0/24"), Country: "US"}}, "has two places"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := Build(&bytes.Buffer{}, c.rows); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}

func TestOpenRefuses(t *testing.T) {
	good := build(t, rows())
	damaged := bytes.Clone(good)
	for i := len(damaged) / 3; i < len(damaged)/3+40; i++ {
		damaged[i] = 0xff
	}
	var wrong bytes.Buffer
	tree, err := mmdbwriter.New(mmdbwriter.Options{DatabaseType: "GeoIP2-Connection-Type", BuildEpoch: 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tree.WriteTo(&wrong); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		data []byte
		want string
	}{
		{"text", []byte("198.51.100.0/24,DE\n"), "not an MMDB"},
		{"empty", nil, "not an MMDB"},
		{"cut short", good[:len(good)/2], "not an MMDB"},
		{"damaged", damaged, "damaged"},
		{"no places", wrong.Bytes(), `"GeoIP2-Connection-Type" knows neither places`},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "geo.mmdb")
			if err := os.WriteFile(path, c.data, 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := Open(path)
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), fmt.Sprintf("%q", path)) {
				t.Errorf("error %v, want the path and %q", err, c.want)
			}
		})
	}
	if _, err := Open(filepath.Join(t.TempDir(), "none.mmdb")); err == nil {
		t.Error("a file that is not there opens")
	}
}

func FuzzFromBytes(f *testing.F) {
	f.Add(build(f, rows()))
	f.Add(build(f, rows()[:1]))
	f.Fuzz(func(t *testing.T, data []byte) {
		db, err := FromBytes(data)
		if err != nil {
			return
		}
		for _, a := range []string{"0.0.0.0", "10.1.2.3", "255.255.255.255", "::", "2001:db8:c1::1"} {
			addr := netip.MustParseAddr(a)
			if _, scope, _ := db.Locate(addr); !scope.Contains(addr) {
				t.Errorf("scope %v of %v does not hold it", scope, addr)
			}
		}
		checkWalk(t, db)
	})
}

// checkWalk compares what a walk says with what lookups say.
func checkWalk(t *testing.T, db *DB) {
	t.Helper()
	s := Sources{Databases: []*DB{db}}
	atlas, err := NewAtlas(s)
	if err != nil {
		t.Fatalf("a database that was verified: %v", err)
	}
	table, err := atlas.Compile(policy)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	if err := db.Ranges(func(r Range) error {
		if n++; n > 50 {
			return nil
		}
		for _, a := range []netip.Addr{r.First, r.Last} {
			f := s.Facts(a)
			id, _ := table.Lookup(a)
			if want := policy(&f); !slices.Equal(table.List(id), want) {
				t.Errorf("table of %v = %v, want %v", a, table.List(id), want)
			}
			if loc, _, ok := db.Locate(a); !ok || loc != r.Location {
				t.Errorf("Locate(%v) = %+v %v, the walk said %+v", a, loc, ok, r.Location)
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := Diff(db, db); err != nil {
		t.Fatal(err)
	}
}
