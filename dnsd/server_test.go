package dnsd

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/catchment-net/catchment/internal/event"
	"github.com/catchment-net/catchment/topology"
)

// limit is how long a test waits for what must happen.
const limit = 10 * time.Second

// start runs a Server until the test ends and returns its first address.
func start(tb testing.TB, o Options, c Config) (*Server, string) {
	tb.Helper()
	ready := make(chan []string, 1)
	o.Ready = func(addrs []string) { ready <- addrs }
	s, err := New(o)
	if err != nil {
		tb.Fatal(err)
	}
	if err := s.Apply(c); err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(tb.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	tb.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				tb.Errorf("Run: %v", err)
			}
		case <-time.After(limit):
			tb.Error("Run does not end")
		}
	})
	select {
	case addrs := <-ready:
		return s, addrs[0]
	case err := <-done:
		done <- err
		tb.Fatalf("Run: %v", err)
	case <-time.After(limit):
		tb.Fatal("not ready")
	}
	return nil, ""
}

// counted reads a counter by its name and the values of its labels in the order of their names.
func counted(t *testing.T, reg *prometheus.Registry, name string, labels ...string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var values []string
			for _, l := range m.GetLabel() {
				values = append(values, l.GetValue())
			}
			if f.GetName() == name && slices.Equal(values, labels) {
				return m.GetCounter().GetValue()
			}
		}
	}
	return 0
}

func exchange(t *testing.T, network, addr string, m *dns.Msg) *dns.Msg {
	t.Helper()
	c := dns.Client{Net: network, Timeout: limit}
	r, _, err := c.Exchange(m, addr)
	if err != nil {
		t.Fatalf("%s: %v", network, err)
	}
	return r
}

func TestServesOverUDPAndTCP(t *testing.T) {
	ring := event.NewRing(event.Options{Node: "ams1"})
	reg := prometheus.NewRegistry()
	s, addr := start(t, Options{Node: "ams1", POP: "ams", Listen: []string{"127.0.0.1:0"}, Events: ring, Registerer: reg}, testConfig(t))
	if !s.LastRequest().IsZero() {
		t.Errorf("last request %v before any", s.LastRequest())
	}
	probe := query("id.server.", dns.TypeTXT)
	probe.Question[0].Qclass = dns.ClassCHAOS
	if r := exchange(t, "udp", addr, probe); data(r) != `"ams/ams1"` {
		t.Errorf("probe: %v", r)
	}
	if !s.LastRequest().IsZero() {
		t.Error("a probe counts as a client's request")
	}
	for _, network := range []string{"udp", "tcp"} {
		r := exchange(t, network, addr, query("www.shop.example.", dns.TypeA, subnet("198.51.100.64/27")))
		if data(r) != "203.0.113.17" {
			t.Errorf("%s: %v", network, r)
		}
		if r := exchange(t, network, addr, query("no.shop.example.", dns.TypeA)); r.Rcode != dns.RcodeNameError {
			t.Errorf("%s: %v", network, r)
		}
		// The test's own address is in the geodata, in Berlin.
		if r := exchange(t, network, addr, query("www.shop.example.", dns.TypeA)); data(r) != "203.0.113.1" {
			t.Errorf("%s without a subnet: %v", network, r)
		}
	}
	if since := time.Since(s.LastRequest()); since < 0 || since > limit {
		t.Errorf("last request %v ago", since)
	}
	if n := counted(t, reg, "dnsd_queries_total", "NXDOMAIN", "tcp"); n != 1 {
		t.Errorf("%v NXDOMAIN over tcp counted, want 1", n)
	}
	if n := counted(t, reg, "dnsd_steered_total", "nyc"); n != 2 {
		t.Errorf("%v steered to nyc counted, want 2", n)
	}
	if events, _, _ := ring.After(0); len(events) == 0 || events[0].State != "ready" || events[0].Kind != event.Process {
		t.Errorf("events %+v, want ready first", events)
	}
}

