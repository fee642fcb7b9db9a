package probe_test

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"github.com/catchment-net/catchment/health"
	"github.com/catchment-net/catchment/health/probe"
	"github.com/catchment-net/catchment/internal/simnet"
	"github.com/catchment-net/catchment/topology"
)

// Long where an answer comes, so that a loaded machine does not turn it into a failure; short where none comes.
const (
	long  = 10 * time.Second
	short = 100 * time.Millisecond
)

func ask(t *testing.T, target probe.Target, timeout time.Duration) health.Verdict {
	t.Helper()
	p := probe.New(probe.Options{Target: target, Interval: timeout, Timeout: timeout})
	return p.Once(t.Context(), time.Now())
}

func check(t *testing.T, got health.Verdict, ok bool, text string) {
	t.Helper()
	if got.OK != ok || ok && got.Text != "" || !strings.Contains(got.Text, text) {
		t.Errorf("got OK %t, %q; want OK %t, %q", got.OK, got.Text, ok, text)
	}
}

func TestHTTPWantsAnAnswer(t *testing.T) {
	for _, tt := range []struct {
		name   string
		path   string
		status int
		body   string
		ok     bool
		text   string
	}{
		{"well", "/x", 200, "anything", true, ""},
		{"no content", "/x", 204, "", true, ""},
		{"an error", "/x", 503, "", false, "status 503"},
		{"a redirect is not followed", "/x", 302, "", false, "status 302"},
		{"our popd is up", topology.HealthPath, 200, `{"node": "ams1", "state": "up"}`, true, ""},
		{"our popd drains: it still answers", topology.HealthPath, 200, `{"node": "ams1", "state": "draining"}`, true, ""},
		{"our popd is down", topology.HealthPath, 503, `{"node": "ams1", "state": "down", "cause": "disk full"}`, false, "disk full"},
		{"down without a reason", topology.HealthPath, 200, `{"state": "down"}`, false, "says that it is down"},
		{"something else answers in its place", topology.HealthPath, 200, "<html>", false, "not popd's"},
		{"or speaks JSON, too", topology.HealthPath, 200, `{}`, false, "names no state"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != tt.path || r.Host != "shop.example" {
					t.Errorf("asked %q of %q, want %q of shop.example", r.URL.Path, r.Host, tt.path)
				}
				w.WriteHeader(tt.status)
				fmt.Fprint(w, tt.body)
			}))
			defer srv.Close()
			check(t, ask(t, probe.HTTPHost(srv.URL+tt.path, "shop.example"), long), tt.ok, tt.text)
		})
	}
}

// Over TLS the certificate must be the host's, as for a client.
func TestHTTPSWantsTheHostsCertificate(t *testing.T) {
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Host) }))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	defer srv.Close()
	roots := x509.NewCertPool()
	roots.AddCert(srv.Certificate()) // it is for example.com
	check(t, ask(t, probe.HTTPSHost(srv.URL+"/x", "example.com", roots), long), true, "")
	check(t, ask(t, probe.HTTPSHost(srv.URL+"/x", "shop.example", roots), long), false, "not shop.example")
	check(t, ask(t, probe.HTTPHost(srv.URL+"/x", "example.com"), long), false, "certificate")
}

// An answer that names something which fails for all POPs alike is a good one of the service itself.
func TestHTTPNamesWhatIsShared(t *testing.T) {
	name := "the database"
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set(probe.SharedField, name)
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	defer server.Close()
	got := ask(t, probe.HTTP(server.URL+"/x"), long)
	check(t, got, true, "")
	if got.Shared != name {
		t.Errorf("got shared %q, want %q", got.Shared, name)
	}
	name = strings.Repeat("long ", 100)
	if got := ask(t, probe.HTTP(server.URL+"/x"), long); !got.OK || len(got.Shared) > 60 {
		t.Errorf("got %+v, want a short name", got)
	}
}

func TestHTTPBodyMustEnd(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "100")
		fmt.Fprint(w, "half")
		w.(http.Flusher).Flush()
		<-r.Context().Done() // the prober gives up
	}))
	defer srv.Close()
	check(t, ask(t, probe.HTTP(srv.URL), short), false, "no answer within 100ms")
}

