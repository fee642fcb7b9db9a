package dnsd

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/catchment-net/catchment/dnsd/rrl"
)

// customers are n zones of 20 records each; round changes what is in one of every so many.
func customers(n, every, round int) []ZoneSource {
	list := make([]ZoneSource, n)
	for i := range list {
		var b bytes.Buffer
		serial := 1
		if i%every == 0 {
			serial += round
		}
		fmt.Fprintf(&b, "$TTL 3600\n@ SOA ns1 host %d 3600 600 86400 300\n@ NS ns1\n@ NS ns2\nns1 A 192.0.2.53\nns2 A 203.0.113.1\n@ MX 10 mail\n@ TXT \"v=spf1 -all\"\nmail A 198.51.100.25\n", serial)
		for j := range 12 {
			fmt.Fprintf(&b, "h%d A 198.51.100.%d\n", j, j+1)
		}
		list[i] = ZoneSource{Origin: fmt.Sprintf("c%d.example", i), File: fmt.Sprintf("zones/c%d.example", i), Text: b.Bytes()}
	}
	return list
}

// What it costs to take 10,000 zones, and to take them again when some have changed.
func BenchmarkApply(b *testing.B) {
	const zones = 10000
	for _, c := range []struct {
		name  string
		every int // one of so many zones has changed
	}{{"all changed", 1}, {"one in a hundred", 100}, {"one", zones}} {
		b.Run(c.name, func(b *testing.B) {
			s, err := New(Options{})
			if err != nil {
				b.Fatal(err)
			}
			texts := [][]ZoneSource{customers(zones, c.every, 0), customers(zones, c.every, 1)}
			if err := s.Apply(Config{Zones: texts[0]}); err != nil {
				b.Fatal(err)
			}
			for i := 1; b.Loop(); i++ {
				if err := s.Apply(Config{Zones: texts[i%2]}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// What clients notice of reloads: eight of them ask as fast as they are answered, in turns of a second: of a server that is
// left alone, of one that takes a configuration in which one of a hundred of its 10,000 zones has changed, again and
// again, and of one in which all have.
func BenchmarkReloadUnderLoad(b *testing.B) {
	const zones, turns, turn = 10000, 5, time.Second
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 1)) // as `catchment dnsd` does
	s, addr := start(b, Options{Listen: []string{"127.0.0.1:0"}, RateLimit: rrl.Options{Rate: -1}}, Config{Zones: customers(zones, 1, 0)})
	cases := []struct {
		name    string
		texts   [][]ZoneSource
		took    []time.Duration
		lost    int
		reloads int
	}{
		{name: "idle"},
		{name: "one-in-100", texts: [][]ZoneSource{customers(zones, 100, 1), customers(zones, 100, 2)}},
		{name: "all", texts: [][]ZoneSource{customers(zones, 1, 3), customers(zones, 1, 4)}},
	}
	for b.Loop() {
		for range turns {
			for i := range cases {
				c := &cases[i]
				stop := make(chan struct{})
				var reloading sync.WaitGroup
				reloading.Go(func() {
					for c.texts != nil {
						select {
						case <-stop:
							return
						case <-time.After(100 * time.Millisecond):
						}
						if err := s.Apply(Config{Zones: c.texts[c.reloads%2]}); err != nil {
							b.Error(err)
						}
						c.reloads++
					}
				})
				took, lost := flood(b, addr, 8, zones, turn)
				close(stop)
				reloading.Wait()
				c.took, c.lost = append(c.took, took...), c.lost+lost
			}
		}
	}
	for _, c := range cases {
		slices.Sort(c.took)
		b.ReportMetric(float64(c.took[len(c.took)/2].Microseconds()), c.name+"-p50-µs")
		b.ReportMetric(float64(c.took[len(c.took)*99/100].Microseconds()), c.name+"-p99-µs")
		b.ReportMetric(float64(c.lost), c.name+"-lost")
		b.ReportMetric(float64(len(c.took)), c.name+"-answers")
		b.ReportMetric(float64(c.reloads), c.name+"-reloads")
	}
}

// flood asks from several sockets, one question at a time each, and returns how long each answer took.
func flood(b *testing.B, addr string, askers, zones int, span time.Duration) (took []time.Duration, lost int) {
	b.Helper()
	var mu sync.Mutex // guards took and lost
	var all sync.WaitGroup
	end := time.Now().Add(span)
	for k := range askers {
		all.Go(func() {
			var own []time.Duration
			missing := 0
			c, err := net.Dial("udp", addr)
			if err != nil {
				b.Error(err)
				return
			}
			defer c.Close()
			buf := make([]byte, 1500)
			for i := k; time.Now().Before(end); i += askers {
				q, err := new(dns.Msg).SetQuestion(fmt.Sprintf("h%d.c%d.example.", i%12, i*7919%zones), dns.TypeA).Pack()
				if err != nil {
					b.Error(err)
					return
				}
				begin := time.Now()
				_ = c.SetDeadline(begin.Add(time.Second))
				_, _ = c.Write(q)
				n, err := c.Read(buf)
				if err != nil || n < 12 || binary.BigEndian.Uint16(buf[6:]) != 1 {
					missing++
					continue
				}
				own = append(own, time.Since(begin))
			}
			mu.Lock()
			defer mu.Unlock()
			took, lost = append(took, own...), lost+missing
		})
	}
	all.Wait()
	return took, lost
}
