package fabric

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// within ends after d of virtual time.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

func listen(t *testing.T, h host, address string) net.Listener {
	t.Helper()
	l, err := h.Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// serve answers every connection with fn, until the listener is closed.
func serve(l net.Listener, fn func(net.Conn)) {
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go fn(c)
		}
	}()
}

// echo sends back what it reads, and then its FIN.
func echo(c net.Conn) {
	_, _ = io.Copy(c, c)
	c.Close()
}

func dial(t *testing.T, h host, address string) net.Conn {
	t.Helper()
	c, err := h.DialContext(within(t, time.Minute), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestHandshakeTakesOneRoundTripAndDataOneWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newModel().fabric(t, Options{})
		l := listen(t, at(f, "origin.shop.example"), "203.0.113.129:80")
		serve(l, echo)
		start := time.Now()
		c := dial(t, at(f, "berlin"), "203.0.113.129:80")
		defer c.Close()
		if got, want := time.Since(start), 10*time.Millisecond; got != want {
			t.Errorf("connected after %v, want %v", got, want)
		}
		if got := c.LocalAddr().(*net.TCPAddr).IP.String(); got != "198.51.100.1" {
			t.Errorf("source %v, want the network's first host", got)
		}
		if got := c.RemoteAddr().String(); got != "203.0.113.129:80" {
			t.Errorf("remote %v", got)
		}
		if _, err := c.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		var b [16]byte
		n, err := c.Read(b[:])
		if err != nil || string(b[:n]) != "hello" {
			t.Fatalf("got %q, %v", b[:n], err)
		}
		if got, want := time.Since(start), 20*time.Millisecond; got != want {
			t.Errorf("answered after %v, want %v", got, want)
		}
	})
}

func TestDialFailsAsOnAHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newModel()
		f := m.fabric(t, Options{})
		m.routers["arc"].withdraw("203.0.113.32/28")
		if err := f.Blackhole("tokyo -> bolt"); err != nil {
			t.Fatal(err)
		}
		for _, row := range []struct {
			name, from, to string
			want           error
			after          time.Duration
		}{
			{"nobody listens", "berlin", "203.0.113.129:81", syscall.ECONNREFUSED, 10 * time.Millisecond},
			{"a router on the way has no route", "berlin", "203.0.113.33:80", syscall.EHOSTUNREACH, 10 * time.Millisecond},
			{"its own router has none", "berlin", "8.8.8.8:80", syscall.EHOSTUNREACH, 0},
			{"no address of that family", "tokyo", "[2001:db8:e1::1]:80", syscall.ENETUNREACH, 0},
			{"everything is swallowed", "tokyo", "203.0.113.129:80", os.ErrDeadlineExceeded, 60 * time.Second},
			{"no such name", "berlin", "www.shop.example:80", &net.DNSError{}, 0},
		} {
			start := time.Now()
			_, err := at(f, row.from).DialContext(within(t, time.Minute), "tcp", row.to)
			if want := new(net.DNSError); errors.As(row.want, &want) {
				if !errors.As(err, &want) || !want.IsNotFound {
					t.Errorf("%s: got %v, want no such host", row.name, err)
				}
			} else if !errors.Is(err, row.want) {
				t.Errorf("%s: got %v, want %v", row.name, err, row.want)
			}
			var op *net.OpError
			if !errors.As(err, &op) || op.Op != "dial" {
				t.Errorf("%s: %T is no *net.OpError of dial", row.name, err)
			}
			if got := time.Since(start); got != row.after {
				t.Errorf("%s: after %v, want %v", row.name, got, row.after)
			}
		}
	})
}

func TestDialSucceedsByALaterSYN(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newModel().fabric(t, Options{})
		serve(listen(t, at(f, "origin.shop.example"), "203.0.113.129:80"), echo)
		if err := f.Blackhole("berlin -> arc"); err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(1500*time.Millisecond, func() { _ = f.HealLink("berlin -> arc") })
		start := time.Now()
		dial(t, at(f, "berlin"), "203.0.113.129:80").Close()
		if got, want := time.Since(start), 3010*time.Millisecond; got != want {
			t.Errorf("connected after %v, want %v: SYNs at 0, 1 and 3 s", got, want)
		}
	})
}

