package client

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/miekg/dns"

	"github.com/catchment-net/catchment/labs"
)

const nsidAMS = "616d732f616d7331" // ams/ams1

func TestSampleIsComplete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.nameServer(ns1, zone(2, nsidAMS, "203.0.113.1", "2001:db8:a1::1"))
		w.web(v6, pop(t, "ams1"))
		c := newClient(t, w, nil)
		got := c.Do(t.Context(), www())
		want := labs.Sample{
			Client: "berlin", Load: "www", OK: true, Status: 200, Tries: 1, POP: "ams", Node: "ams1", Addr: netip.MustParseAddr("2001:db8:a1::1"),
			CacheStatus: `nyc1; hit; ttl=2; detail="a, b; c", ams1; fwd=uri-miss`,
			DNSPOP:      "ams", DNSFresh: true, DNSServer: netip.MustParseAddr("192.0.2.53"), DNSNode: "ams1",
			DNSAddrs: []netip.Addr{netip.MustParseAddr("203.0.113.1"), netip.MustParseAddr("2001:db8:a1::1")},
		}
		ignore := cmpopts.IgnoreFields(labs.Sample{}, "Start", "End", "DNSTime")
		if d := cmp.Diff(want, got, ignore, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" {
			t.Errorf("sample (-want +got):\n%s", d)
		}
		if got.Start == 0 || got.End < got.Start || got.DNSTime < got.Start {
			t.Errorf("times %d, %d, %d: want start <= dns <= end", got.Start, got.DNSTime, got.End)
		}
	})
}

// Each row is what may happen to the addresses of a host; the client does what a browser does.
func TestTries(t *testing.T) {
	hang := func(c net.Conn) { // completes the handshake, reads and says nothing, as a stopped process does
		buf := make([]byte, 4096)
		for {
			if _, err := c.Read(buf); err != nil {
				return
			}
		}
	}
	reset := func(c net.Conn) { _, _ = c.Read(make([]byte, 1)) }
	cut := func(c net.Conn) {
		_, _ = c.Read(make([]byte, 4096))
		_, _ = c.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 2048\r\n\r\n/ for everybody\n"))
	}
	tests := []struct {
		name  string
		world func(*world)
		ok    bool
		tries int
		took  time.Duration
		err   string
	}{
		{"IPv6 refused", func(w *world) { delete(w.tcp, v6) }, true, 2, 0, ""},
		{"IPv6 does not connect", func(w *world) { w.dead[v6] = nil }, true, 2, 500 * time.Millisecond, ""},
		{"IPv6 connects and hangs", func(w *world) { w.tcp[v6] = hang }, true, 2, 1500 * time.Millisecond, ""},
		{"IPv6 is reset", func(w *world) { w.tcp[v6] = reset }, true, 2, 0, ""},
		{"IPv6 breaks off in the body", func(w *world) { w.tcp[v6] = cut }, true, 2, 0, ""},
		{"both refused, back in the second round", func(w *world) {
			six := w.tcp[v6]
			n := 0
			w.tcp[v6] = func(c net.Conn) {
				if n++; n > 1 {
					six(c)
				}
			}
			delete(w.tcp, v4)
		}, true, 3, 100 * time.Millisecond, ""},
		{"both refused", func(w *world) { delete(w.tcp, v6); delete(w.tcp, v4) }, false, 4, 100 * time.Millisecond, "203.0.113.1: connect: connection refused"},
		{"both hang", func(w *world) { w.tcp[v6], w.tcp[v4] = hang, hang }, false, 2, 3 * time.Second, "203.0.113.1: no answer in time"},
		{"status 503 is an answer", func(w *world) {
			w.web(v6, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }))
		}, false, 1, 0, "status 503 Service Unavailable"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.nameServer(ns1, zone(300, nsidAMS, "203.0.113.1", "2001:db8:a1::1"))
				w.web(v6, pop(t, "ams1"))
				w.web(v4, pop(t, "ams1"))
				tt.world(w)
				s := newClient(t, w, nil).Do(t.Context(), www())
				if s.OK != tt.ok || s.Tries != tt.tries || s.Error != tt.err {
					t.Errorf("ok %v after %d tries, error %q; want %v, %d, %q", s.OK, s.Tries, s.Error, tt.ok, tt.tries, tt.err)
				}
				if got := time.Duration(s.End - s.Start); got != tt.took {
					t.Errorf("took %v, want %v", got, tt.took)
				}
			})
		})
	}
}

func TestWrongBodyIsSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.nameServer(ns1, zone(300, nsidAMS, "2001:db8:a1::1"))
		w.web(v6, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("hello")) }))
		s := newClient(t, w, nil).Do(t.Context(), www())
		if s.OK || !s.WrongBody || s.Error == "" {
			t.Errorf("ok %v, wrong body %v, error %q; want a wrong body", s.OK, s.WrongBody, s.Error)
		}
	})
}

func TestTTLIsHonoured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var asked atomic.Int32
		answer := zone(2, nsidAMS, "203.0.113.1", "2001:db8:a1::1")
		w.nameServer(ns1, func(q *dns.Msg, tcp bool) *dns.Msg {
			asked.Add(1)
			return answer(q, tcp)
		})
		c := newClient(t, w, nil)
		var fresh []bool
		for range 5 {
			fresh = append(fresh, c.Resolve(t.Context(), "www.shop.example").Fresh)
			time.Sleep(time.Second)
		}
		if want := []bool{true, false, true, false, true}; !slices.Equal(fresh, want) {
			t.Errorf("asked %v, want %v: a TTL of 2 s", fresh, want)
		}
		if got := asked.Load(); got != 6 {
			t.Errorf("%d questions, want 6: A and AAAA three times", got)
		}
		c.Resolve(t.Context(), "www.shop.example")
		c.Forget()
		if !c.Resolve(t.Context(), "www.shop.example").Fresh {
			t.Error("an answer that was forgotten came from the cache")
		}
	})
}

func TestNameServers(t *testing.T) {
	silent := func(*dns.Msg, bool) *dns.Msg { return nil }
	rcode := func(code int) func(*dns.Msg, bool) *dns.Msg {
		return func(q *dns.Msg, _ bool) *dns.Msg {
			m := new(dns.Msg)
			return m.SetRcode(q, code)
		}
	}
	stray := func(q *dns.Msg, tcp bool) *dns.Msg {
		m := zone(2, nsidAMS, "198.18.0.1")(q, tcp)
		m.Id++
		return m
	}
	truncated := func(q *dns.Msg, tcp bool) *dns.Msg {
		m := zone(2, nsidAMS, "203.0.113.1", "2001:db8:a1::1")(q, tcp)
		if !tcp {
			m.Truncated, m.Answer = true, nil
		}
		return m
	}
	tests := []struct {
		name   string
		first  func(*dns.Msg, bool) *dns.Msg
		server string // that answered; "" for none
		took   time.Duration
		empty  bool
	}{
		{"the first answers", zone(2, nsidAMS, "203.0.113.1"), "192.0.2.53", 0, false},
		{"the first is silent", silent, "203.0.113.17", 400 * time.Millisecond, false},
		{"the first refuses", rcode(dns.RcodeRefused), "203.0.113.17", 0, false},
		{"the first fails", rcode(dns.RcodeServerFailure), "203.0.113.17", 0, false},
		{"an answer to another question", stray, "203.0.113.17", 400 * time.Millisecond, false},
		{"truncated: TCP", truncated, "192.0.2.53", 0, false},
		{"no such name", rcode(dns.RcodeNameError), "192.0.2.53", 0, true},
		{"no address", zone(2, nsidAMS), "192.0.2.53", 0, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.nameServer(ns1, tt.first)
				w.nameServer(ns2, zone(2, nsidAMS, "203.0.113.17"))
				c := newClient(t, w, nil)
				began := time.Now()
				a := c.Resolve(t.Context(), "www.shop.example")
				if got := time.Since(began); a.Err != nil || a.Server.String() != tt.server || a.Empty != tt.empty || got != tt.took {
					t.Errorf("answer of %s, empty %v, after %v, error %v; want %s, %v, %v", a.Server, a.Empty, got, a.Err, tt.server, tt.empty, tt.took)
				}
			})
		})
	}
}

func TestLastGoodNameServerIsAskedFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.nameServer(ns2, zone(1, nsidAMS, "203.0.113.17"))
		c := newClient(t, w, nil)
		if a := c.Resolve(t.Context(), "www.shop.example"); a.Err != nil {
			t.Fatal(a.Err)
		}
		time.Sleep(2 * time.Second)
		began := time.Now()
		if a := c.Resolve(t.Context(), "www.shop.example"); a.Err != nil || time.Since(began) != 0 {
			t.Errorf("second answer after %v, error %v; want it at once", time.Since(began), a.Err)
		}
	})
}

func TestNoNameServerAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newClient(t, newWorld(t), nil).Do(t.Context(), www())
		if s.OK || s.DNSError == "" || s.DNSEmpty || time.Duration(s.End-s.Start) != 800*time.Millisecond {
			t.Errorf("ok %v, DNS error %q, empty %v after %v; want an error after two name servers", s.OK, s.DNSError, s.DNSEmpty, time.Duration(s.End-s.Start))
		}
	})
}

func TestQuestionsCarryTheNetworksPrefix(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		got := make(chan string, 2)
		w.nameServer(ns1, func(q *dns.Msg, tcp bool) *dns.Msg {
			for _, o := range q.IsEdns0().Option {
				if e, ok := o.(*dns.EDNS0_SUBNET); ok {
					got <- dns.TypeToString[q.Question[0].Qtype] + " " + e.String()
				}
			}
			return zone(1, nsidAMS, "203.0.113.1")(q, tcp)
		})
		newClient(t, w, nil).Resolve(t.Context(), "www.shop.example")
		both := []string{<-got, <-got}
		slices.Sort(both)
		if want := []string{"A 198.51.100.0/27/0", "AAAA [2001:db8:c1::]/48/0"}; !slices.Equal(both, want) {
			t.Errorf("ECS %q, want %q", both, want)
		}
	})
}

func TestRequestsAreEvenlySpacedWhateverTheyTake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.nameServer(ns1, zone(3600, nsidAMS, "203.0.113.1", "2001:db8:a1::1"))
		six := pop(t, "ams1")
		w.web(v6, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			time.Sleep(220 * time.Millisecond)
			six.ServeHTTP(rw, r)
		}))
		c := newClient(t, w, nil)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		var starts []int64
		loads := []labs.Load{www(), {Name: "else", URL: "http://www.shop.example/", Rate: 5, From: []string{"tokyo"}}}
		if err := c.Run(ctx, loads, func(s labs.Sample) {
			if !s.OK || s.Load != "www" {
				t.Errorf("load %q: ok %v, error %q", s.Load, s.OK, s.Error)
			}
			starts = append(starts, s.Start)
		}); err != nil {
			t.Fatal(err)
		}
		slices.Sort(starts)
		if n := len(starts); n < 94 || n > 96 {
			t.Errorf("%d samples in 5 s, want about 95: 20/s but for the last 220 ms", n)
		}
		for i := 1; i < len(starts); i++ {
			if got := time.Duration(starts[i] - starts[i-1]); got != 50*time.Millisecond {
				t.Fatalf("request %d came %v after the last, want 50 ms", i, got)
			}
		}
	})
}

func TestTooManyInFlightIsAFailedSample(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.dead[ns1], w.dead[ns2] = nil, nil
		c := newClient(t, w, func(o *Options) { o.InFlight = 2 })
		ctx, cancel := context.WithTimeout(t.Context(), 600*time.Millisecond)
		defer cancel()
		refused := 0
		if err := c.Run(ctx, []labs.Load{www()}, func(s labs.Sample) {
			if strings.Contains(s.Error, "too many requests") {
				refused++
			}
		}); err != nil {
			t.Fatal(err)
		}
		if refused < 8 {
			t.Errorf("%d samples say that too many are waiting, want about ten", refused)
		}
	})
}

func TestNewRefusesWhatCannotWork(t *testing.T) {
	for _, o := range []Options{{}, {Topology: testTopology()}} {
		if _, err := New(o); err == nil {
			t.Errorf("options %+v are accepted", o)
		}
	}
	c := newClient(t, newWorld(t), nil)
	if err := c.Run(t.Context(), []labs.Load{{Name: "www", URL: "http://h/"}}, nil); err == nil {
		t.Error("a load without a rate is accepted")
	}
}

func FuzzCacheStatus(f *testing.F) {
	f.Add(`ams1; fwd=uri-miss, nyc1; hit; detail="x, \"y"`)
	f.Add(`"`)
	f.Fuzz(func(t *testing.T, text string) {
		c := newClient(t, &world{}, nil)
		var s labs.Sample
		c.identify(http.Header{"Cache-Status": {text}}, &s)
		if s.POP != "" && s.POP+"1" != s.Node {
			t.Fatalf("%q: node %q, POP %q", text, s.Node, s.POP)
		}
	})
}
