package speaker

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var (
	addrA = netip.MustParseAddr("127.66.1.1")
	addrB = netip.MustParseAddr("127.66.1.2")
	addrC = netip.MustParseAddr("127.66.1.3")
)

func at(a netip.Addr) []netip.AddrPort { return []netip.AddrPort{netip.AddrPortFrom(a, 0)} }

func TestOptionsAreChecked(t *testing.T) {
	good := func() Options {
		return Options{ASN: 64500, RouterID: addrA, Neighbors: []Neighbor{{Name: "r1", Address: addrB, ASN: 64501}}}
	}
	for _, test := range []struct {
		name  string
		spoil func(*Options)
		want  string
	}{
		{"as it should be", func(*Options) {}, ""},
		{"no asn", func(o *Options) { o.ASN = 0 }, "asn 0"},
		{"a router id of IPv6", func(o *Options) { o.RouterID = netip.MustParseAddr("2001:db8::1") }, "router id"},
		{"listeners with two ports", func(o *Options) {
			o.Listen = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:179"), netip.MustParseAddrPort("127.0.0.2:180")}
		}, "127.0.0.2:180"},
		{"a hold time that the protocol forbids", func(o *Options) { o.Neighbors[0].HoldTime = 2 * time.Second }, "hold time 2s"},
		{"a hold time of half seconds", func(o *Options) { o.Neighbors[0].HoldTime = 3500 * time.Millisecond }, "hold time 3.5s"},
		{"a keepalive above a third of the hold time", func(o *Options) { o.Neighbors[0].Keepalive = 4 * time.Second }, "keepalive 4s"},
		{"a negative limit", func(o *Options) { o.Neighbors[0].MaxPrefixes = -1 }, "max prefixes -1"},
		{"a neighbor without a name", func(o *Options) { o.Neighbors[0].Name = "" }, "want a name"},
		{"a neighbor without an address", func(o *Options) { o.Neighbors[0].Address = netip.Addr{} }, "address of a router"},
		{"a neighbor without an asn", func(o *Options) { o.Neighbors[0].ASN = 0 }, `"r1": asn 0`},
		{"our end of the other family", func(o *Options) { o.Neighbors[0].Local = netip.IPv6Loopback() }, "local address"},
		{"two neighbors of one address", func(o *Options) { o.Neighbors = append(o.Neighbors, Neighbor{Name: "r2", Address: addrB, ASN: 1}) }, "another neighbor"},
		{"a relation beside none", func(o *Options) {
			o.Neighbors = append(o.Neighbors, Neighbor{Name: "r2", Address: addrC, ASN: 1, Relation: Peer})
		}, "either all or no"},
		{"GTSM over several hops", func(o *Options) { o.Neighbors[0].TTLSecurity, o.Neighbors[0].Multihop = true, 4 }, "ttl security"},
		{"a password too long", func(o *Options) { o.Neighbors[0].Password = strings.Repeat("x", 81) }, "81 bytes"},
		{"a prepend too long", func(o *Options) { o.Neighbors[0].Prepend = 11 }, "prepend 11"},
		{"a mapped next hop", func(o *Options) { o.Neighbors[0].NextHop6 = netip.MustParseAddr("::ffff:192.0.2.1") }, "IPv6 next hop"},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := good()
			test.spoil(&o)
			_, err := New(o)
			if test.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("got %v, want an error with %q", err, test.want)
			}
		})
	}
}

