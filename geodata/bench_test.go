package geodata_test

import (
	"math/rand/v2"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/oschwald/geoip2-golang/v2"
	"golang.org/x/sys/unix"

	"github.com/catchment-net/catchment/geodata"
)

// eachWorld runs a benchmark on a generated database of the shape that `make bench-dns` uses (200,000 IPv4 and 50,000 IPv6
// networks), and on the whole Internet.
func eachWorld(b *testing.B, run func(b *testing.B, data []byte)) {
	b.Helper()
	b.Run("generated", func(b *testing.B) { run(b, generated(b, 200_000, 50_000)) })
	b.Run("internet", func(b *testing.B) { run(b, internet(b)) })
}

// BenchmarkCompile is what a node does with a new database: read and verify it, walk it with 100 prefix rules and 1,000 ASN
// rules, decide for 30 POPs, and build the table.
func BenchmarkCompile(b *testing.B) {
	eachWorld(b, func(b *testing.B, data []byte) {
		b.Helper()
		decide, rules := nearest(b), world(b, data).Rules
		var t *geodata.Table
		b.ReportAllocs()
		b.ResetTimer()
		start := cpuTime(b)
		for b.Loop() {
			db, err := geodata.FromBytes(data)
			if err != nil {
				b.Fatal(err)
			}
			t = compiled(b, &geodata.Sources{Databases: []*geodata.DB{db}, Rules: rules}, decide)
		}
		b.ReportMetric((cpuTime(b)-start).Seconds()/float64(b.N), "cpu-s/op")
		b.ReportMetric(float64(t.Size())/1e6, "MB")
		b.ReportMetric(float64(t.Lists()), "lists")
	})
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

// BenchmarkLookup asks for addresses spread evenly over IPv4, and for one in each of many networks of both families.
func BenchmarkLookup(b *testing.B) {
	eachWorld(b, func(b *testing.B, data []byte) {
		b.Helper()
		s := world(b, data)
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
			{"ipv4-network", inNetworks(b, s.Databases[0], 4)},
			{"ipv6-network", inNetworks(b, s.Databases[0], 6)},
		} {
			benchAddrs(b, of.name+"/table", of.addrs, func(addrs []netip.Addr) error {
				sum := 0
				for _, a := range addrs {
					id, scope := table.Lookup(a)
					sum += int(id) + int(scope)
				}
				runtime.KeepAlive(sum)
				return nil
			})
			benchAddrs(b, of.name+"/geoip2", of.addrs, func(addrs []netip.Addr) error {
				for _, a := range addrs {
					if _, err := city.Country(a); err != nil {
						return err
					}
				}
				return nil
			})
		}
	})
}

// benchAddrs gives fn 1,024 addresses an iteration, so that the loop's own time does not count.
func benchAddrs(b *testing.B, name string, addrs []netip.Addr, fn func([]netip.Addr) error) {
	b.Helper()
	const batch = 1024
	b.Run(name, func(b *testing.B) {
		b.ReportAllocs()
		at := 0
		start := cpuTime(b)
		for b.Loop() {
			if err := fn(addrs[at : at+batch]); err != nil {
				b.Fatal(err)
			}
			at = (at + batch) % len(addrs)
		}
		n := float64(b.N) * batch
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/n, "ns/lookup")
		b.ReportMetric(float64((cpuTime(b)-start).Nanoseconds())/n, "cpu-ns/lookup")
	})
}

// manyAddrs is how many addresses a benchmark cycles through: more than a small cache holds answers for.
const manyAddrs = 1 << 18

func uniform4() []netip.Addr {
	r := rand.New(rand.NewPCG(1, 0))
	out := make([]netip.Addr, manyAddrs)
	for i := range out {
		out[i] = v4(r.Uint32())
	}
	return out
}

// inNetworks is the first address of each of many networks of a family that are known.
func inNetworks(tb testing.TB, db *geodata.DB, family int) []netip.Addr {
	tb.Helper()
	var all []netip.Addr
	if err := db.Ranges(func(r geodata.Range) error {
		if r.First.Is4() == (family == 4) {
			all = append(all, r.First)
		}
		return nil
	}); err != nil {
		tb.Fatal(err)
	}
	r := rand.New(rand.NewPCG(2, 0))
	out := make([]netip.Addr, manyAddrs)
	for i := range out {
		out[i] = all[r.IntN(len(all))]
	}
	return out
}
