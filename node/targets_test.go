package node

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"github.com/catchment-net/catchment/control"
	"github.com/catchment-net/catchment/health"
	"github.com/catchment-net/catchment/internal/simnet"
	"github.com/catchment-net/catchment/site"
)

// A customer's own data centre dies: every name server answers with the other one soon, the one without a probe of its own
// too, and back when it is well for as long as the hold-down wants. Each address is asked by at most one node of each POP.
func TestATargetThatFailsLeavesAllAnswers(t *testing.T) {
	checkLeaks(t)
	w := newWorld(t)
	w.write("sites/api.yaml", `hosts:
  api.shop.example:
    steer: pinned
    ttl: 2s
    targets:
      a: {addresses: [198.18.200.10], probe: "http://{address}/health"}
      b: {addresses: [198.18.200.20]}
`)
	var asked atomic.Int64
	var well atomic.Bool
	well.Store(true)
	centre := w.net.Host(netip.MustParseAddr("198.18.200.10"))
	l, err := centre.Listen(t.Context(), "tcp", "198.18.200.10:80")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{ReadHeaderTimeout: limit, Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if r.Host != "api.shop.example" || r.URL.Path != "/health" {
			t.Errorf("asked for %s of %s", r.URL, r.Host)
		}
		if !well.Load() {
			rw.WriteHeader(http.StatusServiceUnavailable)
		}
	})}
	var serving sync.WaitGroup
	serving.Go(func() { _ = srv.Serve(l) })
	t.Cleanup(func() { srv.Close(); serving.Wait() })

	nodes := map[string]*Node{}
	for _, name := range []string{"ams1", "ams2", "nyc1"} {
		nodes[name], _ = peerNode(t, w.options(name))
	}
	everywhere := func(want string) func() bool {
		return func() bool {
			for name := range nodes {
				if resolve(t, w, name, "api.shop.example.").addrs != want {
					return false
				}
			}
			return true
		}
	}
	await(t, "all to know all", func() bool {
		for _, n := range nodes {
			if len(n.hub.judge.fleetVoices()) != 3 {
				return false
			}
		}
		return true
	})
	await(t, "the first answers", everywhere("198.18.200.10"))
	begin, before := time.Now(), asked.Load()
	await(t, "a few probes", func() bool { return time.Since(begin) > 1500*time.Millisecond })
	if n := asked.Load() - before; n < 2 || n > 8 { // two nodes, every 700 ms, and perhaps a third for a while
		t.Errorf("%d probes in 1.5 s, want about 4: one node of each POP", n)
	}

	well.Store(false)
	await(t, "the target to leave all answers", everywhere("198.18.200.20"))
	id := "api.shop.example/a/198.18.200.10"
	if why := nodes["ams1"].hub.judge.seen.Load().Targets[id]; why.Class != health.Soft || why.Text == "" || why.Since.IsZero() {
		t.Errorf("cause %+v", why)
	}
	well.Store(true)
	await(t, "the target to come back", everywhere("198.18.200.10"))
}

