package node

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/catchment-net/catchment/control"
	"github.com/catchment-net/catchment/health"
	"github.com/catchment-net/catchment/internal/event"
	"github.com/catchment-net/catchment/topology"
)

// node finds a node in the folder's topology.
func (w *world) node(name string) *topology.Node {
	w.tb.Helper()
	snap, err := control.Load(w.dir)
	if err != nil {
		w.tb.Fatal(err)
	}
	return snap.Topology.Node(name)
}

// complete fills in what setDefaults does, for tests that wire parts of a node.
func (o *Options) complete() error {
	_, _, err := o.setDefaults()
	return err
}

type answered struct {
	addrs string
	ttl   uint32
}

// answer is what a node's name server says of www.shop.example.
func answer(tb testing.TB, w *world, node string) answered {
	tb.Helper()
	return resolve(tb, w, node, "www.shop.example.")
}

func resolve(tb testing.TB, w *world, node, name string) answered {
	tb.Helper()
	conn, err := w.net.Host(unicast[node]).DialContext(tb.Context(), "udp", netip.AddrPortFrom(unicast[node], 53).String())
	if err != nil {
		tb.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
		tb.Fatal(err)
	}
	c := &dns.Conn{Conn: conn}
	q := new(dns.Msg).SetQuestion(name, dns.TypeA)
	if err := c.WriteMsg(q); err != nil {
		tb.Fatal(err)
	}
	m, err := c.ReadMsg()
	if err != nil {
		return answered{} // nobody there (yet)
	}
	var a answered
	var addrs []string
	for _, rr := range m.Answer {
		if r, ok := rr.(*dns.A); ok {
			addrs = append(addrs, r.A.String())
			a.ttl = r.Hdr.Ttl
		}
	}
	a.addrs = strings.Join(addrs, " ")
	return a
}

// The hub of nyc1 dies. Its dnsd goes on with what it knew, drains included, then by its own probes; a hub that comes
// back has the word again.
func TestServiceWithoutItsHub(t *testing.T) {
	checkLeaks(t)
	w := newWorld(t)
	_, stopAMS1 := peerNode(t, w.options("ams1"))
	_, _ = peerNode(t, w.options("ams2"))
	oh := w.options("nyc1")
	hub := func() (stop func(), h *Hub) {
		h, err := NewHub(oh)
		if err != nil {
			t.Fatal(err)
		}
		return run(t, h.Run), h
	}
	od := w.options("nyc1")
	od.Hub = oh.linkSocket()
	ready := make(chan struct{})
	od.Ready = func([]string) { close(ready) }
	s, err := NewService(od, health.DNS)
	if err != nil {
		t.Fatal(err)
	}
	run(t, s.Run)
	<-ready
	alone := func() bool { s.mu.Lock(); defer s.mu.Unlock(); return !s.byHub }

	// It starts before its hub, and judges alone.
	await(t, "an answer of its own", func() bool { return answer(t, w, "nyc1").addrs == "203.0.113.1 203.0.113.2" })
	stopHub, h := hub()
	await(t, "the hub's word", func() bool { return !alone() })
	await(t, "the hub to hear of ams", func() bool { return h.hub.judge.seen.Load().State("ams", health.Web) == health.Up })
	h.hub.judge.wish(IntentRequest{Target: "ams1", Drain: true, Why: "new disk"})
	await(t, "the drain", func() bool { return answer(t, w, "nyc1").addrs == "203.0.113.2" })
	stopHub()
	await(t, "the loss to be noticed", alone)
	for end := time.Now().Add(1500 * time.Millisecond); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if got := answer(t, w, "nyc1").addrs; got != "203.0.113.2" {
			t.Fatalf("without its hub it sends clients to %q", got)
		}
	}
	// ams goes, and its own probes find it.
	w.net.Partition([]netip.Addr{unicast["ams1"], unicast["ams2"]})
	await(t, "its own verdict", func() bool { return answer(t, w, "nyc1").addrs == "203.0.113.17" })
	w.net.Heal()
	stopHub, _ = hub()
	// The drain outlives the hub that was told of it.
	await(t, "the next hub's word", func() bool { return !alone() && answer(t, w, "nyc1").addrs == "203.0.113.2" })
	stopHub()
	stopAMS1()
}

func TestServiceReportsAndDrains(t *testing.T) {
	checkLeaks(t)
	w := newWorld(t)
	oh := w.options("nyc1")
	h, err := NewHub(oh)
	if err != nil {
		t.Fatal(err)
	}
	run(t, h.Run)
	o := w.options("nyc1")
	o.Hub = oh.linkSocket()
	s, err := NewService(o, health.Web)
	if err != nil {
		t.Fatal(err)
	}
	stop := run(t, s.Run)
	await(t, "popd to be up", func() bool { return upView(h.hub, health.Web) })
	if got := h.hub.status().Links[health.Web]; got != "ready" {
		t.Errorf("the link is %q", got)
	}
	await(t, "the copy of the configuration", func() bool { _, err := control.LoadSaved(o.State); return err == nil })
	// What it cannot take up is reported by the hub as an event, and the hub goes on.
	w.write("topology.yaml", strings.Replace(topologyText, "web: [192.0.2.80]", "web: [192.0.2.81]", 1))
	if e := awaitEvent(t, oh.Events, event.Config, "popd", "refused"); !strings.Contains(e.Cause, "restart popd") {
		t.Errorf("cause %q", e.Cause)
	}
	if err := s.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	await(t, "the hub to know", func() bool { return h.hub.status().Links[health.Web] == "draining" })
	stop()
	if e := awaitEvent(t, oh.Events, event.Process, "popd", "gone"); e.Cause != "popd has stopped" {
		t.Errorf("cause %q", e.Cause)
	}
}

func TestSightingOfAPOP(t *testing.T) {
	up, down, unknown := health.ServiceView{State: health.Up}, health.ServiceView{State: health.Down, Cause: health.Cause{Text: "no answer"}}, health.ServiceView{}
	for _, test := range []struct {
		name   string
		states []health.ServiceView
		want   string
	}{
		{"nothing is known", []health.ServiceView{unknown}, "silent"},
		{"a first bad verdict says nothing yet", []health.ServiceView{unknown, down}, "silent"},
		{"one that answers is enough", []health.ServiceView{unknown, up}, "well"},
		{"one is dead", []health.ServiceView{down, up}, "well"},
		{"all are dead", []health.ServiceView{down, down}, "no answer"},
		{"no nodes", nil, "silent"},
	} {
		ok, text, known := sighting(test.states)
		got := text
		if !known {
			got = "silent"
		} else if ok {
			got = "well"
		}
		if got != test.want {
			t.Errorf("%s: got %s, want %s", test.name, got, test.want)
		}
	}
}
