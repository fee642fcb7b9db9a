package h1_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/catchment-net/catchment/popd/h1"
)

// pipes is a listener of connections that need no network, for virtual time.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), done: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

func (p *pipes) dial() net.Conn {
	ours, theirs := net.Pipe()
	p.conns <- theirs
	return ours
}

// ends reads to the connection's end and says after how long it came, and what came before.
func ends(c net.Conn) (time.Duration, string) {
	start := time.Now()
	all, _ := io.ReadAll(c) // the end may come as an error
	return time.Since(start), string(all)
}

// between allows the janitor its round.
func between(t *testing.T, what string, got, want time.Duration) {
	t.Helper()
	if got < want || got > want+want/4 {
		t.Errorf("%s: ended after %v, want %v", what, got, want)
	}
}

var hello = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	_, _ = io.WriteString(w, "hello")
})

func virtual(t *testing.T, o h1.Options, h http.Handler, test func(p *pipes, s *h1.Server)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s, err := h1.New(o)
		if err != nil {
			t.Fatal(err)
		}
		p := newPipes()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx, []h1.Binding{{Listener: p, Handler: h}}) }()
		test(p, s)
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
}

func TestIdleConnectionIsClosed(t *testing.T) {
	virtual(t, h1.Options{Idle: time.Minute}, hello, func(p *pipes, _ *h1.Server) {
		c := p.dial()
		after, said := ends(c)
		between(t, "idle", after, time.Minute)
		if said != "" {
			t.Errorf("it said %q, want nothing", said)
		}
	})
}

// TestSlowHeaderIsAnswered408 however steadily it drips: the limit is for the whole header.
func TestSlowHeaderIsAnswered408(t *testing.T) {
	virtual(t, h1.Options{Header: 10 * time.Second}, hello, func(p *pipes, _ *h1.Server) {
		c := p.dial()
		done := make(chan struct{})
		go func() {
			defer close(done)
			for _, b := range []byte("GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("a", 1000)) {
				if _, err := c.Write([]byte{b}); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		}()
		after, said := ends(c)
		between(t, "header", after, 10*time.Second)
		if !strings.HasPrefix(said, "HTTP/1.1 408 ") {
			t.Errorf("it said %q, want 408", said)
		}
		_ = c.Close()
		<-done
	})
}

func TestBodyThatStandsStillEndsTheConnection(t *testing.T) {
	virtual(t, h1.Options{Stall: 30 * time.Second}, hello, func(p *pipes, _ *h1.Server) {
		c := p.dial()
		go func() { _, _ = io.WriteString(c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhe") }()
		after, _ := ends(c)
		between(t, "body", after, 30*time.Second)
	})
}

func TestClientThatTakesNothingIsCutOff(t *testing.T) {
	var over chan error // made in the bubble
	virtual(t, h1.Options{Stall: 30 * time.Second}, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		var err error
		for err == nil {
			_, err = w.Write(make([]byte, 64<<10))
		}
		over <- err
	}), func(p *pipes, _ *h1.Server) {
		over = make(chan error, 1)
		c := p.dial()
		start := time.Now()
		if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if err := <-over; err == nil {
			t.Error("writing goes on")
		}
		between(t, "write", time.Since(start), 30*time.Second)
		_ = c.Close()
	})
}

// TestLongestIdleGoesFirst when there are too many connections; those at work stay, and if all are at work the new one
// is refused.
func TestLongestIdleGoesFirst(t *testing.T) {
	var hold chan struct{} // made in the bubble
	reg := prometheus.NewRegistry()
	virtual(t, h1.Options{MaxConns: 3, Registerer: reg}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/hold" {
			<-hold
		}
		_, _ = io.WriteString(w, "hello")
	}), func(p *pipes, _ *h1.Server) {
		hold = make(chan struct{})
		first := p.dial()
		time.Sleep(5 * time.Second)
		second := p.dial()
		time.Sleep(5 * time.Second)
		work := func() net.Conn {
			c := p.dial()
			go func() { _, _ = io.WriteString(c, "GET /hold HTTP/1.1\r\nHost: a\r\n\r\n") }()
			synctest.Wait()
			return c
		}
		third := work()
		fourth := work() // in the first one's place
		if after, _ := ends(first); after > 0 {
			t.Errorf("the first connection ended after %v", after)
		}
		fifth := work() // in the second one's place
		if after, _ := ends(second); after > 0 {
			t.Errorf("the second connection ended after %v", after)
		}
		if after, said := ends(p.dial()); after > 0 || said != "" {
			t.Errorf("one too many: %q after %v, want it closed at once", said, after)
		}
		close(hold)
		for _, c := range []net.Conn{third, fourth, fifth} {
			if resp, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || resp.StatusCode != http.StatusOK {
				t.Errorf("a connection at work: %v", err)
			} else {
				_ = resp.Body.Close()
			}
		}
	})
	if got := metric(t, reg, "popd_connections_ended_total", "evicted"); got != 2 {
		t.Errorf("%v connections count as evicted, want 2", got)
	}
	if got := metric(t, reg, "popd_connections_ended_total", "refused"); got != 1 {
		t.Errorf("%v connections count as refused, want 1", got)
	}
}

