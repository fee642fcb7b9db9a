package bgpd

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/catchment-net/catchment/bgpd/speaker"
	"github.com/catchment-net/catchment/health"
	"github.com/catchment-net/catchment/internal/event"
	"github.com/catchment-net/catchment/topology"
)

const limit = 30 * time.Second

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for began := time.Now(); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Since(began) > limit {
			t.Fatalf("%s: not within %v", what, limit)
		}
	}
}

const four, six = "192.0.2.0/24", "2001:db8:53::/48"

// network has two POPs of one node each, and both services in one prefix of each family.
func network() *topology.Topology {
	t := &topology.Topology{Name: "test", ASN: 64500, Anycast: topology.Anycast{
		Prefixes:   []netip.Prefix{netip.MustParsePrefix(four), netip.MustParsePrefix(six)},
		DNS:        []netip.Addr{netip.MustParseAddr("192.0.2.53"), netip.MustParseAddr("2001:db8:53::53")},
		Web:        []netip.Addr{netip.MustParseAddr("192.0.2.80"), netip.MustParseAddr("2001:db8:53::80")},
		FlapBudget: 1_000_000, // the tests change more in a minute than a network does in a day
	}, Drain: topology.Drain{DNS: 30 * time.Millisecond, Min: 20 * time.Millisecond, Quiet: 50 * time.Millisecond, Max: limit}}
	for i, name := range []string{"ams", "nyc"} {
		p := &topology.POP{Name: name, Index: i}
		n := &topology.Node{Name: name + "1", POP: p}
		for _, u := range [][]string{{"203.0.113.0/28", "2001:db8:a1::/48"}, {"203.0.113.16/28", "2001:db8:a2::/48"}}[i] {
			p.Unicast = append(p.Unicast, netip.MustParsePrefix(u))
			n.Addrs = append(n.Addrs, netip.MustParsePrefix(u).Addr().Next())
		}
		n.RouterID = n.Addrs[0]
		p.Nodes = []*topology.Node{n}
		t.POPs = append(t.POPs, p)
	}
	return t
}

// fleet is a view in which nyc is well and announces, and ams1 is as told.
func fleet(t *topology.Topology, web health.ServiceView) *health.View {
	well := map[health.Service]health.ServiceView{health.DNS: {State: health.Up}, health.Web: {State: health.Up}}
	own := map[health.Service]health.ServiceView{health.DNS: {State: health.Up}, health.Web: web}
	return &health.View{
		Self: "ams1", POPs: map[string]health.POPView{"ams": {Services: own}, "nyc": {Services: well}},
		Nodes: map[string]health.NodeView{
			"ams1": {POP: "ams", Services: own, Heard: true},
			"nyc1": {POP: "nyc", Services: well, Heard: true, Knows: true, Claims: t.Anycast.Prefixes, Claimed: time.Now()},
		},
	}
}

var up = health.ServiceView{State: health.Up}

func down(c health.Class) health.ServiceView {
	return health.ServiceView{State: health.Down, Cause: health.Cause{Class: c, Text: "it died", Since: time.Now()}}
}

// peer is a router in the test's process that records its best paths.
type peer struct {
	speaker *speaker.Speaker
	also    func(speaker.Best) // told, too; nil for nobody; set before the speaker runs
	mu      sync.Mutex         // guards the following
	best    map[string]speaker.Best
	order   []string // "+prefix" or "-prefix"
}