func drawRoute(t *rapid.T) Route {
	size := rapid.SampledFrom([]int{4, 16}).Draw(t, "family")
	addr, _ := netip.AddrFromSlice(rapid.SliceOfN(rapid.Byte(), size, size).Draw(t, "addr"))
	hop, _ := netip.AddrFromSlice(rapid.SliceOfN(rapid.Byte(), size, size).Draw(t, "hop"))
	r := Route{Prefix: netip.PrefixFrom(addr, rapid.IntRange(1, addr.BitLen()).Draw(t, "bits")).Masked(), NextHop: hop, MED: rapid.Uint32().Draw(t, "med")}
	r.ASPath = rapid.SliceOfN(rapid.Uint32(), 0, 10).Draw(t, "path")
	r.Communities = rapid.SliceOfN(rapid.Uint32(), 0, 4).Draw(t, "communities")
	for range rapid.IntRange(0, 3).Draw(t, "large") {
		r.LargeCommunities = append(r.LargeCommunities, [3]uint32{rapid.Uint32().Draw(t, "a"), rapid.Uint32().Draw(t, "b"), rapid.Uint32().Draw(t, "c")})
	}
	return r
}

func TestRouteSurvivesTheLibrary(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := drawRoute(t)
		if r.NextHop.Is4In6() || r.Prefix.Addr().Is4In6() {
			t.Skip("no route of ours has one")
		}
		p, err := toPath(r, false)
		if err != nil {
			t.Fatal(err)
		}
		b, ok := fromPath(p, time.Time{})
		if !ok {
			t.Fatalf("cannot read back %v", r)
		}
		got := Route{Prefix: b.Prefix, NextHop: b.NextHop, MED: b.MED, ASPath: b.ASPath, Communities: b.Communities, LargeCommunities: b.LargeCommunities}
		if !got.equal(r) {
			t.Fatalf("got %+v, want %+v", got, r)
		}
	})
}

