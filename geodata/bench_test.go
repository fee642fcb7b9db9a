package geodata

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oschwald/geoip2-golang/v2"
	"golang.org/x/sys/unix"

	"github.com/catchment-net/catchment/topology"
)

// The benchmarks run on a generated database of the shape that `make bench-dns` uses (200,000 IPv4 and 50,000 IPv6
// networks), and on the whole Internet where $CATCHMENT_MMDB names a database, such as one that `catchment geodata build`
// made of Debian's libloc-database.
func benchWorlds(b *testing.B) map[string][]byte {
	b.Helper()
	worlds := map[string][]byte{"generated": generated(b, 200_000, 50_000)}
	path := os.Getenv("CATCHMENT_MMDB")
	if path == "" {
		b.Log("the whole Internet is left out: $CATCHMENT_MMDB names no database")
		return worlds
	}
	data, err := os.ReadFile(path)
	if err != nil {
		b.Fatal(err)
	}
	worlds["internet"] = data
	return worlds
}

// generated is a database of random networks in 60 countries.
func generated(tb testing.TB, n4, n6 int) []byte {
	tb.Helper()
	r := rand.New(rand.NewPCG(5, 0))
	countries := []string{"DE", "US", "BR", "JP", "AU", "ZA", "IN", "FR", "GB", "CN", "RU", "EG", "NG", "AR", "MX", "CA", "SG", "KR", "PL", "PT"}
	var rows []Row
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
		rows = append(rows, Row{Prefix: p, Country: country, Continent: at.Continent, Lat: at.Lat, Lon: at.Lon, ASN: 1 + r.Uint32N(20_000)})
	}
	return build(tb, rows)
}

func v4(n uint32) netip.Addr {
	return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
}

// pops are 30 cities.
var popCities = strings.Fields("AMS FRA LHR CDG MAD MIL WAW STO VIE LIS NYC IAD ORD DFW LAX SEA MIA YYZ GRU SCL BOG JNB LOS NBO DXB BOM SIN HKG TYO SYD")

