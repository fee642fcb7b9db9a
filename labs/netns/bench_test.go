//go:build linux

package netns_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/catchment-net/catchment/labs/netns"
	"github.com/catchment-net/catchment/labs/runner"
)

// scale is a made network: POPs with a node each, transits that all peer, clients spread over them.
type scale struct{ pops, transits, clients int }

func (s scale) machines() int { return s.pops + s.transits + s.clients }

func (s scale) topology() string {
	places := []string{"AMS", "NYC", "SIN", "FRA", "TYO", "SYD", "LON", "PAR", "LAX", "SAO"}
	place := func(i int) string { return places[i%len(places)] }
	var b strings.Builder
	b.WriteString("asn: 64500\nanycast: {prefixes: [192.0.2.0/24, 2001:db8:53::/48], dns: [192.0.2.53, 2001:db8:53::53], web: [192.0.2.80, 2001:db8:53::80]}\npops:\n")
	for i := range s.pops {
		fmt.Fprintf(&b, "  p%d: {at: %s, unicast: [10.1.%d.0/28, 2001:db8:a%x::/48]}\n", i, place(i), i, i)
	}
	b.WriteString("internet:\n  networks:\n")
	for i := range s.transits {
		fmt.Fprintf(&b, "    t%d: {asn: %d, at: %s}\n", i, 64600+i, place(i))
	}
	for i := range s.clients {
		fmt.Fprintf(&b, "    c%d: {asn: %d, at: %s, users: 1, prefixes: [10.2.%d.0/27, 2001:db8:c%02x::/48]}\n", i, 64700+i, place(i), i, i)
	}
	b.WriteString("  origins:\n    origin.shop.example: {in: t0, at: FRA, prefixes: [10.3.0.0/28]}\n  links:\n")
	for i := range s.pops {
		fmt.Fprintf(&b, "    p%d -> t%d: {delay: 1ms}\n", i, i%s.transits)
	}
	for i := range s.transits {
		for j := range i {
			fmt.Fprintf(&b, "    t%d -- t%d: {delay: 1ms}\n", j, i)
		}
	}
	for i := range s.clients {
		fmt.Fprintf(&b, "    c%d -> t%d: {delay: 1ms}\n", i, i%s.transits)
	}
	return b.String()
}

// idleAfter is when a lab that has come up is idle: nothing of its start is under way any more.
const idleAfter = 4 * time.Second

// BenchmarkLab brings made labs up and down: how long until every client is served and every node hears every other, how
// long until nothing is left, and what a process of each kind takes (Pss, so that what they share is counted once).
func BenchmarkLab(b *testing.B) {
	file, err := catchment()
	if err != nil {
		b.Fatal(err)
	}
	if err := netns.Able(file); err != nil {
		b.Skip(err)
	}
	for _, s := range []scale{{2, 1, 2}, {4, 4, 12}, {10, 8, 32}} {
		b.Run(fmt.Sprintf("machines=%d", s.machines()), func(b *testing.B) {
			home, err := os.MkdirTemp(scratch, "b") //nolint:usetesting // b.TempDir is too long for unix sockets
			if err != nil {
				b.Fatal(err)
			}
			dir := filepath.Join(home, "made")
			for name, text := range map[string]string{
				"topology.yaml":      s.topology(),
				"sites/shop.yaml":    "hosts:\n  www.shop.example: {steer: geo}\n  img.shop.example: {steer: anycast}\norigin: http://origin.shop.example\n",
				"zones/shop.example": "$ORIGIN shop.example.\n$TTL 300\n@ SOA ns1 host.shop.example. 1 7200 900 1209600 60\n@ NS ns1\nns1 A 192.0.2.53\nns1 AAAA 2001:db8:53::53\n",
			} {
				if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
					b.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
					b.Fatal(err)
				}
			}
			run := func(args ...string) time.Duration {
				cmd := exec.Command(file, args...)
				cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+home)
				began := time.Now()
				if out, err := cmd.CombinedOutput(); err != nil {
					b.Fatalf("%v: %v\n%s", args, err, out)
				}
				return time.Since(began)
			}
			var up, down, routers, nodes []float64
			for b.Loop() {
				up = append(up, run("lab", "up", dir, "--runner", "netns", "--name", "made").Seconds())
				time.Sleep(idleAfter)
				r, n := memory(b, filepath.Join(home, "catchment"))
				routers, nodes = append(routers, r), append(nodes, n)
				down = append(down, run("lab", "down", "--lab", "made").Seconds())
			}
			b.ReportMetric(median(up), "up-s")
			b.ReportMetric(slices.Max(up), "up-worst-s")
			b.ReportMetric(median(down), "down-s")
			b.ReportMetric(median(routers), "router-MiB")
			b.ReportMetric(median(nodes), "pop-MiB")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// memory is the mean Pss of a router and of a POP node in MiB.
func memory(b *testing.B, root string) (router, node float64) {
	b.Helper()
	l, err := runner.Connect(root, "made")
	if err != nil {
		b.Fatal(err)
	}
	st, err := l.Status(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	var n [2]int
	var sum [2]float64
	for _, s := range st.Nodes {
		kind := 0
		if s.POP != "" {
			kind = 1
		}
		n[kind]++
		sum[kind] += float64(s.Pss) / (1 << 20)
	}
	return sum[0] / float64(n[0]), sum[1] / float64(n[1])
}

func median(list []float64) float64 {
	s := slices.Sorted(slices.Values(list))
	return s[len(s)/2]
}