func newPeer(t *testing.T, here, there netip.Addr, asn uint32, password string) *peer {
	t.Helper()
	p := &peer{best: map[string]speaker.Best{}}
	s, err := speaker.New(speaker.Options{
		ASN: 64496, RouterID: here, Listen: []netip.AddrPort{netip.AddrPortFrom(here, 0)}, OnBest: p.heard,
		Neighbors: []speaker.Neighbor{{Name: "pop", Address: there, ASN: asn, Local: here, Passive: true, Relation: speaker.Customer, Password: password}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.speaker = s
	return p
}

func (p *peer) heard(b speaker.Best) {
	if p.also != nil {
		p.also(b)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if b.Withdrawn {
		delete(p.best, b.Prefix.String())
		p.order = append(p.order, "-"+b.Prefix.String())
		return
	}
	p.best[b.Prefix.String()] = b
	p.order = append(p.order, "+"+b.Prefix.String())
}

// shows reports whether the peer's routes are exactly these.
func (p *peer) shows(want ...string) func() bool {
	return func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		if len(p.best) != len(want) {
			return false
		}
		for _, w := range want {
			if _, ok := p.best[w]; !ok {
				return false
			}
		}
		return true
	}
}

func (p *peer) shed(prefix string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Contains(p.best[prefix].Communities, speaker.GracefulShutdown)
}

// background runs fn until the test's end or stop, whichever is first.
func background(t *testing.T, fn func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- fn(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(limit):
			t.Error("run did not end")
		}
	})
	t.Cleanup(stop)
	return stop
}

// together runs a server and, once it is ready, the peer: gobgp writes package variables at its start that it reads
// whenever a route changes (see speaker.Speaker.Listen).
func together(t *testing.T, p *peer, o Options, topo *topology.Topology) (s *Server, stop func()) {
	t.Helper()
	ready := make(chan struct{})
	o.Ready = func([]string) { close(ready) }
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Apply(topo); err != nil {
		t.Fatal(err)
	}
	stop = background(t, s.Run)
	select {
	case <-ready:
	case <-time.After(limit):
		t.Fatal("the server is not ready")
	}
	background(t, p.speaker.Run)
	return s, stop
}

// claims records what OnClaims says.
type claims struct {
	mu  sync.Mutex
	all [][]netip.Prefix
}

func (c *claims) take(now []netip.Prefix) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = append(c.all, now)
}

func (c *claims) last() []netip.Prefix {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.all) == 0 {
		return nil
	}
	return c.all[len(c.all)-1]
}

var unicast = []string{"203.0.113.0/28", "2001:db8:a1::/48"}

var everything = append([]string{four, six}, unicast...)

func TestServerFollowsHealth(t *testing.T) {
	here, there := netip.MustParseAddr("127.66.4.1"), netip.MustParseAddr("127.66.4.2")
	p := newPeer(t, here, there, 64500, "")
	topo, said, ring := network(), &claims{}, event.NewRing(event.Options{Node: "ams1"})
	s, stop := together(t, p, Options{
		Node: "ams1", Neighbors: []speaker.Neighbor{{Name: "arc", Address: here, Port: p.speaker.Addrs()[0].Port(), ASN: 64496, Local: there}},
		Events: ring, OnClaims: said.take,
	}, topo)
	await(t, "the unicast prefixes before any view", p.shows(unicast...))
	if got := said.last(); got != nil {
		t.Errorf("claims %v before any view", got)
	}

	s.SetView(fleet(topo, up))
	await(t, "everything", p.shows(everything...))
	await(t, "claims", func() bool { return len(said.last()) == 2 })

	for _, cause := range []health.Class{health.Hard, health.Soft} {
		began := time.Now()
		s.SetView(fleet(topo, down(cause)))
		t.Logf("SetView took %v", time.Since(began))
		await(t, "withdrawal", p.shows(unicast...))
		await(t, "no claims", func() bool { return len(said.last()) == 0 })
		s.SetView(fleet(topo, up))
		await(t, "everything again", p.shows(everything...))
	}

	v := fleet(topo, up)
	n := v.Nodes["ams1"]
	n.Draining, n.Why = true, "new kernel"
	v.Nodes["ams1"] = n
	s.SetView(v)
	if got := said.last(); len(got) != 0 {
		t.Errorf("claims %v while draining", got)
	}
	await(t, "the drain's end", p.shows(unicast...))
	s.SetView(fleet(topo, up))
	await(t, "everything after the drain was lifted", p.shows(everything...))
	if p.shed(four) {
		t.Error("GSHUT is left on after the drain was lifted")
	}
	if got := s.Neighbors(); len(got) != 1 || got[0].State != string(speaker.Established) || got[0].Name != "arc" {
		t.Errorf("got neighbors %+v", got)
	}
	if rib, err := s.RIB(netip.MustParsePrefix(four)); err != nil || len(rib) != 1 || rib[0].Neighbor != "" {
		t.Errorf("got RIB %+v, %v", rib, err)
	}

	if err := s.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	await(t, "withdrawal by Drain", p.shows(unicast...))
	stop()
	await(t, "the session's end", p.shows())

	var got []string
	sessions := func() (all []string) {
		events, _, _ := ring.After(0)
		for _, e := range events {
			if e.Kind == event.Session {
				all = append(all, e.Subject+" "+e.State)
			}
		}
		return all
	}
	events, _, _ := ring.After(0)
	for _, e := range events {
		if e.Kind == event.Announce && e.Subject == six {
			if e.Detail["family"] != "ipv6" || e.Detail["prefix"] != six || e.Cause == "" {
				t.Errorf("event %+v lacks detail or cause", e)
			}
			if strings.Contains(e.Cause, "it died") && e.Detail["ms_from_cause"] == "" {
				t.Errorf("event %+v does not say how long it took", e)
			}
			got = append(got, e.State)
		}
	}
	want := []string{"announced", "withdrawn", "announced", "withdrawn", "announced", "gshut", "withdrawn", "announced", "gshut", "withdrawn"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("states of %s (-want +got):\n%s", six, diff)
	}
	await(t, "the session's events", func() bool { return slices.Equal(sessions(), []string{"arc established", "arc idle"}) })
}