func TestNamesAreTriedIPv6FirstThenIPv4(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newModel()
		f := m.fabric(t, Options{})
		l4 := listen(t, at(f, "origin.shop.example"), "203.0.113.129:80")
		serve(l4, echo)
		connect := func() (string, time.Duration) {
			start := time.Now()
			c := dial(t, at(f, "ams1"), "Origin.Shop.Example.:80")
			defer c.Close()
			return c.RemoteAddr().String(), time.Since(start)
		}
		if got, took := connect(); got != "203.0.113.129:80" || took != 12*time.Millisecond {
			t.Errorf("IPv6 refused: got %v after %v, want IPv4 at once, after 12ms", got, took)
		}
		serve(listen(t, at(f, "origin.shop.example"), "[2001:db8:e1::1]:80"), echo)
		if got, took := connect(); got != "[2001:db8:e1::1]:80" || took != 6*time.Millisecond {
			t.Errorf("both listen: got %v after %v, want IPv6 after 6ms", got, took)
		}
		m.routers["arc"].withdraw("2001:db8:a1::/48") // IPv6 gets there but not back
		f.RouteChanged()
		if got, took := connect(); got != "203.0.113.129:80" || took != fallbackDelay+6*time.Millisecond {
			t.Errorf("IPv6 silent: got %v after %v, want IPv4 after %v", got, took, fallbackDelay+6*time.Millisecond)
		}
	})
}

func TestHalfClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newModel().fabric(t, Options{})
		serve(listen(t, at(f, "origin.shop.example"), "203.0.113.129:80"), func(c net.Conn) {
			b, err := io.ReadAll(c) // ends by the client's FIN only
			if err == nil {
				_, _ = c.Write(append([]byte("got "), b...))
			}
			c.Close()
		})
		c := dial(t, at(f, "berlin"), "203.0.113.129:80").(*endConn)
		_, _ = c.Write([]byte("all"))
		if err := c.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write([]byte("more")); !errors.Is(err, syscall.EPIPE) {
			t.Errorf("write after CloseWrite: got %v, want EPIPE", err)
		}
		b, err := io.ReadAll(c)
		if err != nil || string(b) != "got all" {
			t.Errorf("got %q, %v", b, err)
		}
		c.Close()
		synctest.Wait()
		if n := flows(f); n != 0 {
			t.Errorf("%d flows are left", n)
		}
	})
}

func flows(f *Fabric) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.flows)
}

func TestMegabyteArrivesIntactUnderDelayJitterAndLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newModel()
		m.link("berlin -> arc").Jitter = 4 * time.Millisecond
		m.link("berlin -> arc").Loss = 0.05
		rng := rand.New(rand.NewPCG(1, 2))
		var mu atomic.Uint64 // a deterministic source that goroutines may share
		f := m.fabric(t, Options{Rand: func() float64 { return float64(mu.Add(0x9e3779b97f4a7c15)>>11) / (1 << 53) }})
		serve(listen(t, at(f, "origin.shop.example"), "203.0.113.129:80"), echo)
		body := make([]byte, 1<<20)
		for i := range body {
			body[i] = byte(rng.Uint32())
		}
		c := dial(t, at(f, "berlin"), "203.0.113.129:80").(*endConn)
		go func() {
			_, _ = c.Write(body)
			_ = c.CloseWrite()
		}()
		got, err := io.ReadAll(c)
		if err != nil || !bytes.Equal(got, body) {
			t.Errorf("%d of %d bytes came back, equal: %v, error %v", len(got), len(body), bytes.Equal(got, body), err)
		}
		c.Close()
	})
}

func TestRateHoldsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newModel()
		m.link("berlin -> arc").Rate = 8e6 // a megabyte a second
		f := m.fabric(t, Options{})
		serve(listen(t, at(f, "origin.shop.example"), "203.0.113.129:80"), func(c net.Conn) {
			_, _ = c.Write(make([]byte, 500_000))
			c.Close()
		})
		c := dial(t, at(f, "berlin"), "203.0.113.129:80")
		defer c.Close()
		start := time.Now()
		if n, err := io.Copy(io.Discard, c); n != 500_000 || err != nil {
			t.Fatalf("got %d bytes, %v", n, err)
		}
		if got := time.Since(start); got < 500*time.Millisecond || got > 600*time.Millisecond {
			t.Errorf("500 kB at 1 MB/s took %v, want a little over 500ms", got)
		}
	})
}