// The addresses of a node: its own, then the shared ones. Queries to its own are not clients'.
func TestListensWhereTheTopologySays(t *testing.T) {
	c, err := compile(testConfig(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	want := "203.0.113.1:53 [2001:db8:a1::1]:53 192.0.2.53:53 [2001:db8:53::53]:53"
	if got := strings.Join(c.listen, " "); got != want {
		t.Errorf("listen on %s, want %s", got, want)
	}
	conf := testConfig(t)
	conf.Topology.POPs[0].Nodes[0].Addrs = addrs("127.0.0.1")
	s, addr := start(t, Options{Listen: []string{"127.0.0.1:0"}}, conf)
	exchange(t, "udp", addr, query("www.shop.example.", dns.TypeA))
	if !s.LastRequest().IsZero() {
		t.Error("a query to the node's own address counts as a client's")
	}
}

func TestMovingTheAddressesWantsARestart(t *testing.T) {
	c := testConfig(t)
	top := func(addr string) *topology.Topology {
		n := testTopology(t)
		n.POPs[0].Nodes[0].Addrs, n.Anycast.DNS = addrs(addr), nil
		return n
	}
	c.Topology = top("127.0.0.1")
	s, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Apply(c); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.start(); err != nil {
		t.Fatal(err)
	}
	if err := s.Apply(c); err != nil {
		t.Errorf("the same addresses: %v", err)
	}
	c.Topology = top("127.0.0.2")
	if err := s.Apply(c); err == nil || !strings.Contains(err.Error(), "restart this node") {
		t.Errorf("error %v, want a demand for a restart", err)
	}
}

func TestPortInUseIsNamed(t *testing.T) {
	taken, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	addr := taken.LocalAddr().String()
	s, err := New(Options{Listen: []string{addr}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(t.Context()); err == nil || !strings.Contains(err.Error(), addr) || !strings.Contains(err.Error(), "in use") {
		t.Errorf("error %v, want %s in use", err, addr)
	}
	if empty, _ := New(Options{}); empty.Run(t.Context()) == nil {
		t.Error("a server without addresses runs")
	}
}

// A wildcard socket answers from the address that was asked.
func TestWildcardAnswersFromTheAddressAsked(t *testing.T) {
	_, addr := start(t, Options{Listen: []string{"0.0.0.0:0"}}, Config{Zones: testConfig(t).Zones})
	_, port, _ := net.SplitHostPort(addr)
	for _, ip := range []string{"127.0.0.1", "127.0.0.9"} { // a connected client takes answers from ip alone
		if r := exchange(t, "udp", net.JoinHostPort(ip, port), query("ns1.shop.example.", dns.TypeA)); data(r) != "192.0.2.53" {
			t.Errorf("%s: %v", ip, r)
		}
	}
}

// RFC 7766 §6.2.1: queries may come together and in pieces; each gets its answer.
func TestTCPPipelining(t *testing.T) {
	_, addr := start(t, Options{Listen: []string{"127.0.0.1:0"}}, Config{Zones: testConfig(t).Zones})
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(limit)); err != nil {
		t.Fatal(err)
	}
	var all []byte
	const n = 50
	for i := range n {
		m := query("ns1.shop.example.", dns.TypeAAAA)
		m.Id = uint16(i)
		p, _ := m.Pack()
		all = append(binary.BigEndian.AppendUint16(all, uint16(len(p))), p...)
	}
	for _, piece := range [][]byte{all[:1], all[1:40], all[40:]} {
		if _, err := c.Write(piece); err != nil {
			t.Fatal(err)
		}
	}
	conn := dns.Conn{Conn: c}
	for i := range n {
		r, err := conn.ReadMsg()
		if err != nil || int(r.Id) != i || data(r) != "2001:db8:53::53" {
			t.Fatalf("answer %d: %v %v", i, r, err)
		}
	}
	if _, err := c.Write([]byte{0, 3, 1, 2, 3}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("after what is no query: %v, want the connection closed", err)
	}
}

// A full table makes room by closing the connection that asked least recently.
func TestConnectionsHaveALimit(t *testing.T) {
	reg := prometheus.NewRegistry()
	m, err := newMetrics(reg, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	cs := newConns(m)
	var first net.Conn
	for i := range MaxConns + 1 {
		a, b := net.Pipe()
		defer a.Close()
		defer b.Close()
		if i == 0 {
			first = b
			if err := first.SetReadDeadline(time.Now().Add(limit)); err != nil {
				t.Fatal(err)
			}
		}
		cs.add(a, time.Unix(int64(i), 0))
	}
	if evicted := counted(t, reg, "dnsd_tcp_evicted_total"); len(cs.open) != MaxConns || evicted != 1 {
		t.Errorf("%d open, %v evicted; want %d, 1", len(cs.open), evicted, MaxConns)
	}
	if _, err := first.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the oldest connection: %v, want it closed", err)
	}
}

func TestDrainWaitsForQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := New(Options{Node: "ams1", POP: "ams"})
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		packet, _ := query("www.shop.example.", dns.TypeA).Pack()
		var feeder sync.WaitGroup
		feeder.Go(func() {
			for range 5 {
				answerOne(s, packet, asker{anycast: true})
				time.Sleep(500 * time.Millisecond)
			}
		})
		synctest.Wait()
		if err := s.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took != 3*time.Second { // the last query came at 2 s
			t.Errorf("drained after %v, want a second of quiet: 3s", took)
		}
		feeder.Wait()
	})
}

