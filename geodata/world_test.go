package geodata_test

import (
	"bytes"
	"cmp"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/catchment-net/catchment/geodata"
	"github.com/catchment-net/catchment/geodata/feed"
	"github.com/catchment-net/catchment/topology"
)

// internet is a database of the whole Internet: what Debian's libloc-database says, or the MMDB that $CATCHMENT_MMDB
// names. It skips where there is neither.
func internet(tb testing.TB) []byte {
	tb.Helper()
	if path := os.Getenv("CATCHMENT_MMDB"); path != "" {
		data, err := os.ReadFile(path)
		if err != nil {
			tb.Fatal(err)
		}
		return data
	}
	if _, err := exec.LookPath("location"); err != nil {
		tb.Skip("no whole Internet: `location` is not installed (Debian: location, libloc-database), and $CATCHMENT_MMDB names no MMDB")
	}
	dump := filepath.Join(tb.TempDir(), "location.txt")
	if out, err := exec.CommandContext(tb.Context(), "location", "dump", dump).CombinedOutput(); err != nil {
		tb.Skipf("no whole Internet: location dump: %v %s", err, out)
	}
	var d geodata.Draft
	if _, err := feed.Read(dump, feed.Options{}, d.Add); err != nil {
		tb.Fatal(err)
	}
	if err := d.Lay(); err != nil {
		tb.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := d.WriteTo(&b); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

// generated is a database of random networks in 60 countries.
func generated(tb testing.TB, n4, n6 int) []byte {
	tb.Helper()
	r := rand.New(rand.NewPCG(5, 0))
	countries := []string{"DE", "US", "BR", "JP", "AU", "ZA", "IN", "FR", "GB", "CN", "RU", "EG", "NG", "AR", "MX", "CA", "SG", "KR", "PL", "PT"}
	var rows []geodata.Row
	seen := map[netip.Prefix]bool{}
	for len(rows) < n4+n6 {
		p := netip.PrefixFrom(v4(r.Uint32()), 16+r.IntN(9)).Masked()
		if len(rows) >= n4 {
			b := [16]byte{0x20 | byte(r.IntN(16)), byte(r.Uint32()), byte(r.Uint32()), byte(r.Uint32()), byte(r.Uint32()), byte(r.Uint32())}
			p = netip.PrefixFrom(netip.AddrFrom16(b), 28+r.IntN(21)).Masked()
		}
		if seen[p] {
			continue
		}
		seen[p] = true
		country := countries[r.IntN(len(countries))]
		at, _ := topology.CountryPlace(country)
		rows = append(rows, geodata.Row{Prefix: p, Country: country, Continent: at.Continent, Lat: at.Lat, Lon: at.Lon, ASN: 1 + r.Uint32N(20_000)})
	}
	var b bytes.Buffer
	if err := geodata.Build(&b, rows); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

func v4(n uint32) netip.Addr {
	return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
}

// pops are 30 cities.
var popCities = strings.Fields("AMS FRA LHR CDG MAD MIL WAW STO VIE LIS NYC IAD ORD DFW LAX SEA MIA YYZ GRU SCL BOG JNB LOS NBO DXB BOM SIN HKG TYO SYD")

// nearest is the decision of the benchmark: rules first, then 30 POPs by distance; the first four, then the others in an
// order of the continent.
func nearest(tb testing.TB) func(*geodata.Facts) []uint16 {
	tb.Helper()
	var pops []topology.Place
	number := map[string]uint16{}
	for i, code := range popCities {
		at, ok := topology.City(code)
		if !ok {
			tb.Fatalf("no city %s", code)
		}
		pops = append(pops, at)
		number[code] = uint16(i)
	}
	byDistance := func(from topology.Place) []uint16 {
		order := make([]uint16, len(pops))
		km := make([]float64, len(pops))
		for i, at := range pops {
			order[i], km[i] = uint16(i), topology.Distance(from, at)
		}
		slices.SortFunc(order, func(a, b uint16) int { return cmp.Compare(km[a], km[b]) })
		return order
	}
	return func(f *geodata.Facts) []uint16 {
		at := topology.Place{Lat: f.Place.Lat, Lon: f.Place.Lon}
		if !f.Place.Point {
			at, _ = topology.CountryPlace(f.Place.Country)
		}
		var list []uint16
		for _, r := range []*geodata.Rule{f.Prefix, f.ASN} {
			if r != nil {
				list = append(list, number[r.To[0]])
			}
		}
		for _, pop := range byDistance(at) {
			if !slices.Contains(list, pop) {
				list = append(list, pop)
			}
		}
		return list
	}
}

// someRules are 100 prefix rules and 1,000 ASN rules, for networks that the database has.
func someRules(tb testing.TB, db *geodata.DB) geodata.Rules {
	tb.Helper()
	var rules geodata.Rules
	r := rand.New(rand.NewPCG(7, 0))
	for i := range 100 {
		p := netip.PrefixFrom(v4(1<<24+r.Uint32N(222<<24)), 12+r.IntN(13)).Masked()
		rules.Prefixes = append(rules.Prefixes, &geodata.Rule{Prefix: p, To: []string{popCities[i%len(popCities)]}})
	}
	seen := map[uint32]bool{}
	for len(rules.ASNs) < 1000 {
		loc, _, ok := db.Locate(v4(r.Uint32()))
		if ok && loc.ASN != 0 && !seen[loc.ASN] {
			seen[loc.ASN] = true
			rules.ASNs = append(rules.ASNs, &geodata.Rule{ASN: loc.ASN, To: []string{popCities[r.IntN(len(popCities))]}})
		}
	}
	return rules
}

// world is a database under rules.
func world(tb testing.TB, data []byte) *geodata.Sources {
	tb.Helper()
	db, err := geodata.FromBytes(data)
	if err != nil {
		tb.Fatal(err)
	}
	return &geodata.Sources{Databases: []*geodata.DB{db}, Rules: someRules(tb, db)}
}

func compiled(tb testing.TB, s *geodata.Sources, decide func(*geodata.Facts) []uint16) *geodata.Table {
	tb.Helper()
	atlas, err := geodata.NewAtlas(*s)
	if err != nil {
		tb.Fatal(err)
	}
	t, err := atlas.Compile(decide)
	if err != nil {
		tb.Fatal(err)
	}
	return t
}