// silent is a stopped process: the kernel accepts for it, and nobody answers.
func silent(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}

// closedPort is an address where nobody listens.
func closedPort(t *testing.T, network string) string {
	t.Helper()
	if network == "udp" {
		c, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		return c.LocalAddr().String()
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	return l.Addr().String()
}

func TestAStoppedProcessIsFoundOnlyByWaitingForAnAnswer(t *testing.T) {
	at := silent(t)
	check(t, ask(t, probe.HTTP("http://"+at+"/"), short), false, "no answer within 100ms")
	check(t, ask(t, probe.TCP(at), long), true, "") // which is why TCP is weak
}

func TestRefusal(t *testing.T) {
	for _, target := range []probe.Target{
		probe.HTTP("http://" + closedPort(t, "tcp") + "/"),
		probe.TCP(closedPort(t, "tcp")),
		probe.DNS(closedPort(t, "udp")),
	} {
		v := ask(t, target, long)
		check(t, v, false, "connection refused")
		if !v.Refused {
			t.Errorf("%s: not marked as refused", target)
		}
	}
}

func TestMistakesInTargetsAreVerdicts(t *testing.T) {
	for _, url := range []string{"ftp://x/", "http:///x", "http://[", "ftp://x"} {
		if v := ask(t, probe.HTTP(url), long); v.OK || !strings.Contains(v.Text, "probe URL") {
			t.Errorf("%q: got %+v, want a verdict that names the URL", url, v)
		}
	}
}

// nameServer answers over UDP with what handle makes of each question.
func nameServer(t *testing.T, handle dns.HandlerFunc) string {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	started := make(chan struct{})
	srv := &dns.Server{PacketConn: conn, Handler: handle, NotifyStartedFunc: func() { close(started) }}
	var running sync.WaitGroup
	running.Go(func() {
		if err := srv.ActivateAndServe(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		if err := srv.Shutdown(); err != nil {
			t.Error(err)
		}
		running.Wait()
	})
	select {
	case <-started:
	case <-time.After(long):
		t.Fatal("the name server did not start")
	}
	return conn.LocalAddr().String()
}

func reply(t *testing.T, w dns.ResponseWriter, m *dns.Msg) {
	t.Helper()
	if err := w.WriteMsg(m); err != nil {
		t.Error(err)
	}
}

func TestDNSWantsAMatchingAnswer(t *testing.T) {
	txt := func(q *dns.Msg, class uint16) *dns.Msg {
		m := new(dns.Msg)
		m.SetReply(q)
		m.Answer = []dns.RR{&dns.TXT{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeTXT, Class: class}, Txt: []string{"ams/ams1"}}}
		return m
	}
	for _, tt := range []struct {
		name    string
		handle  dns.HandlerFunc
		timeout time.Duration
		ok      bool
		text    string
	}{
		{"well", func(w dns.ResponseWriter, q *dns.Msg) {
			if q.Question[0].Name != "id.server." || q.Question[0].Qclass != dns.ClassCHAOS {
				t.Errorf("asked %v", q.Question[0])
			}
			reply(t, w, txt(q, dns.ClassCHAOS))
		}, long, true, ""},
		{"refused by the server", func(w dns.ResponseWriter, q *dns.Msg) {
			reply(t, w, new(dns.Msg).SetRcode(q, dns.RcodeRefused))
		}, long, false, "REFUSED"},
		{"an empty answer", func(w dns.ResponseWriter, q *dns.Msg) {
			reply(t, w, new(dns.Msg).SetReply(q))
		}, long, false, "no record"},
		{"a record of another class", func(w dns.ResponseWriter, q *dns.Msg) { reply(t, w, txt(q, dns.ClassINET)) }, long, false, "no record"},
		{"a forged one first, then the right one", func(w dns.ResponseWriter, q *dns.Msg) {
			forged := new(dns.Msg).SetRcode(q, dns.RcodeServerFailure)
			forged.Id++
			reply(t, w, forged)
			if _, err := w.Write([]byte("rubbish")); err != nil {
				t.Error(err)
			}
			reply(t, w, txt(q, dns.ClassCHAOS))
		}, long, true, ""},
		{"an answer to another question only", func(w dns.ResponseWriter, q *dns.Msg) {
			m := txt(q, dns.ClassCHAOS)
			m.Question[0].Name = "version.bind."
			reply(t, w, m)
		}, short, false, "no answer within"},
		{"silence", func(dns.ResponseWriter, *dns.Msg) {}, short, false, "no answer within"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			check(t, ask(t, probe.DNS(nameServer(t, tt.handle)), tt.timeout), tt.ok, tt.text)
		})
	}
}