func TestDrainEndsAnyway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := New(Options{})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		packet, _ := query("www.shop.example.", dns.TypeA).Pack()
		answerOne(s, packet, asker{anycast: true})
		var feeder sync.WaitGroup
		feeder.Go(func() {
			for ctx.Err() == nil {
				answerOne(s, packet, asker{anycast: true})
				time.Sleep(100 * time.Millisecond)
			}
		})
		began := time.Now()
		if err := s.Drain(ctx); err != nil || time.Since(began) != drainLimit {
			t.Errorf("drained after %v with %v; want %v", time.Since(began), err, drainLimit)
		}
		short, stop := context.WithTimeout(ctx, time.Second)
		defer stop()
		if err := s.Drain(short); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("cut short: %v, want %v", err, context.DeadlineExceeded)
		}
		cancel()
		feeder.Wait()
	})
}

// The tools that people use see what they should.
func TestDigAndKdig(t *testing.T) {
	_, addr := start(t, Options{Node: "ams1", POP: "ams", Listen: []string{"127.0.0.1:0"}}, testConfig(t))
	ap := netip.MustParseAddrPort(addr)
	for _, tool := range []string{"dig", "kdig"} {
		t.Run(tool, func(t *testing.T) {
			path, err := exec.LookPath(tool)
			if err != nil {
				t.Skipf("%s is not installed", tool)
			}
			for _, c := range []struct {
				args string
				want []string
			}{
				{"www.shop.example A +short", []string{"203.0.113.1"}},
				{"www.shop.example AAAA +short", []string{"2001:db8:a1::1"}},
				{"www.shop.example A +subnet=198.51.100.64/27", []string{"203.0.113.17", "198.51.100.64/27/27"}},
				{"www.shop.example A +subnet=2001:db8:c5::/48", []string{"203.0.113.33", "2001:db8:c5::/48/48"}},
				{"www.shop.example A +nsid", []string{"ams/ams1"}},
				{"www.shop.example A +tcp +short", []string{"203.0.113.1"}},
				{"no.shop.example A", []string{"NXDOMAIN", "SOA"}},
				{"ns1.shop.example TXT", []string{"NOERROR", "SOA", "300"}},
				{"example.net A", []string{"REFUSED"}},
				{"id.server TXT CH +short", []string{`"ams/ams1"`}},
			} {
				args := append([]string{"@" + ap.Addr().String(), "-p", strings.Split(addr, ":")[1], "+norec"}, strings.Fields(c.args)...)
				out, err := exec.CommandContext(t.Context(), path, args...).CombinedOutput()
				text := string(out)
				for _, want := range c.want {
					if !strings.Contains(text, want) {
						t.Errorf("%s %s: %v, lacks %q:\n%s", tool, c.args, err, want, text)
					}
				}
				if strings.Contains(strings.ToLower(text), "warn") || strings.Contains(text, "malformed") {
					t.Errorf("%s %s complains:\n%s", tool, c.args, text)
				}
			}
		})
	}
}