// Drain waits for the clients to be gone, and the neighbours hear GSHUT before the withdrawal.
func TestDrainWaitsForSilence(t *testing.T) {
	here, there := netip.MustParseAddr("127.66.5.1"), netip.MustParseAddr("127.66.5.2")
	p := newPeer(t, here, there, 64500, "")
	topo, ring, registry := network(), event.NewRing(event.Options{Node: "ams1"}), prometheus.NewRegistry()
	topo.Drain.Quiet, topo.Drain.Prepend, topo.Drain.Communities = 150*time.Millisecond, 2, []uint32{64496<<16 | 120}
	var mu sync.Mutex
	last := time.Now()
	s, stop := together(t, p, Options{
		Node: "ams1", Neighbors: []speaker.Neighbor{{Name: "arc", Address: here, Port: p.speaker.Addrs()[0].Port(), ASN: 64496, Local: there}},
		Quiet: func() time.Time {
			mu.Lock()
			defer mu.Unlock()
			return last
		},
		Requests: func() uint32 { return 7 }, Events: ring, Registerer: registry,
	}, topo)
	s.SetView(fleet(topo, up))
	await(t, "everything", p.shows(everything...))
	ended := make(chan error, 1)
	go func() { ended <- s.Drain(t.Context()) }()
	await(t, "GSHUT", func() bool { return p.shed(four) && p.shed(six) })
	p.mu.Lock()
	for _, prefix := range []string{four, six} {
		if got := p.best[prefix]; !slices.Equal(got.ASPath, []uint32{64500, 64500, 64500}) || !slices.Contains(got.Communities, 64496<<16|120) {
			t.Errorf("%s during GSHUT: path %v, communities %v", prefix, got.ASPath, got.Communities)
		}
	}
	p.mu.Unlock()
	if got := s.Progress(); got.Step != health.StepGSHUT || got.Requests != 7 {
		t.Errorf("progress %+v", got)
	}
	for began := time.Now(); time.Since(began) < 500*time.Millisecond; time.Sleep(10 * time.Millisecond) {
		mu.Lock()
		last = time.Now()
		mu.Unlock()
		if !p.shows(everything...)() {
			t.Fatal("withdrawn while clients were asking")
		}
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	silent := time.Since(last)
	mu.Unlock()
	if silent < 150*time.Millisecond {
		t.Errorf("drained after %v of silence, want 150ms", silent)
	}
	await(t, "withdrawal", p.shows(unicast...))

	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	if err := s.Drain(ctx); err != nil {
		t.Errorf("a second drain: %v", err)
	}
	stop()
	var steps []string
	var at []time.Time
	events, _, _ := ring.After(0)
	for _, e := range events {
		if e.Kind == event.Drain && e.Subject == "ams1" {
			steps, at = append(steps, e.State), append(at, e.Time)
			if e.Detail["requests"] != "7" || e.Detail["silent_ms"] == "" || e.Cause == "" {
				t.Errorf("event %+v", e)
			}
		}
	}
	if want := []string{"dns", "gshut", "withdrawn", "down"}; !slices.Equal(steps, want) {
		t.Fatalf("steps %v, want %v", steps, want)
	}
	if d := at[1].Sub(at[0]); d < topo.Drain.DNS {
		t.Errorf("GSHUT %v after the wish, want at least %v for the name servers", d, topo.Drain.DNS)
	}
	if got := gauge(t, registry, "bgpd_drain_step"); got != float64(health.StepDown) {
		t.Errorf("bgpd_drain_step is %v at the end", got)
	}
}

// gauge reads a metric without labels.
func gauge(t *testing.T, r *prometheus.Registry, name string) float64 {
	t.Helper()
	all, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		if f.GetName() == name {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

func TestStandalone(t *testing.T) {
	here, there := netip.MustParseAddr("127.66.6.1"), netip.MustParseAddr("127.66.6.2")
	p := newPeer(t, here, there, 65001, "")
	conf := StandaloneConfig{
		ASN: 65001, RouterID: there, Announce: []netip.Prefix{netip.MustParsePrefix(four), netip.MustParsePrefix(six)},
		NextHops: []netip.Addr{netip.MustParseAddr("198.18.0.2"), netip.MustParseAddr("2001:db8:99::2")},
		Peers:    []StandalonePeer{{Address: here, Port: p.speaker.Addrs()[0].Port(), ASN: 64496, Local: there}},
	}
	topo, node, neighbors, err := conf.Build()
	if err != nil {
		t.Fatal(err)
	}
	s, _ := together(t, p, Options{Node: node, Neighbors: neighbors, NextHops: conf.NextHops, Alone: true}, topo)
	s.SetView(StandaloneView(1, time.Now(), up, health.Intent{}))
	await(t, "both families", p.shows(four, six))
	p.mu.Lock()
	if got := p.best[six].NextHop; got != conf.NextHops[1] {
		t.Errorf("IPv6 next hop %v, want %v", got, conf.NextHops[1])
	}
	p.mu.Unlock()
	s.SetView(StandaloneView(2, time.Now(), down(health.Soft), health.Intent{}))
	await(t, "withdrawal", p.shows())

	conf.NextHops = conf.NextHops[:1]
	conf.Peers = nil
	conf.Announce = append(conf.Announce, netip.MustParsePrefix("192.0.2.1/24"))
	_, _, _, err = conf.Build()
	for _, want := range []string{"at least one peer", "next hop of its family", "192.0.2.1/24"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error with %q", err, want)
		}
	}
}

func TestNeighborsOfTheTopology(t *testing.T) {
	t.Setenv("BGPD_TEST_PASSWORD", "correct horse")
	topo := network()
	topo.POPs[0].Neighbors = []*topology.Neighbor{
		{Name: "r1", Address: netip.MustParseAddr("198.18.0.1"), ASN: 64496, Password: topology.Secret{Env: "BGPD_TEST_PASSWORD"}, HoldTime: 6 * time.Second},
		{
			Name: "r2", Address: netip.MustParseAddr("198.18.0.5"), ASN: 64496, Local: netip.MustParseAddr("198.18.0.6"), TTLSecurity: true, Keepalive: time.Second,
			MaxPrefixes: 5, Prepend: 2, MED: 7, Communities: []uint32{topology.NoExport}, LargeCommunities: [][3]uint32{{1, 2, 3}},
		},
	}
	c, err := newConfig(&Options{Node: "ams1"}, topo)
	if err != nil {
		t.Fatal(err)
	}
	want := []speaker.Neighbor{
		{Name: "r1", Address: netip.MustParseAddr("198.18.0.1"), ASN: 64496, Password: "correct horse", HoldTime: 6 * time.Second},
		{
			Name: "r2", Address: netip.MustParseAddr("198.18.0.5"), ASN: 64496, Local: netip.MustParseAddr("198.18.0.6"), TTLSecurity: true, Keepalive: time.Second,
			MaxPrefixes: 5, Prepend: 2, MED: 7, Communities: []uint32{topology.NoExport}, LargeCommunities: [][3]uint32{{1, 2, 3}},
		},
	}
	if diff := cmp.Diff(want, c.neighbors, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("neighbors (-want +got):\n%s", diff)
	}
	if got, want := c.listen, []netip.AddrPort{netip.MustParseAddrPort("203.0.113.1:179"), netip.MustParseAddrPort("[2001:db8:a1::1]:179"), netip.MustParseAddrPort("198.18.0.6:179")}; !slices.Equal(got, want) {
		t.Errorf("listens on %v, want %v", got, want)
	}
	for _, test := range []struct {
		name  string
		spoil func(*topology.Topology)
		want  string
	}{
		{"a secret that is not there", func(t *topology.Topology) {
			t.POPs[0].Neighbors[0].Password = topology.Secret{File: "/nonexistent/secret"}
		}, `password of neighbor "r1"`},
		{"an empty secret", func(t *topology.Topology) { t.POPs[0].Neighbors[0].Password = topology.Secret{Env: "BGPD_TEST_UNSET"} }, "is empty"},
		{"no next hop of the family", func(t *topology.Topology) { t.POPs[0].Nodes[0].Addrs = t.POPs[0].Nodes[0].Addrs[:1] }, "next hop"},
		{"an unknown node", func(t *topology.Topology) { t.POPs = t.POPs[1:] }, `node "ams1"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			topo := network()
			topo.POPs[0].Neighbors = []*topology.Neighbor{{Name: "r1", Address: netip.MustParseAddr("198.18.0.1"), ASN: 64496}}
			test.spoil(topo)
			if _, err := newConfig(&Options{Node: "ams1"}, topo); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error with %q", err, test.want)
			}
		})
	}
}

// A hub without BGP neighbours claims what it would announce, and drains like any other.
func TestServerWithoutNeighbors(t *testing.T) {
	topo, said, registry := network(), &claims{}, prometheus.NewRegistry()
	s, err := New(Options{Node: "ams1", OnClaims: said.take, Registerer: registry})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Drain(t.Context()); err != nil {
		t.Errorf("drain of a server that does not run: %v", err)
	}
	if s, err = New(Options{Node: "ams1", OnClaims: said.take}); err != nil {
		t.Fatal(err)
	}
	if err := s.Run(t.Context()); err == nil {
		t.Error("run without a topology was no error")
	}
	if err := s.Apply(topo); err != nil {
		t.Fatal(err)
	}
	stop := background(t, s.Run)
	s.SetView(fleet(topo, up))
	await(t, "claims", func() bool { return slices.Equal(said.last(), topo.Anycast.Prefixes) })
	if err := s.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := said.last(); len(got) != 0 {
		t.Errorf("claims %v after a drain", got)
	}
	stop()
	if _, err := New(Options{Node: "ams1", Registerer: registry}); err == nil {
		t.Error("two servers share a registry")
	}
}

func TestPortInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.66.7.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s, err := New(Options{Node: "ams1", Listen: []netip.AddrPort{l.Addr().(*net.TCPAddr).AddrPort()}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Apply(network()); err != nil {
		t.Fatal(err)
	}
	if err := s.Run(t.Context()); err == nil || !strings.Contains(err.Error(), l.Addr().String()) {
		t.Errorf("got %v, want an error that names %v", err, l.Addr())
	}
}