func TestDNSNameAsksForIt(t *testing.T) {
	at := nameServer(t, func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		if q.Question[0].Name == "shop.example." && q.Question[0].Qtype == dns.TypeSOA {
			m.Answer = []dns.RR{&dns.SOA{Hdr: dns.RR_Header{Name: "shop.example.", Rrtype: dns.TypeSOA, Class: dns.ClassINET}, Ns: "a.", Mbox: "b."}}
		}
		reply(t, w, m)
	})
	check(t, ask(t, probe.DNSName(at, "shop.example", dns.TypeSOA), long), true, "")
	check(t, ask(t, probe.DNSName(at, "other.example", dns.TypeSOA), long), false, "no record")
}

func TestExec(t *testing.T) {
	check(t, ask(t, probe.Exec("true"), long), true, "")
	check(t, ask(t, probe.Exec("sh", "-c", "echo disk is full; echo more; exit 3"), long), false, "exit status 3: disk is full")
	check(t, ask(t, probe.Exec("sh", "-c", "sleep 60"), short), false, "no answer within 100ms")
	check(t, ask(t, probe.Exec("sh", "-c", "head -c 1000000 /dev/zero; exit 1"), long), false, "exit status 1")
	check(t, ask(t, probe.Exec("/nowhere/program"), long), false, "no such file")
}

// TestProbesOverANetworkInVirtualTime: a POP that is cut off is known after one timeout, and again when it is back; never
// is more than one probe under way.
func TestProbesOverANetworkInVirtualTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("198.51.100.1")
		network := simnet.New(1, simnet.Link{Delay: 20 * time.Millisecond})
		l, err := network.Host(there).Listen(t.Context(), "tcp", "198.51.100.1:80")
		if err != nil {
			t.Fatal(err)
		}
		srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, `{"node": "nyc1", "state": "up"}`)
		})}
		var running sync.WaitGroup
		running.Go(func() {
			if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				t.Error(err)
			}
		})
		ctx, cancel := context.WithCancel(t.Context())
		verdicts := make(chan health.Verdict, 1000)
		p := probe.New(probe.Options{
			Target: probe.HTTP("http://198.51.100.1" + topology.HealthPath), Net: network.Host(here),
			Interval: 500 * time.Millisecond, Timeout: 400 * time.Millisecond,
		})
		running.Go(func() { p.Run(ctx, func(v health.Verdict) { verdicts <- v }) })
		phase := func(want bool) {
			t.Helper()
			time.Sleep(5 * time.Second)
			synctest.Wait()
			n := len(verdicts)
			if n != 10 {
				t.Errorf("verdicts in 5 s: got %d, want 10", n)
			}
			for i := range n {
				if v := <-verdicts; v.OK != want && i > 0 {
					t.Errorf("verdict %d: got %+v, want OK %t", i, v, want)
				} else if v.Late > time.Millisecond {
					t.Errorf("verdict %d: late by %v in virtual time", i, v.Late)
				}
			}
		}
		time.Sleep(450 * time.Millisecond) // phases begin between two probes
		synctest.Wait()
		<-verdicts
		phase(true)
		network.Cut(here, there, true)
		phase(false)
		network.Heal()
		phase(true)
		cancel()
		srv.Close()
		running.Wait()
	})
}

func TestEndOfContextIsNoVerdict(t *testing.T) {
	at := silent(t)
	ctx, cancel := context.WithCancel(t.Context())
	p := probe.New(probe.Options{Target: probe.HTTP("http://" + at + "/"), Interval: long})
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.Run(ctx, func(v health.Verdict) { t.Errorf("got a verdict: %+v", v) })
	}()
	cancel()
	select {
	case <-done:
	case <-time.After(long):
		t.Fatal("Run did not end with its context")
	}
}