// In virtual time: from a silent death to the last View without the target, and from the first node that sees it to the
// last (design §5, §7: 2.5 s and 100 ms). Gossip takes 50 ms here.
func TestSilentDeathOfATargetIsKnownInTime(t *testing.T) {
	w := newWorld(t)
	w.write("sites/api.yaml", "hosts: {api.shop.example: {steer: pinned, targets: {a: {addresses: 198.18.200.10, probe: \"http://{address}/\"}}}}\n")
	snap, err := control.Load(w.dir)
	if err != nil {
		t.Fatal(err)
	}
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			network := simnet.New(seed, simnet.Link{Delay: 80 * time.Millisecond})
			centre := netip.MustParseAddr("198.18.200.10")
			l, err := network.Host(centre).Listen(t.Context(), "tcp", "198.18.200.10:80")
			if err != nil {
				t.Fatal(err)
			}
			srv := &http.Server{ReadHeaderTimeout: limit, Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})}
			var all sync.WaitGroup
			all.Go(func() { _ = srv.Serve(l) })
			ctx, stop := context.WithCancel(t.Context())
			var judges []*judge
			first, last := time.Time{}, time.Time{} // when a View had the target down
			seen := 0
			for name, addr := range unicast {
				j := newJudge(snap.Topology, snap.Topology.Node(name), snap.Sites, &Options{Name: name, Net: network.Host(addr), Now: time.Now, Logger: slog.New(slog.DiscardHandler)})
				judges = append(judges, j)
			}
			var mu sync.Mutex // guards first, last and seen
			for _, j := range judges {
				tell := func() {
					record, _ := j.record()
					sights := j.sights()
					time.Sleep(50 * time.Millisecond)
					for _, other := range judges {
						if other != j {
							_ = healthState{other}.Merge(record)
							for _, s := range sights {
								_ = targetState{other}.Merge(s)
							}
						}
					}
				}
				sight := make(chan struct{}, 1)
				j.onSight = func() { notify(sight) }
				down := false
				j.onView = func(v *health.View) {
					if _, is := v.Targets["api.shop.example/a/198.18.200.10"]; is && !down {
						down = true
						mu.Lock()
						if seen++; seen == 1 {
							first = time.Now()
						}
						last = time.Now()
						mu.Unlock()
					}
				}
				all.Go(func() { _ = j.run(ctx) })
				all.Go(func() {
					tick := time.NewTicker(recordEvery)
					defer tick.Stop()
					for {
						select {
						case <-ctx.Done():
							return
						case <-tick.C:
						case <-sight:
						}
						all.Go(tell)
					}
				})
			}
			time.Sleep(4*time.Second + time.Duration(seed)*37*time.Millisecond)
			death := time.Now()
			network.Partition([]netip.Addr{centre})
			time.Sleep(5 * time.Second)
			mu.Lock()
			if seen != len(judges) || last.Sub(death) > 2500*time.Millisecond || first.Before(death) || last.Sub(first) > 100*time.Millisecond {
				t.Errorf("seed %d: %d of %d know; the first after %v, the last %v later", seed, seen, len(judges), first.Sub(death), last.Sub(first))
			}
			mu.Unlock()
			stop()
			srv.Close()
			all.Wait()
		})
	}
}

// fleetVoices are the nodes that the judge hears.
func (j *judge) fleetVoices() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.fleet.Voices(j.now())
}

func TestLimitsOfChecksAgree(t *testing.T) {
	if site.MaxChecks != health.MaxChecks {
		t.Errorf("a configuration may have %d, a fleet knows %d", site.MaxChecks, health.MaxChecks)
	}
}

// A name server from flags alone probes its targets itself, before its first answer.
func TestAloneNameServerProbesItsTargets(t *testing.T) {
	var well atomic.Bool
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if !well.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(srv.Close)
	at, err := netip.ParseAddrPort(srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	files := map[string]string{
		"zone": zoneText,
		"shop.yaml": fmt.Sprintf(`hosts:
  api.shop.example:
    steer: pinned
    ttl: 2s
    fail: closed
    targets:
      a: {addresses: [127.0.0.1], probe: "http://{address}:%d/"}
  www.shop.example:
    steer: pinned
    targets:
      a: {addresses: [127.0.0.1], probe: "http://{address}:%d/"}
      b: {addresses: [198.18.0.2]}
`, at.Port(), at.Port()),
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ready := make(chan []string, 1)
	d, err := NewStandaloneDNS(StandaloneDNS{
		Zones: []string{"shop.example=" + filepath.Join(dir, "zone")}, Sites: []string{filepath.Join(dir, "shop.yaml")},
		Listen: []string{"127.0.0.1:0"}, Ready: func(addrs []string) { ready <- addrs },
	})
	if err != nil {
		t.Fatal(err)
	}
	run(t, d.Run)
	var addr string
	select {
	case addrs := <-ready:
		addr = addrs[0]
	case <-time.After(limit):
		t.Fatal("it is not ready")
	}
	ask := func(name string) *dns.Msg {
		m, _, err := new(dns.Client).Exchange(new(dns.Msg).SetQuestion(name, dns.TypeA), addr)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	first := func(name string) string {
		if m := ask(name); len(m.Answer) > 0 {
			return m.Answer[0].(*dns.A).A.String()
		}
		return ""
	}
	if got := first("www.shop.example."); got != "198.18.0.2" {
		t.Errorf("the first answer is %s, want the target that is not dead", got)
	}
	closed := ask("api.shop.example.")
	if len(closed.Answer) != 0 || closed.Rcode != dns.RcodeSuccess || len(closed.Ns) != 1 || closed.Ns[0].Header().Ttl != 2 {
		t.Errorf("fail: closed with everything down: %v; want NODATA for the host's 2 s", closed)
	}
	well.Store(true)
	// The hold-down of 10 s is longer than a test should take: what matters is that both hosts have one opinion.
	if got := first("www.shop.example."); got != "198.18.0.2" {
		t.Errorf("within the hold-down %s answers", got)
	}
}