// nearest is the decision of the benchmark: rules first, then 30 POPs by distance; the first four, then the others in an
// order of the continent.
func nearest(tb testing.TB) func(*Facts) []uint16 {
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
	return func(f *Facts) []uint16 {
		at := topology.Place{Lat: f.Place.Lat, Lon: f.Place.Lon}
		if !f.Place.Point {
			at, _ = topology.CountryPlace(f.Place.Country)
		}
		var list []uint16
		for _, r := range []*Rule{f.Prefix, f.ASN} {
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

// benchRules are 100 prefix rules and 1,000 ASN rules, for networks that the database has.
func benchRules(tb testing.TB, db *DB) Rules {
	tb.Helper()
	var rules Rules
	r := rand.New(rand.NewPCG(7, 0))
	for i := range 100 {
		p := netip.PrefixFrom(v4(1<<24+r.Uint32N(222<<24)), 12+r.IntN(13)).Masked()
		rules.Prefixes = append(rules.Prefixes, &Rule{Prefix: p, To: []string{popCities[i%len(popCities)]}})
	}
	seen := map[uint32]bool{}
	for len(rules.ASNs) < 1000 {
		loc, _, ok := db.Locate(v4(r.Uint32()))
		if ok && loc.ASN != 0 && !seen[loc.ASN] {
			seen[loc.ASN] = true
			rules.ASNs = append(rules.ASNs, &Rule{ASN: loc.ASN, To: []string{popCities[r.IntN(len(popCities))]}})
		}
	}
	return rules
}

func benchSources(b *testing.B, data []byte) Sources {
	b.Helper()
	db, err := FromBytes(data)
	if err != nil {
		b.Fatal(err)
	}
	return Sources{Databases: []*DB{db}, Rules: benchRules(b, db)}
}

func compiled(b *testing.B, s Sources, decide func(*Facts) []uint16) *Table {
	b.Helper()
	atlas, err := NewAtlas(s)
	if err != nil {
		b.Fatal(err)
	}
	t, err := atlas.Compile(decide)
	if err != nil {
		b.Fatal(err)
	}
	return t
}

// BenchmarkCompile is what a node does with a new database: read and verify it, walk it with 100 prefix rules and 1,000 ASN
// rules, decide for 30 POPs, and build the table.
func BenchmarkCompile(b *testing.B) {
	for name, data := range benchWorlds(b) {
		b.Run(name, func(b *testing.B) {
			decide, rules := nearest(b), benchSources(b, data).Rules
			var t *Table
			b.ReportAllocs()
			start := cpuTime(b)
			for b.Loop() {
				db, err := FromBytes(data)
				if err != nil {
					b.Fatal(err)
				}
				t = compiled(b, Sources{Databases: []*DB{db}, Rules: rules}, decide)
			}
			b.ReportMetric((cpuTime(b)-start).Seconds()/float64(b.N), "cpu-s/op")
			b.ReportMetric(float64(t.Size())/1e6, "MB")
			b.ReportMetric(float64(t.Lists()), "lists")
		})
	}
}

// cpuTime is what the process has used: on a busy machine it says more than the clock.
func cpuTime(tb testing.TB) time.Duration {
	tb.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func reportCPU(b *testing.B, start time.Duration) {
	b.Helper()
	b.ReportMetric(float64((cpuTime(b)-start).Nanoseconds())/float64(b.N), "cpu-ns/op")
}

// BenchmarkLookup asks for addresses spread evenly over IPv4, and for one in each of many networks of both families.
func BenchmarkLookup(b *testing.B) {
	for name, data := range benchWorlds(b) {
		s := benchSources(b, data)
		table := compiled(b, s, nearest(b))
		city, err := geoip2.OpenBytes(data)
		if err != nil {
			b.Fatal(err)
		}
		for _, of := range []struct {
			name  string
			addrs []netip.Addr
		}{
			{"ipv4-uniform", uniform4()},
			{"ipv4-network", inNetworks(b, s.Databases[0], 32)},
			{"ipv6-network", inNetworks(b, s.Databases[0], 128)},
		} {
			b.Run(fmt.Sprintf("%s/%s/table", name, of.name), func(b *testing.B) {
				b.ReportAllocs()
				i, sum := 0, 0
				start := cpuTime(b)
				for b.Loop() {
					id, scope := table.Lookup(of.addrs[i&(len(of.addrs)-1)])
					sum += int(id) + int(scope)
					i++
				}
				runtime.KeepAlive(sum)
				reportCPU(b, start)
			})
			b.Run(fmt.Sprintf("%s/%s/geoip2", name, of.name), func(b *testing.B) {
				b.ReportAllocs()
				i := 0
				start := cpuTime(b)
				for b.Loop() {
					if _, err := city.Country(of.addrs[i&(len(of.addrs)-1)]); err != nil {
						b.Fatal(err)
					}
					i++
				}
				reportCPU(b, start)
			})
		}
	}
}

const benchAddrs = 1 << 18

func uniform4() []netip.Addr {
	r := rand.New(rand.NewPCG(1, 0))
	out := make([]netip.Addr, benchAddrs)
	for i := range out {
		out[i] = v4(r.Uint32())
	}
	return out
}

// inNetworks is one address in each of many networks that are known.
func inNetworks(tb testing.TB, db *DB, width int) []netip.Addr {
	tb.Helper()
	r := rand.New(rand.NewPCG(2, 0))
	all := newInterner(known{})
	s, err := db.ranges(width, all, Location.place)
	if err != nil {
		tb.Fatal(err)
	}
	out := make([]netip.Addr, benchAddrs)
	for i := range out {
		at := r.IntN(len(s.start))
		for s.value[at] == 0 {
			at = r.IntN(len(s.start))
		}
		out[i] = s.start[at].addr(width)
	}
	return out
}