// The whole life of a session that we dial: routes of both families, an attribute that changes, withdrawals, an end
// with a reason.
func TestAnnounceAlterWithdraw(t *testing.T) {
	hub, heard := listen(t, Options{ASN: 64496, RouterID: addrA, Listen: at(addrA), Neighbors: []Neighbor{
		{Name: "pop", Address: addrB, ASN: 64500, Local: addrA, Passive: true, Relation: Customer},
	}})
	pop, _ := listen(t, Options{ASN: 64500, RouterID: addrB, Neighbors: []Neighbor{
		{Name: "hub", Address: addrA, Port: hub.Addrs()[0].Port(), ASN: 64496, Local: addrB, Prepend: 1},
	}})
	four := Route{
		Prefix: netip.MustParsePrefix("192.0.2.0/24"), NextHop: netip.MustParseAddr("203.0.113.1"),
		LargeCommunities: [][3]uint32{{64500, 1, 2}},
	}
	six := Route{Prefix: netip.MustParsePrefix("2001:db8:53::/48"), NextHop: netip.MustParseAddr("2001:db8:a1::1")}
	if err := pop.Set([]Route{four, six}); err != nil {
		t.Fatal(err)
	}
	run(t, hub)
	stop := run(t, pop)
	await(t, "both prefixes", func() bool {
		_, ok4 := heard.has("192.0.2.0/24")
		_, ok6 := heard.has("2001:db8:53::/48")
		return ok4 && ok6
	})
	got, _ := heard.has("192.0.2.0/24")
	if got.Neighbor != "pop" || got.From != addrB || got.NextHop != four.NextHop || got.LocalPref != prefCustomer {
		t.Errorf("got %+v", got)
	}
	if diff := cmp.Diff([]uint32{64500, 64500}, got.ASPath); diff != "" {
		t.Errorf("path with one prepend (-want +got):\n%s", diff)
	}
	if !slices.Contains(got.LargeCommunities, [3]uint32{64500, 1, 2}) {
		t.Errorf("large communities %v lack the POP's", got.LargeCommunities)
	}
	if got, _ := heard.has("2001:db8:53::/48"); got.NextHop != six.NextHop {
		t.Errorf("IPv6 next hop %v, want %v", got.NextHop, six.NextHop)
	}

	shed := four
	shed.Communities = []uint32{GracefulShutdown}
	if err := pop.Set([]Route{shed, six}); err != nil {
		t.Fatal(err)
	}
	await(t, "graceful shutdown", func() bool {
		got, ok := heard.has("192.0.2.0/24")
		return ok && got.LocalPref == prefShutdown && slices.Contains(got.Communities, GracefulShutdown)
	})
	before := len(heard.changes)
	if err := pop.Set([]Route{shed, six}); err != nil {
		t.Fatal(err)
	}
	if err := pop.Set([]Route{six}); err != nil {
		t.Fatal(err)
	}
	await(t, "withdrawal", func() bool { _, ok := heard.has("192.0.2.0/24"); return !ok })
	if got := len(heard.changes) - before; got != 1 {
		t.Errorf("setting the same again and one withdrawal made %d changes, want 1", got)
	}
	rib, err := hub.RIB(netip.Prefix{})
	if err != nil || len(rib) != 1 || !rib[0].Selected || rib[0].Neighbor != "pop" {
		t.Errorf("got RIB %+v, %v", rib, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	if err := pop.Shutdown(ctx, "maintenance until 10:00"); err != nil {
		t.Fatal(err)
	}
	await(t, "the end", func() bool { return hub.established() == 0 })
	stop()
}

// A POP hears of no prefix but a default route, and passes nothing on.
func TestPOPTakesADefaultRouteAlone(t *testing.T) {
	r1, _ := listen(t, Options{ASN: 64496, RouterID: addrA, Listen: at(addrA), Neighbors: []Neighbor{
		{Name: "pop", Address: addrC, ASN: 64500, Local: addrA, Passive: true, Relation: Customer},
	}})
	r2, heard2 := listen(t, Options{ASN: 64497, RouterID: addrB, Listen: at(addrB), Neighbors: []Neighbor{
		{Name: "pop", Address: addrC, ASN: 64500, Local: addrB, Passive: true, Relation: Customer},
	}})
	pop, heard := listen(t, Options{ASN: 64500, RouterID: addrC, Neighbors: []Neighbor{
		{Name: "r1", Address: addrA, Port: r1.Addrs()[0].Port(), ASN: 64496, Local: addrC},
		{Name: "r2", Address: addrB, Port: r2.Addrs()[0].Port(), ASN: 64497, Local: addrC},
	}})
	own := Route{Prefix: netip.MustParsePrefix("192.0.2.0/24"), NextHop: addrC}
	for s, routes := range map[*Speaker][]Route{
		pop: {own},
		r1:  {{Prefix: netip.MustParsePrefix("198.51.100.0/24")}, {Prefix: netip.MustParsePrefix("0.0.0.0/0")}},
	} {
		if err := s.Set(routes); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range []*Speaker{r1, r2, pop} {
		run(t, s)
	}
	await(t, "the default route, and ours at the other router", func() bool {
		_, fallback := heard.has("0.0.0.0/0")
		_, ours := heard2.has("192.0.2.0/24")
		return fallback && ours
	})
	if _, ok := heard.has("198.51.100.0/24"); ok {
		t.Error("the POP took a route that is no default route")
	}
	if _, ok := heard2.has("0.0.0.0/0"); ok {
		t.Error("the POP passed a route on from one router to the other")
	}
}

// When the path is back, the session is, too, within 2 s: both ends are passive and the link dials, as in a lab.
func TestSessionReturns(t *testing.T) {
	before := len(leaked()) // by tests that ended a speaker while a session of its came up: gobgp forgets a queue then
	a, heardA := listen(t, Options{ASN: 64496, RouterID: addrA, Listen: at(addrA), Neighbors: []Neighbor{
		{Name: "b", Address: addrB, ASN: 64497, Local: addrA, Passive: true, Relation: Peer},
	}})
	b, _ := listen(t, Options{ASN: 64497, RouterID: addrB, Listen: at(addrB), Neighbors: []Neighbor{
		{Name: "a", Address: addrA, ASN: 64496, Local: addrB, Passive: true, Relation: Peer},
	}})
	if err := b.Set([]Route{{Prefix: netip.MustParsePrefix("198.51.100.0/24")}}); err != nil {
		t.Fatal(err)
	}
	stops := []func(){run(t, a), run(t, b)}
	l := &link{a: a.Addrs()[0], b: b.Addrs()[0]}
	stopLink := l.keep(t)
	await(t, "session", up(a))
	for range 5 {
		await(t, "route", func() bool { _, ok := heardA.has("198.51.100.0/24"); return ok })
		l.cut()
		await(t, "route gone", func() bool { _, ok := heardA.has("198.51.100.0/24"); return !ok })
		await(t, "the session's end", func() bool { return heardA.lastEnd().Cause != "" }) // gobgp tells of it last
		if last := heardA.lastEnd(); last.Cause != "read failed" {
			t.Errorf("the session ended for %q, want read failed", last.Cause)
		}
		took := await(t, "session back", func() bool { return up(a)() && up(b)() })
		t.Logf("session back after %v", took)
		if took > 2*time.Second && !testing.Short() {
			t.Errorf("session back after %v, want 2s at most", took)
		}
	}
	if got := a.Neighbors()[0].Downs; got < 5 {
		t.Errorf("got %d downs, want at least 5", got)
	}
	for _, stop := range append(stops, stopLink) {
		stop()
	}
	await(t, "no goroutine left", func() bool { return len(leaked()) <= before })
}

func TestNeighborsAreAddedAndRemoved(t *testing.T) {
	toA := Neighbor{Name: "a", Address: addrA, ASN: 64496, Local: addrB, Relation: Provider}
	toC := Neighbor{Name: "c", Address: addrC, ASN: 64498, Local: addrB, Relation: Customer}
	fromB := Neighbor{Name: "b", Address: addrB, ASN: 64497, Passive: true, Relation: Customer}
	a, heardA := listen(t, Options{ASN: 64496, RouterID: addrA, Listen: at(addrA), Neighbors: []Neighbor{fromB}})
	fromB.Relation = Provider
	c, heardC := listen(t, Options{ASN: 64498, RouterID: addrC, Listen: at(addrC), Neighbors: []Neighbor{fromB}})
	toA.Port, toC.Port = a.Addrs()[0].Port(), c.Addrs()[0].Port()
	b, _ := listen(t, Options{ASN: 64497, RouterID: addrB, Neighbors: []Neighbor{toA}})
	if err := b.Set([]Route{{Prefix: netip.MustParsePrefix("198.51.100.0/24")}}); err != nil {
		t.Fatal(err)
	}
	for _, s := range []*Speaker{a, b, c} {
		run(t, s)
	}
	await(t, "first neighbor", func() bool { _, ok := heardA.has("198.51.100.0/24"); return ok })
	if err := b.SetNeighbors([]Neighbor{toA, toC}); err != nil {
		t.Fatal(err)
	}
	await(t, "second neighbor", func() bool { _, ok := heardC.has("198.51.100.0/24"); return ok })
	if downs := a.Neighbors()[0].Downs; downs != 0 {
		t.Errorf("adding a neighbor took another's session down %d times", downs)
	}
	if err := b.SetNeighbors([]Neighbor{toC}); err != nil {
		t.Fatal(err)
	}
	await(t, "first neighbor gone", func() bool { _, ok := heardA.has("198.51.100.0/24"); return !ok })
	if err := b.SetNeighbors([]Neighbor{toC, {Name: "c", Address: addrA, ASN: 1}}); err == nil {
		t.Error("two neighbors of one name were taken")
	}
	if got := len(b.Neighbors()); got != 1 {
		t.Errorf("%d neighbors after a refused change, want 1", got)
	}
}

// A password is in force on the wire: whoever signs nothing does not even get a connection.
func TestPasswordIsInForce(t *testing.T) {
	var lc net.ListenConfig
	if lc.MultipathTCP() {
		t.Fatal("listeners are Multipath TCP, on which MD5 cannot be set: go.mod must say godebug multipathtcp=0")
	}
	hub, heard := listen(t, Options{ASN: 64496, RouterID: addrA, Listen: at(addrA), Neighbors: []Neighbor{
		{Name: "pop", Address: addrB, ASN: 64500, Local: addrA, Passive: true, Relation: Customer, Password: "correct horse"},
	}})
	pop, _ := listen(t, Options{ASN: 64500, RouterID: addrB, Neighbors: []Neighbor{
		{Name: "hub", Address: addrA, Port: hub.Addrs()[0].Port(), ASN: 64496, Local: addrB, Password: "correct horse"},
	}})
	if err := pop.Set([]Route{{Prefix: netip.MustParsePrefix("192.0.2.0/24"), NextHop: addrB}}); err != nil {
		t.Fatal(err)
	}
	run(t, hub)
	run(t, pop)
	await(t, "route over a signed session", func() bool { _, ok := heard.has("192.0.2.0/24"); return ok })
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: addrB.AsSlice()}, Timeout: 300 * time.Millisecond}
	if conn, err := d.Dial("tcp", hub.Addrs()[0].String()); err == nil {
		conn.Close()
		t.Error("a connection without a signature was accepted")
	}
	if err := hub.SetNeighbors([]Neighbor{{Name: "pop", Address: addrB, ASN: 64500, Local: addrA, Passive: true, Relation: Customer}}); err == nil {
		t.Error("a password was said to be gone that the listener still asks for")
	}
}

func TestMissingProtectionIsAnError(t *testing.T) {
	s, err := New(Options{ASN: 64496, RouterID: addrA, Neighbors: []Neighbor{{Name: "pop", Address: addrB, ASN: 64500, Password: "x"}}})
	if err != nil {
		t.Fatal(err)
	}
	s.sessions[addrB] = &Session{Neighbor: "pop", Address: addrB, State: Active, protected: true}
	l := &logger{to: s.o.Logger, unprotected: s.unprotected, said: s.said, ended: s.ended}
	l.Warn("failed to set md5", map[string]any{"Key": addrB.String(), "Err": "operation not supported"})
	if got := s.Neighbors()[0].Error; !strings.Contains(got, "operation not supported") {
		t.Errorf("got error %q, want gobgp's", got)
	}
	if !slices.Contains(s.down, addrB) {
		t.Error("the session that lacks its protection is kept")
	}
}

func TestTTLSecurity(t *testing.T) {
	hub, heard := listen(t, Options{ASN: 64496, RouterID: addrA, Listen: at(addrA), Neighbors: []Neighbor{
		{Name: "pop", Address: addrB, ASN: 64500, Local: addrA, Passive: true, Relation: Customer, TTLSecurity: true},
	}})
	pop, _ := listen(t, Options{ASN: 64500, RouterID: addrB, Neighbors: []Neighbor{
		{Name: "hub", Address: addrA, Port: hub.Addrs()[0].Port(), ASN: 64496, Local: addrB, TTLSecurity: true},
	}})
	if err := pop.Set([]Route{{Prefix: netip.MustParsePrefix("192.0.2.0/24"), NextHop: addrB}}); err != nil {
		t.Fatal(err)
	}
	run(t, hub)
	run(t, pop)
	await(t, "route over a session with GTSM", func() bool { _, ok := heard.has("192.0.2.0/24"); return ok })
	for _, s := range []*Speaker{hub, pop} {
		if got := s.Neighbors()[0].Error; got != "" {
			t.Errorf("GTSM is not in force: %s", got)
		}
	}
}

func TestPortInUse(t *testing.T) {
	l, err := net.Listen("tcp", netip.AddrPortFrom(addrA, 0).String())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s, err := New(Options{ASN: 64496, RouterID: addrA, Listen: []netip.AddrPort{l.Addr().(*net.TCPAddr).AddrPort()}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(t.Context()); err == nil || !strings.Contains(err.Error(), l.Addr().String()) {
		t.Errorf("got %v, want an error that names %v", err, l.Addr())
	}
}
