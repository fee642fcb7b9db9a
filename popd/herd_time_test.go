package popd_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/catchment-net/catchment/internal/simnet"
	"github.com/catchment-net/catchment/internal/underlay"
	"github.com/catchment-net/catchment/popd"
	"github.com/catchment-net/catchment/site"
)

// The figures of a herd: as many clients at once, and an origin as slow.
const (
	bigHerd    = 500
	originTime = 300 * time.Millisecond
)

// stage is a cache of its own before an origin, on a network of a test's choosing.
type stage struct {
	tb      testing.TB
	clients underlay.Net
	addr    string
	asked   atomic.Int64
}

// newStage runs the cache and an origin that runs handler until the test ends; stop ends both before.
func newStage(tb testing.TB, cache, origin, clients underlay.Net, listen, originListen string, handler http.HandlerFunc) (st *stage, stop func()) {
	tb.Helper()
	st = &stage{tb: tb, clients: clients}
	ctx, cancel := context.WithCancel(context.Background())
	l, err := origin.Listen(ctx, "tcp", originListen)
	if err != nil {
		tb.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		st.asked.Add(1)
		handler(w, r)
	})}
	var wg sync.WaitGroup
	wg.Go(func() { _ = srv.Serve(l) })
	ready := make(chan []string, 1)
	s, err := popd.New(popd.Options{Node: "ams1", Net: cache, Public: []string{listen}, Memory: 64 << 20, Ready: func(a []string) { ready <- a }})
	if err != nil {
		tb.Fatal(err)
	}
	u := &url.URL{Scheme: "http", Host: l.Addr().String()}
	if err := s.Apply(popd.Config{Any: &site.Site{Name: "any", Origins: []site.Origin{{URL: u, Weight: 1}}}}); err != nil {
		tb.Fatal(err)
	}
	wg.Go(func() {
		if err := s.Run(ctx); err != nil {
			tb.Errorf("run: %v", err)
		}
	})
	st.addr = (<-ready)[0]
	return st, func() {
		cancel()
		_ = srv.Close()
		wg.Wait()
	}
}

// took is what one client of a herd saw.
type took struct {
	first, whole time.Duration // until the first byte of the body, and the last
	body, cookie string
}

// herd sends n GETs for target at once, each on a connection of its own that is open already.
func (st *stage) herd(n int, target string) []took {
	st.tb.Helper()
	conns := make([]net.Conn, n)
	for i := range conns {
		c, err := st.clients.DialContext(context.Background(), "tcp", st.addr)
		if err != nil {
			st.tb.Fatal(err)
		}
		defer c.Close()
		conns[i] = c
	}
	all := make([]took, n)
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i, c := range conns {
		wg.Go(func() {
			<-start
			begun := time.Now()
			if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: a.example\r\nCookie: c%d\r\n\r\n", target, i); err != nil {
				st.tb.Errorf("client %d: %v", i, err)
				return
			}
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				st.tb.Errorf("client %d: %v", i, err)
				return
			}
			defer resp.Body.Close()
			var first [1]byte
			if _, err := io.ReadFull(resp.Body, first[:]); err != nil {
				st.tb.Errorf("client %d: %v", i, err)
			}
			t := took{first: time.Since(begun), cookie: resp.Header.Get("Set-Cookie")}
			rest, err := io.ReadAll(resp.Body)
			if err != nil {
				st.tb.Errorf("client %d: %v", i, err)
			}
			t.whole, t.body = time.Since(begun), string(first[:])+string(rest)
			all[i] = t
		})
	}
	close(start)
	wg.Wait()
	return all
}

// slowest is the longest time that any client waited.
func slowest(all []took, of func(took) time.Duration) time.Duration {
	return of(slices.MaxFunc(all, func(a, b took) int { return int(of(a) - of(b)) }))
}

func first(t took) time.Duration { return t.first }
func whole(t took) time.Duration { return t.whole }

// herdOrigin answers after originTime; /drip sends ten pieces over a second after its first byte, which comes at once;
// /private is each client's own.
func herdOrigin(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	switch r.URL.Path {
	case "/private":
		time.Sleep(originTime)
		c := r.Header.Get("Cookie")
		h.Set("Cache-Control", "private, no-store")
		h.Set("Set-Cookie", "for="+c)
		_, _ = io.WriteString(w, "for "+c)
	case "/drip":
		h.Set("Cache-Control", "max-age=60")
		for i := range 10 {
			_, _ = fmt.Fprint(w, i)
			_ = http.NewResponseController(w).Flush()
			time.Sleep(100 * time.Millisecond)
		}
	default:
		time.Sleep(originTime)
		h.Set("Cache-Control", "max-age=60")
		_, _ = io.WriteString(w, "hello")
	}
}

// herdTimes plays the three scenes and a second wave of the private one, and reports what they took.
func herdTimes(st *stage, report func(name string, asked int64, t time.Duration)) {
	wave := func(name, target string, of func(took) time.Duration, want func(i int) (body, cookie string)) {
		before := st.asked.Load()
		all := st.herd(bigHerd, target)
		for i, t := range all {
			if body, cookie := want(i); t.body != body || t.cookie != cookie {
				st.tb.Errorf("%s: client %d got %q and cookie %q, want %q and %q", name, i, t.body, t.cookie, body, cookie)
			}
		}
		report(name, st.asked.Load()-before, slowest(all, of))
	}
	wave("cold", "/", whole, func(int) (string, string) { return "hello", "" })
	wave("dripped", "/drip", first, func(int) (string, string) { return "0123456789", "" })
	own := func(i int) (string, string) { return fmt.Sprintf("for c%d", i), fmt.Sprintf("for=c%d", i) }
	wave("private", "/private", whole, own)
	wave("private again", "/private", whole, own)
}

// TestHerdInTime: in virtual time, which shows what waits for what and nothing of the machine.
func TestHerdInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := simnet.New(1, simnet.Link{Delay: time.Millisecond})
		host := func(s string) underlay.Net { return network.Host(netip.MustParseAddr(s)) }
		st, stop := newStage(t, host("10.0.0.1"), host("10.0.0.2"), host("10.0.0.3"), "10.0.0.1:80", "10.0.0.2:80", herdOrigin)
		bars := map[string]struct {
			asked int64
			most  time.Duration
		}{
			"cold":          {1, 360 * time.Millisecond},
			"dripped":       {1, 100 * time.Millisecond},
			"private":       {bigHerd, originTime * 22 / 10},
			"private again": {bigHerd, originTime * 12 / 10},
		}
		herdTimes(st, func(name string, asked int64, took time.Duration) {
			if bar := bars[name]; asked != bar.asked || took > bar.most {
				t.Errorf("%s: %d origin requests, slowest %v; want %d within %v", name, asked, took, bar.asked, bar.most)
			}
		})
		stop()
	})
}

// BenchmarkHerd reports the same on real sockets: how often the origin was asked, and what the slowest client waited.
func BenchmarkHerd(b *testing.B) {
	for b.Loop() {
		st, stop := newStage(b, underlay.Host{}, underlay.Host{}, underlay.Host{}, "127.0.0.1:0", "127.0.0.1:0", herdOrigin)
		herdTimes(st, func(name string, asked int64, took time.Duration) {
			unit := map[string]string{"cold": "cold", "dripped": "dripped-first", "private": "private", "private again": "private-again"}[name]
			b.ReportMetric(float64(asked), unit+"-asked")
			b.ReportMetric(float64(took)/1e6, unit+"-ms")
		})
		stop()
	}
}
