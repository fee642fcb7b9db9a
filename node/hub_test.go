package node

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/catchment-net/catchment/control"
	"github.com/catchment-net/catchment/health"
	"github.com/catchment-net/catchment/internal/event"
)

// testHub is a wired hub that does not run.
func testHub(tb testing.TB, o Options) *hub {
	tb.Helper()
	h, err := NewHub(o)
	if err != nil {
		tb.Fatal(err)
	}
	return h.hub
}

// testNode runs a whole node until stop or the test ends it.
func testNode(tb testing.TB, o Options) (n *Node, stop func()) {
	tb.Helper()
	ready := make(chan []string, 1)
	o.Ready = func(addrs []string) { ready <- addrs }
	n, err := New(o)
	if err != nil {
		tb.Fatal(err)
	}
	stop = run(tb, n.Run)
	select {
	case addrs := <-ready:
		if len(addrs) == 0 {
			tb.Error("it is ready, but names no address")
		}
	case <-time.After(limit):
		tb.Fatalf("node %s is not ready", o.Name)
	}
	return n, stop
}

// peerNode runs a whole node but for BGP: gobgp keeps options in package variables, so that a second server must not
// start in a process while one has routes.
func peerNode(tb testing.TB, o Options) (n *Node, stop func()) {
	tb.Helper()
	n, err := New(o)
	if err != nil {
		tb.Fatal(err)
	}
	for s, d := range map[health.Service]daemon{health.DNS: n.dns, health.Web: n.web} {
		if err := n.hub.attach(s, inProcess(d)); err != nil {
			tb.Fatal(err)
		}
	}
	stop = run(tb, func(ctx context.Context) error {
		return runAll(ctx, part("health", n.hub.judge.run), part("gossip", n.hub.pools.run), part("dnsd", n.dns.Run), part("popd", n.web.Run))
	})
	await(tb, o.Name+" to be well", func() bool { return upView(n.hub, health.DNS) && upView(n.hub, health.Web) })
	return n, stop
}

func TestReload(t *testing.T) {
	checkLeaks(t)
	w := newWorld(t)
	o := w.options("nyc1")
	n, _ := testNode(t, o)
	h := n.hub
	first := h.snap.Load()
	applied := func(digest string) func() bool {
		return func() bool { return h.snap.Load().Digest == digest }
	}

	w.write("sites/shop.yaml", strings.Replace(siteText, "ttl: 2s", "ttl: 7s", 1))
	await(t, "the new configuration", func() bool { return h.snap.Load() != first })
	second := h.snap.Load()
	if second.Sites[0].Hosts[0].TTL != 7*time.Second {
		t.Errorf("got a TTL of %v", second.Sites[0].Hosts[0].TTL)
	}
	await(t, "the copy on disk", func() bool {
		saved, err := control.LoadSaved(o.State)
		return err == nil && saved.Digest == second.Digest
	})

	w.write("sites/shop.yaml", "hosts: {}\nnonsense: 1\n")
	if e := awaitEvent(t, o.Events, event.Config, "snapshot", "refused"); !strings.Contains(e.Cause, "nonsense") {
		t.Errorf("the event does not name the mistake: %q", e.Cause)
	}
	if !applied(second.Digest)() {
		t.Error("a bad folder replaced the configuration")
	}
	w.write("sites/shop.yaml", siteText)
	await(t, "the first configuration again", applied(first.Digest))
}

// adopt is asked directly where what matters is what it refuses, and that nothing is left half done.
func TestAdoptIsAllOrNothing(t *testing.T) {
	for _, test := range []struct {
		name     string
		topology string // what is replaced in it: "old => new"
		want     string // part of the refusal
	}{
		{"the node is gone", "nyc: => lax:", "has gone from the topology"},
		{"other addresses", "203.0.113.16/28 => 203.0.113.32/28", "its addresses"},
		{"another ASN", "asn: 64500 => asn: 64501", "ASN"},
		{"name servers elsewhere: dnsd refuses", "dns: [192.0.2.53] => dns: [192.0.2.54]", "dnsd listens on"},
		{"web addresses elsewhere: popd refuses, dnsd had taken it", "web: [192.0.2.80] => web: [192.0.2.81]", "restart popd"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			n, _ := testNode(t, w.options("nyc1"))
			old := n.hub.snap.Load()
			before, after, _ := strings.Cut(test.topology, " => ")
			text := strings.Replace(topologyText, before, after, 1)
			if text == topologyText {
				t.Fatal("it replaces nothing")
			}
			text = strings.Replace(text, "interval: 50ms", "interval: 60ms", 1)
			snap, err := control.Parse("w", map[string][]byte{"topology.yaml": []byte(text), "sites/shop.yaml": []byte(strings.Replace(siteText, "2s", "9s", 1)), "zones/shop.example": []byte(zoneText)})
			if err != nil {
				t.Fatal(err)
			}
			if err := n.hub.adopt(snap); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("got %v, want %q in it", err, test.want)
			}
			n.hub.judge.mu.Lock()
			judged := n.hub.judge.topo
			n.hub.judge.mu.Unlock()
			if n.hub.snap.Load() != old || judged != old.Topology {
				t.Error("it was adopted none the less")
			}
			if ttl := answer(t, w, "nyc1").ttl; ttl != 2 {
				t.Errorf("dnsd answers with a TTL of %d s: it kept what was refused", ttl)
			}
		})
	}
}