func TestAnycastMoveResetsTheFlowAndOnlyThat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newModel()
		f := m.fabric(t, Options{})
		ends := make(chan error, 1)
		for _, node := range []string{"ams1", "nyc1"} {
			serve(listen(t, at(f, node), anyWeb+":80"), func(c net.Conn) {
				defer c.Close()
				_, _ = c.Write([]byte(node))
				b, err := io.ReadAll(c)
				if err != nil {
					ends <- err
				}
				if node == "ams1" && string(b) != "early" {
					t.Errorf("%s got %q; what was sent after the move goes to the other node", node, b)
				}
			})
		}
		serve(listen(t, at(f, "ams1"), "203.0.113.1:80"), echo)
		greeting := func(c net.Conn) string {
			var b [8]byte
			n, _ := c.Read(b[:])
			return string(b[:n])
		}
		c := dial(t, at(f, "berlin"), anyWeb+":80")
		unicast := dial(t, at(f, "berlin"), "203.0.113.1:80")
		if got := greeting(c); got != "ams1" {
			t.Fatalf("landed at %q", got)
		}
		_, _ = c.Write([]byte("early"))
		m.routers["arc"].set("nyc1", any4)
		start := time.Now()
		f.RouteChanged()
		synctest.Wait()
		_, _ = c.Write([]byte("late"))
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("client got %v, want a reset", err)
		}
		// 45 ms to nyc, which says that it knows no such connection; the answer to berlin leaves from where the flow began.
		if got, want := time.Since(start), 53*time.Millisecond; got != want {
			t.Errorf("reset after %v, want %v", got, want)
		}
		if err := <-ends; !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("node got %v, want a reset", err)
		}
		if _, err := c.Write([]byte("x")); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("write after the reset: got %v", err)
		}
		c.Close()
		_, _ = unicast.Write([]byte("still"))
		if got := greeting(unicast); got != "still" {
			t.Errorf("the unicast flow got %q", got)
		}
		unicast.Close()
		c = dial(t, at(f, "berlin"), anyWeb+":80")
		if got := greeting(c); got != "nyc1" {
			t.Errorf("the next connection landed at %q, want nyc1", got)
		}
		c.Close()
	})
}

func TestFlowStallsAcrossABlackholeAndGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newModel().fabric(t, Options{})
		serve(listen(t, at(f, "origin.shop.example"), "203.0.113.129:80"), echo)
		c := dial(t, at(f, "berlin"), "203.0.113.129:80")
		defer c.Close()
		if err := f.Blackhole("berlin -> arc"); err != nil {
			t.Fatal(err)
		}
		_, _ = c.Write([]byte("held"))
		_ = c.SetReadDeadline(time.Now().Add(2 * time.Second))
		var b [8]byte
		if _, err := c.Read(b[:]); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("across a blackhole: got %v, want a timeout", err)
		}
		_ = c.SetReadDeadline(time.Time{})
		if err := f.HealLink("berlin -> arc"); err != nil {
			t.Fatal(err)
		}
		n, err := c.Read(b[:])
		if err != nil || string(b[:n]) != "held" {
			t.Errorf("after it was healed: got %q, %v", b[:n], err)
		}
	})
}

func TestCloseAndAbortAreToldApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newModel().fabric(t, Options{})
		l := listen(t, at(f, "origin.shop.example"), "203.0.113.129:80")
		got := make(chan error, 1)
		serve(l, func(c net.Conn) {
			_, err := io.ReadAll(c)
			got <- err
			c.Close()
		})
		for _, row := range []struct {
			name  string
			close func(*endConn)
			want  error
		}{
			{"Close is a FIN", func(c *endConn) { c.Close() }, nil},
			{"Close with linger 0 is a reset", func(c *endConn) { _ = c.SetLinger(0); c.Close() }, syscall.ECONNRESET},
		} {
			c := dial(t, at(f, "berlin"), "203.0.113.129:80").(*endConn)
			_, _ = c.Write([]byte("bytes"))
			row.close(c)
			if err := <-got; !errors.Is(err, row.want) {
				t.Errorf("%s: the other end got %v, want %v", row.name, err, row.want)
			}
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
				t.Errorf("%s: read after Close: %v", row.name, err)
			}
		}
	})
}

func TestOrphansDoNotStayForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newModel().fabric(t, Options{})
		l := listen(t, at(f, "origin.shop.example"), "203.0.113.129:80")
		c := dial(t, at(f, "berlin"), "203.0.113.129:80")
		c.Close() // the other end is never accepted: a frozen server
		time.Sleep(orphanLimit + time.Second)
		synctest.Wait()
		if n := flows(f); n != 0 {
			t.Errorf("%d flows are left", n)
		}
		l.Close()
	})
}

func TestListenerDeathRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newModel().fabric(t, Options{})
		origin := at(f, "origin.shop.example")
		l := listen(t, origin, "203.0.113.129:80")
		if _, err := origin.Listen(t.Context(), "tcp", "203.0.113.129:80"); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("a second listener: got %v, want EADDRINUSE", err)
		}
		if _, err := origin.Listen(t.Context(), "tcp", "203.0.113.1:80"); !errors.Is(err, syscall.EADDRNOTAVAIL) {
			t.Errorf("somebody else's address: got %v, want EADDRNOTAVAIL", err)
		}
		waiting := dial(t, at(f, "berlin"), "203.0.113.129:80") // in the backlog
		l.Close()
		if _, err := waiting.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("a connection that was not accepted: got %v, want a reset", err)
		}
		waiting.Close()
		if _, err := at(f, "berlin").DialContext(t.Context(), "tcp", "203.0.113.129:80"); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("got %v, want ECONNREFUSED", err)
		}
		listen(t, origin, "203.0.113.129:80") // free again
		if free := listen(t, origin, "203.0.113.129:0"); free.Addr().(*net.TCPAddr).Port < firstPort {
			t.Errorf("port 0 gave %v", free.Addr())
		}
	})
}

func TestDatagramsHaveDelayAndTellOfRefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newModel()
		f := m.fabric(t, Options{})
		pc, err := at(f, "ams1").ListenPacket(t.Context(), "udp", "192.0.2.53:53")
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			b := make([]byte, 512)
			for {
				n, from, err := pc.ReadFrom(b)
				if err != nil {
					return
				}
				_, _ = pc.WriteTo(append([]byte(from.String()+" "), b[:n]...), from)
			}
		}()
		ask := func(to string) (string, time.Duration, error) {
			c, err := at(f, "berlin").DialContext(t.Context(), "udp", to)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if _, ok := c.(net.PacketConn); !ok {
				t.Error("a DNS library would take this socket for a stream")
			}
			start := time.Now()
			_, _ = c.Write([]byte("who"))
			_ = c.SetReadDeadline(time.Now().Add(time.Second))
			b := make([]byte, 512)
			n, err := c.Read(b)
			got := string(b[:n])
			if err == nil && got != c.LocalAddr().String()+" who" {
				t.Errorf("%s answered %q to %v", to, got, c.LocalAddr())
			}
			return got, time.Since(start), err
		}
		if _, took, err := ask("192.0.2.53:53"); err != nil || took != 16*time.Millisecond {
			t.Errorf("answered after %v, %v; want 16ms", took, err)
		}
		if _, took, err := ask("192.0.2.53:54"); !errors.Is(err, syscall.ECONNREFUSED) || took != 16*time.Millisecond {
			t.Errorf("nobody listens: got %v after %v", err, took)
		}
		m.routers["arc"].withdraw(any4)
		f.RouteChanged()
		if _, took, err := ask("192.0.2.53:53"); !errors.Is(err, syscall.EHOSTUNREACH) || took != 10*time.Millisecond {
			t.Errorf("no route: got %v after %v", err, took)
		}
		if err := f.Blackhole("berlin -> arc"); err != nil {
			t.Fatal(err)
		}
		if _, _, err := ask("203.0.113.1:53"); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("swallowed: got %v", err)
		}
		pc.Close()
		if _, _, err := pc.ReadFrom(nil); !errors.Is(err, net.ErrClosed) {
			t.Errorf("read after Close: got %v", err)
		}
	})
}

func TestEndOfTheFabricEndsEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newModel()
		routers := map[string]Router{}
		for name, r := range m.routers {
			routers[name] = r
		}
		f, err := New(Options{Topology: m.topo, Routers: routers})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error)
		go func() { ended <- f.Run(ctx) }()
		<-f.Ready()
		l := listen(t, at(f, "origin.shop.example"), "203.0.113.129:80")
		c := dial(t, at(f, "berlin"), "203.0.113.129:80")
		pc, err := at(f, "berlin").ListenPacket(ctx, "udp", "198.51.100.1:0")
		if err != nil {
			t.Fatal(err)
		}
		results := make(chan error, 4)
		go func() { _, err := c.Read(make([]byte, 1)); results <- err }()
		go func() {
			for {
				if _, err := l.Accept(); err != nil {
					results <- err
					return
				}
			}
		}()
		go func() { _, _, err := pc.ReadFrom(nil); results <- err }()
		go func() {
			_, err := at(f, "berlin").DialContext(context.Background(), "tcp", "203.0.113.17:80")
			results <- err
		}()
		synctest.Wait()
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		for range cap(results) {
			if err := <-results; err == nil {
				t.Error("something went on after the end")
			}
		}
		if _, err := at(f, "berlin").DialContext(context.Background(), "tcp", "203.0.113.129:80"); !errors.Is(err, net.ErrClosed) {
			t.Errorf("dial after the end: got %v, want net.ErrClosed", err)
		}
		if err := f.Run(context.Background()); err == nil {
			t.Error("a second Run went through")
		}
	})
}
