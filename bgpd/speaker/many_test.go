package speaker

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"
)

// manyRoutes makes n routes of one family or, in turn, of both.
func manyRoutes(n int, four, six bool) []Route {
	var all []Route
	for i := range n {
		r := Route{NextHop: netip.MustParseAddr("203.0.113.1"), LargeCommunities: [][3]uint32{{64500, 1, 2}}}
		if four && (!six || i%2 == 0) {
			r.Prefix = netip.PrefixFrom(netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, 10<<24|uint32(i)<<8))), 24)
		} else {
			a := netip.MustParseAddr("2001:db8::").As16()
			binary.BigEndian.PutUint16(a[4:], uint16(i))
			r.Prefix, r.NextHop = netip.PrefixFrom(netip.AddrFrom16(a), 48), netip.MustParseAddr("2001:db8:a1::1")
		}
		all = append(all, r)
	}
	return all
}

// rawSession runs a speaker with a rawPeer as its only neighbour and returns when the session is established. The peer
// dials: gobgp would wait one to two seconds before it does.
func rawSession(tb testing.TB, o Options, as ...func(*rawPeer)) (*Speaker, *rawPeer) {
	tb.Helper()
	const asn = 64496
	o.ASN, o.RouterID, o.Listen = 64500, addrB, []netip.AddrPort{netip.AddrPortFrom(addrB, 0)}
	if len(o.Neighbors) == 0 {
		o.Neighbors = []Neighbor{{}}
	}
	n := &o.Neighbors[0]
	n.Name, n.Address, n.ASN, n.Local, n.Passive = "raw", netip.MustParseAddr("127.66.1.9"), asn, addrB, true
	s, err := New(o)
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(tb.Context())
	if err := s.Listen(ctx); err != nil {
		tb.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() { _ = s.Run(ctx) })
	tb.Cleanup(func() {
		cancel()
		running.Wait()
	})
	p := &rawPeer{asn: asn}
	for _, change := range as {
		change(p)
	}
	p.call(tb, n.Address, s.Addrs()[0])
	await(tb, "session with the raw peer", func() bool { return s.established() == 1 })
	return s, p
}

// What is set again, in whatever order, sends nothing; and of many routes only the ones that change go on the wire.
func TestOnlyChangesAreSent(t *testing.T) {
	s, p := rawSession(t, Options{})
	routes := manyRoutes(100, true, true)
	set := func(all []Route) {
		t.Helper()
		if err := s.Set(all); err != nil {
			t.Fatal(err)
		}
	}
	set(routes)
	await(t, "all routes", func() bool { _, n, _, _ := p.count(); return n == len(routes) })
	p.forget()
	for range 50 {
		rand.Shuffle(len(routes), func(i, j int) { routes[i], routes[j] = routes[j], routes[i] })
		set(routes)
	}
	gone := routes[0]
	set(routes[1:])
	await(t, "one withdrawal", func() bool { n, _, _, _ := p.count(); return n > 0 })
	if withdrawn, announced, _, _ := p.count(); withdrawn != 1 || announced != 0 {
		t.Errorf("%d withdrawn and %d announced, want 1 and 0", withdrawn, announced)
	}
	if have, _ := p.routes(); len(have) != 0 {
		t.Errorf("has %v after forgetting", have)
	}
	set([]Route{gone})
	await(t, "the others withdrawn, one back", func() bool { _, a, _, _ := p.count(); _, _, ok := p.without(routes); return ok && a == 1 })
}

// acknowledged reports whether all neighbours have acknowledged what they were sent.
func acknowledged(s *Speaker) bool {
	for _, at := range s.connections() {
		fd, err := openSocket(at.local, at.remote)
		if err != nil {
			return false
		}
		defer closeSocket(fd)
		if !idle(fd, 0) {
			return false
		}
	}
	return true
}

// BenchmarkWithdraw1000 measures from Set to the last withdrawal as a neighbour reads it; the neighbour shares the CPU.
func BenchmarkWithdraw1000(b *testing.B) {
	for _, shape := range []struct {
		name      string
		four, six bool
	}{{"ipv4", true, false}, {"ipv6", false, true}, {"both", true, true}} {
		b.Run(shape.name, func(b *testing.B) { benchmarkWithdraw(b, manyRoutes(1000, shape.four, shape.six)) })
	}
}

// BenchmarkWithdraw2 is the usual case: one prefix of each family.
func BenchmarkWithdraw2(b *testing.B) { benchmarkWithdraw(b, manyRoutes(2, true, true)) }

func benchmarkWithdraw(b *testing.B, routes []Route) {
	b.Helper()
	s, p := rawSession(b, Options{})
	var took []time.Duration
	updates := 0
	var spent time.Duration
	for b.Loop() {
		p.forget()
		if err := s.Set(routes); err != nil {
			b.Fatal(err)
		}
		await(b, "all routes", func() bool { _, n, _, _ := p.count(); return n >= len(routes) })
		await(b, "an idle connection", func() bool { return acknowledged(s) })
		p.forget()
		began, used := time.Now(), cpuTime()
		if err := s.Set(nil); err != nil {
			b.Fatal(err)
		}
		await(b, "all withdrawals", func() bool { _, _, ok := p.without(routes); return ok })
		last, n, _ := p.without(routes)
		spent += cpuTime() - used
		took, updates = append(took, last.Sub(began)), n
	}
	slices.Sort(took)
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	b.ReportMetric(ms(took[len(took)/2]), "ms-median")
	b.ReportMetric(ms(took[len(took)*95/100]), "ms-p95")
	b.ReportMetric(float64(spent.Microseconds())/float64(len(took)*len(routes)), "cpu-us/route")
	b.ReportMetric(float64(updates), "updates")
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