func TestAdoptRetimesProbes(t *testing.T) {
	w := newWorld(t)
	n, _ := testNode(t, w.options("nyc1"))
	await(t, "up", func() bool { return upView(n.hub, health.Web) })
	w.write("topology.yaml", strings.Replace(topologyText, "interval: 50ms", "interval: 20ms", 1))
	await(t, "the new timing", func() bool {
		n.hub.judge.mu.Lock()
		defer n.hub.judge.mu.Unlock()
		return n.hub.judge.topo.Health.Interval == 20*time.Millisecond
	})
	if !upView(n.hub, health.Web) {
		t.Error("a change of timing took the service down")
	}
}

func TestStartFromTheLastGoodCopy(t *testing.T) {
	w := newWorld(t)
	o := w.options("nyc1")
	_, stop := testNode(t, o)
	stop()
	gone := o
	gone.Dir = filepath.Join(w.dir, "elsewhere")
	gone.Events = event.NewRing(event.Options{})
	n, _ := testNode(t, gone)
	if e := awaitEvent(t, gone.Events, event.Config, "snapshot", "saved copy"); !strings.Contains(e.Cause, "elsewhere") {
		t.Errorf("the event does not say why: %q", e.Cause)
	}
	if got := n.hub.snap.Load().Topology.Name; got != filepath.Base(w.dir) {
		t.Errorf("topology %q", got)
	}

	t.Run("never over mistakes", func(t *testing.T) {
		bad := o
		w.write("topology.yaml", "asn: many\n")
		if _, err := New(bad); err == nil || !strings.Contains(err.Error(), "topology.yaml:1:6") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("no copy", func(t *testing.T) {
		bad := gone
		bad.State = shortDir(t)
		if _, err := New(bad); err == nil || !strings.Contains(err.Error(), "elsewhere") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a damaged copy", func(t *testing.T) {
		bad := gone
		bad.State = shortDir(t)
		if err := os.WriteFile(filepath.Join(bad.State, "snapshot.json"), []byte(`{"name":"x","digest":"y"}`), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := New(bad); err == nil || !strings.Contains(err.Error(), "damaged") || !strings.Contains(err.Error(), "elsewhere") {
			t.Errorf("got %v", err)
		}
	})
}

func TestUnknownNode(t *testing.T) {
	w := newWorld(t)
	o := w.options("nyc1")
	o.Name = "lax1"
	_, err := New(o)
	if err == nil || !strings.Contains(err.Error(), `"lax1"`) || !strings.Contains(err.Error(), "[ams1 ams2 nyc1]") {
		t.Errorf("got %v", err)
	}
	o = w.options("nyc1")
	o.Insecure = false
	if _, err := New(o); err == nil || !strings.Contains(err.Error(), "catchment keys init") {
		t.Errorf("without keys: got %v", err)
	}
}

// A port in use is an error before the node says that it is ready.
func TestPortInUseBeforeReady(t *testing.T) {
	for _, port := range []string{"53", "80", "7950", "7947"} {
		t.Run(port, func(t *testing.T) {
			checkLeaks(t)
			w := newWorld(t)
			o := w.options("nyc1")
			l, err := o.Net.Listen(t.Context(), "tcp", "203.0.113.17:"+port)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			o.Ready = func([]string) { t.Error("it says that it is ready") }
			n, err := New(o)
			if err != nil {
				t.Fatal(err)
			}
			if err := n.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "203.0.113.17:"+port) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// hello is a daemon of another process, in as much as the hub can see.
func hello(t *testing.T, h *hub, r report) net.Conn {
	t.Helper()
	conn, err := net.Dial("unix", h.o.linkSocket())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	go func() { // what the hub sends is read, or it would wait
		buf := make([]byte, 64<<10)
		for {
			if _, err := conn.Read(buf); err != nil {
				return
			}
		}
	}()
	if err := json.NewEncoder(conn).Encode(r); err != nil {
		t.Fatal(err)
	}
	return conn
}

// listens reports whether somebody listens on a unix socket; that its file is there says less.
func listens(path string) bool {
	c, err := net.Dial("unix", path)
	if err != nil {
		return false
	}
	c.Close()
	return true
}

// answering serves probes of nyc1 as dnsd and popd would, on the network in memory.
func answering(t *testing.T, w *world, o Options) {
	t.Helper()
	dns, err := newDNS(&o, w.node("nyc1"), func(health.Service, []string) {})
	if err != nil {
		t.Fatal(err)
	}
	web, err := newWeb(&o, w.node("nyc1"), func(health.Service, []string) {})
	if err != nil {
		t.Fatal(err)
	}
	snap, err := control.Load(w.dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := applyAll(snap, []daemon{dns, web}); err != nil {
		t.Fatal(err)
	}
	run(t, dns.Run)
	run(t, web.Run)
}

// kill -9 of popd: the hub withdraws within milliseconds of the end of file, not at the next probe, and the daemon that
// takes its place is announced again after the hold-down.
func TestLifelineWithdrawsAtOnce(t *testing.T) {
	checkLeaks(t)
	w := newWorld(t)
	o := w.options("nyc1")
	if err := o.complete(); err != nil {
		t.Fatal(err)
	}
	answering(t, w, o)
	h, err := NewHub(o)
	if err != nil {
		t.Fatal(err)
	}
	run(t, h.Run)
	await(t, "the link", func() bool { return listens(o.linkSocket()) })
	someoneElse(h.hub) // so that the last one may go
	hello(t, h.hub, report{Service: health.DNS, Node: "nyc1", Ready: true})
	web := hello(t, h.hub, report{Service: health.Web, Node: "nyc1", Ready: true})
	awaitEvent(t, o.Events, event.Announce, "192.0.2.0/24", "announced")

	begin := time.Now()
	web.Close()
	e := awaitEvent(t, o.Events, event.Announce, "192.0.2.0/24", "withdrawn")
	if took := e.Time.Sub(begin); took > 500*time.Millisecond { // on a loaded machine; 0.1 ms on a quiet one
		t.Errorf("it took %v", took)
	}
	if !strings.Contains(e.Cause, "popd died: its link closed (end of file)") && !strings.Contains(e.Cause, "popd died: its link closed (connection reset by peer)") {
		t.Errorf("cause %q", e.Cause)
	}
	if v := h.hub.judge.seen.Load(); v.Nodes["nyc1"].Services[health.DNS].State != health.Up {
		t.Error("dnsd was taken down with it")
	}

	await(t, "the port to be free", func() bool { h.hub.mu.Lock(); defer h.hub.mu.Unlock(); return h.hub.ports[health.Web] == nil })
	web = hello(t, h.hub, report{Service: health.Web, Node: "nyc1", Ready: true})
	await(t, "popd to be up again", func() bool { return upView(h.hub, health.Web) })

	// A second one is refused and does no harm.
	hello(t, h.hub, report{Service: health.Web, Node: "nyc1", Ready: true}).Close()
	hello(t, h.hub, report{Service: health.Web, Node: "ams1", Ready: true}).Close()
	hello(t, h.hub, report{Service: "mail", Node: "nyc1", Ready: true}).Close()
	// One that says that it is stopping drains; its end is then no death.
	if err := json.NewEncoder(web).Encode(report{Service: health.Web, Node: "nyc1", Ready: true, Draining: true}); err != nil {
		t.Fatal(err)
	}
	await(t, "draining", func() bool {
		v := h.hub.judge.seen.Load()
		return v.Nodes["nyc1"].Services[health.Web].State == health.Draining
	})
	web.Close()
	await(t, "the end", func() bool {
		v := h.hub.judge.seen.Load()
		return v.Nodes["nyc1"].Services[health.Web].Cause.Text == "popd has stopped"
	})
}

// someoneElse makes the hub believe that ams1 announces everything, too.
func someoneElse(h *hub) {
	h.judge.merge(health.Record{
		Node: "ams1", Incarnation: 1, Seq: 1, Claims: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")},
		Services: map[health.Service]health.ServiceView{health.DNS: {State: health.Up}, health.Web: {State: health.Up}},
	})
}

// Many daemons come and go at once, as when a supervisor restarts one in a loop: the hub never mistakes one for the
// other, and the last one is probed.
func TestDaemonThatRestartsQuickly(t *testing.T) {
	checkLeaks(t)
	w := newWorld(t)
	o := w.options("nyc1")
	if err := o.complete(); err != nil {
		t.Fatal(err)
	}
	answering(t, w, o)
	h, err := NewHub(o)
	if err != nil {
		t.Fatal(err)
	}
	run(t, h.Run)
	await(t, "the link", func() bool { return listens(o.linkSocket()) })
	for range 30 {
		hello(t, h.hub, report{Service: health.Web, Node: "nyc1", Ready: true}).Close()
	}
	d := &fakeDaemon{ready: true}
	f := d.follower(o.linkSocket())
	f.node = "nyc1"
	run(t, f.run)
	await(t, "the last one to be up", func() bool { return upView(h.hub, health.Web) })
}

// Two clocks of the same hub: a View may be published from many goroutines, and no reader ever sees an older one after
// a newer.
func TestViewsStayInOrder(t *testing.T) {
	w := newWorld(t)
	h := testHub(t, w.options("nyc1"))
	var last uint64
	if err := h.attach(health.Web, port{sink: func(u update) {
		if u.View != nil {
			if u.View.Seq < last {
				t.Errorf("view %d after %d", u.View.Seq, last)
			}
			last = u.View.Seq
		}
	}}); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	for g := range 4 {
		go func() {
			defer func() { done <- struct{}{} }()
			for i := range 100 {
				switch g {
				case 0:
					h.judge.wish(IntentRequest{Target: "ams", Drain: i%2 == 0})
				case 1:
					h.judge.setClaims([]netip.Prefix{netip.PrefixFrom(netip.MustParseAddr("192.0.2.0"), i%32)})
				case 2:
					h.heard(health.Web, report{Draining: i%2 == 0, Last: time.Now()})
				case 3:
					h.lastRequest()
					h.status()
				}
			}
		}()
	}
	for range 4 {
		<-done
	}
	if last < 100 || last != h.judge.seen.Load().Seq {
		t.Errorf("the last view handed out is %d, the newest %d", last, h.judge.seen.Load().Seq)
	}
}

func TestIntentsOverTheAPI(t *testing.T) {
	w := newWorld(t)
	h := testHub(t, w.options("nyc1"))
	for _, test := range []struct {
		name, body string
		status     int
		want       string
	}{
		{"a POP", `{"target":"ams","drain":true,"why":"new kernel","by":"jo"}`, http.StatusOK, `"new kernel"`},
		{"a node", `{"target":"ams2","drain":true}`, http.StatusOK, `"ams2"`},
		{"a stranger", `{"target":"lax","drain":true}`, http.StatusNotFound, `no POP or node is called \"lax\"`},
		{"no JSON", `drain ams`, http.StatusBadRequest, "decode intent"},
		{"a novel", `{"target":"ams","drain":true,"why":"` + strings.Repeat("x", maxReason+1) + `"}`, http.StatusBadRequest, "200 bytes"},
		{"the past", `{"target":"ams","drain":true,"for":-1}`, http.StatusBadRequest, "time to come"},
	} {
		t.Run(test.name, func(t *testing.T) {
			rec := httptest.NewRecorder()
			h.serveIntent(rec, httptest.NewRequest(http.MethodPost, "/v1/intents", bytes.NewReader([]byte(test.body))))
			if rec.Code != test.status || !strings.Contains(rec.Body.String(), test.want) {
				t.Errorf("got %d %s", rec.Code, rec.Body)
			}
		})
	}
	// The longest reason that is taken must not silence the node: its record and the intent each fit a datagram.
	long := strings.Repeat("ü", maxReason/2)
	intent := h.judge.wish(IntentRequest{Target: "nyc", Drain: true, Why: long, By: long, For: time.Hour})
	for key, payload := range map[string][]byte{
		healthKey: healthState{h.judge}.Marshal(), intentKey: encodeIntents([]health.Intent{intent}), digestKey: digestState{h.pools}.Marshal(),
	} {
		if len(payload) == 0 || len(payload) > h.pools.fleet.MaxPayload(key) {
			t.Errorf("%s: %d bytes, at most %d fit", key, len(payload), h.pools.fleet.MaxPayload(key))
		}
	}
}

// An operator's drain is told to one node; the whole fleet follows, and comes back when it is lifted. A node that
// starts later learns of it, too.
func TestIntentsReachOtherNodes(t *testing.T) {
	checkLeaks(t)
	w := newWorld(t)
	ams, _ := peerNode(t, w.options("ams1"))
	nyc, _ := peerNode(t, w.options("nyc1"))
	await(t, "both to be well", func() bool {
		a, n := ams.hub.judge.seen.Load(), nyc.hub.judge.seen.Load()
		return a.State("nyc", health.Web) == health.Up && n.State("ams", health.Web) == health.Degraded && n.Nodes["ams1"].Heard
	})
	// The answer names ams1 alone: ams2 is not there.
	if got := answer(t, w, "nyc1").addrs; got != "203.0.113.1" {
		t.Errorf("www is %s", got)
	}
	ask := func(body string) {
		rec := httptest.NewRecorder()
		nyc.hub.serveIntent(rec, httptest.NewRequest(http.MethodPost, "/v1/intents", strings.NewReader(body)))
		if rec.Code != http.StatusOK {
			t.Fatalf("got %d %s", rec.Code, rec.Body)
		}
	}
	draining := func(n *Node) func() bool {
		return func() bool { return n.hub.judge.seen.Load().State("ams", health.Web) == health.Draining }
	}
	ask(`{"target":"ams","drain":true,"why":"new kernel"}`)
	await(t, "ams1 to hear of it", draining(ams))
	await(t, "DNS to move", func() bool { return answer(t, w, "ams1").addrs == "203.0.113.17" })
	ams2, _ := peerNode(t, w.options("ams2"))
	await(t, "a newcomer to hear of it", draining(ams2))
	ask(`{"target":"ams"}`)
	await(t, "the drain to be lifted", func() bool { return !draining(ams)() && !draining(ams2)() })
	await(t, "DNS to come back", func() bool { return answer(t, w, "nyc1").addrs == "203.0.113.1 203.0.113.2" })
}

// One node of two is switched off: its addresses leave the answers of every name server once its word is
// too old to count (2 s), and the POP stays.
func TestDeadNodeOfAPOPVanishesFromAnswers(t *testing.T) {
	w := newWorld(t)
	ams1, _ := peerNode(t, w.options("ams1"))
	_, stop := peerNode(t, w.options("ams2"))
	nyc, _ := peerNode(t, w.options("nyc1"))
	whole := "203.0.113.1 203.0.113.2"
	await(t, "the whole POP", func() bool { return answer(t, w, "nyc1").addrs == whole && answer(t, w, "ams1").addrs == whole })
	begin := time.Now()
	w.net.Partition([]netip.Addr{unicast["ams2"]}) // as a power cut: not even a reset
	await(t, "its addresses to go", func() bool {
		return answer(t, w, "nyc1").addrs == "203.0.113.1" && answer(t, w, "ams1").addrs == "203.0.113.1"
	})
	if took := time.Since(begin); took > 2*health.WordAge {
		t.Errorf("it took %v", took)
	}
	for name, n := range map[string]*Node{"ams1": ams1, "nyc1": nyc} {
		if s := n.hub.judge.seen.Load().State("ams", health.Web); s != health.Degraded {
			t.Errorf("%s thinks that ams is %v", name, s)
		}
	}
	stop()
}

// A drain ends in bounded time though there is no other POP, and the node speaks in the gossip until its daemons have
// drained: silence would make the others' observers find it well and bring clients back.
func TestDrainOfTheLastNode(t *testing.T) {
	checkLeaks(t)
	w := newWorld(t)
	o := w.options("nyc1")
	n, _ := testNode(t, o)
	awaitEvent(t, o.Events, event.Announce, "192.0.2.0/24", "announced")
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	begin := time.Now()
	if err := n.Drain(ctx); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begin); took > 4*time.Second {
		t.Errorf("it took %v", took)
	}
	awaitEvent(t, o.Events, event.Announce, "192.0.2.0/24", "withdrawn")
	if s := n.hub.judge.seen.Load().State("nyc", health.Web); s != health.Draining {
		t.Errorf("the POP is %v", s)
	}
}

func TestDrainThatRunsOutOfTime(t *testing.T) {
	w := newWorld(t)
	n, _ := testNode(t, w.options("nyc1"))
	await(t, "up", func() bool { return upView(n.hub, health.Web) })
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := n.Drain(ctx); err == nil || !strings.Contains(err.Error(), "drain") {
		t.Errorf("got %v", err)
	}
}