// metric reads a counter by its only label's value.
func metric(t *testing.T, reg *prometheus.Registry, name, label string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && (len(m.GetLabel()) == 0 || m.GetLabel()[0].GetValue() == label) {
				return m.GetCounter().GetValue()
			}
		}
	}
	return 0
}

// TestClientThatLeavesEndsTheRequest: its context is done at once, also after a body.
func TestClientThatLeavesEndsTheRequest(t *testing.T) {
	for _, request := range []string{"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhe"} {
		var began, over chan struct{} // made in the bubble
		virtual(t, h1.Options{}, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			ctx, cancel := context.WithCancel(r.Context()) // asks before the body has been read
			defer cancel()
			_, _ = io.Copy(io.Discard, r.Body)
			close(began)
			<-ctx.Done()
			close(over)
		}), func(p *pipes, _ *h1.Server) {
			began, over = make(chan struct{}), make(chan struct{})
			c := p.dial()
			_, _ = io.WriteString(c, request)
			<-began
			synctest.Wait()
			select {
			case <-over:
				t.Errorf("%q: over while the client is there", request)
			default:
			}
			_ = c.Close()
			<-over
		})
	}
}

// TestPipelinedRequestsAreAnsweredInOrder, also when a watch for the client's leaving has read into the next one.
func TestPipelinedRequestsAreAnsweredInOrder(t *testing.T) {
	virtual(t, h1.Options{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.Context().Done()
		time.Sleep(time.Second)
		_, _ = io.WriteString(w, r.URL.Path)
	}), func(p *pipes, _ *h1.Server) {
		c := p.dial()
		go func() {
			for _, part := range []string{"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGE", "T /2 HTTP/1.1\r\nHo", "st: a\r\n\r\nGET /3 HTTP/1.1\r\nHost: a\r\n\r\n"} {
				_, _ = io.WriteString(c, part)
			}
		}()
		r := bufio.NewReader(c)
		for _, want := range []string{"/1", "/2", "/3"} {
			resp, err := http.ReadResponse(r, nil)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if string(body) != want {
				t.Errorf("got %q, want %q", body, want)
			}
		}
		_ = c.Close()
	})
}

// TestExpectContinue (RFC 9110 §10.1.1): 100 comes when the Handler reads, and not if it answers without.
func TestExpectContinue(t *testing.T) {
	virtual(t, h1.Options{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/read" {
			_, _ = io.Copy(w, r.Body)
		}
	}), func(p *pipes, _ *h1.Server) {
		for path, want := range map[string]string{"/read": "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n", "/refuse": "HTTP/1.1 200 OK\r\n"} {
			c := p.dial()
			_, _ = io.WriteString(c, "POST "+path+" HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
			got := make([]byte, len(want))
			if path == "/read" {
				first := make([]byte, len("HTTP/1.1 100 Continue\r\n\r\n"))
				if _, err := io.ReadFull(c, first); err != nil {
					t.Fatal(err)
				}
				_, _ = io.WriteString(c, "he")
				copy(got, first)
				got = got[:len(first)]
			}
			_, said := ends(c)
			all := string(got[:0]) + said
			if path == "/read" {
				all = string(got) + said
			}
			if !strings.HasPrefix(all, want) || path == "/refuse" && !strings.Contains(all, "Connection: close") {
				t.Errorf("%s: %q, want %q…", path, all, want)
			}
			_ = c.Close()
		}
	})
}

func TestDrainingSaysClose(t *testing.T) {
	virtual(t, h1.Options{}, hello, func(p *pipes, s *h1.Server) {
		s.SetDraining(true)
		c := p.dial()
		_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		if _, said := ends(c); !strings.Contains(said, "Connection: close\r\n") {
			t.Errorf("%q", said)
		}
	})
}

// TestHijack: what was read of the new protocol comes first.
func TestHijack(t *testing.T) {
	virtual(t, h1.Options{}, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		line, _ := rw.ReadString('\n')
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\n\r\n"+line)
	}), func(p *pipes, _ *h1.Server) {
		c := p.dial()
		_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nping\n")
		if _, said := ends(c); !strings.HasSuffix(said, "\r\n\r\nping\n") {
			t.Errorf("%q", said)
		}
	})
}
