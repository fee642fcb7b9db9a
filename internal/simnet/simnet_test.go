package simnet_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/catchment-net/catchment/internal/simnet"
)

var (
	a = netip.MustParseAddr("192.0.2.1")
	b = netip.MustParseAddr("2001:db8::2")
)

const delay = 30 * time.Millisecond

func packetConn(t *testing.T, n *simnet.Network, at netip.Addr) net.PacketConn {
	t.Helper()
	c, err := n.Host(at).ListenPacket(t.Context(), "udp", netip.AddrPortFrom(at, 0).String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wrote checks the results of a write: wrote(t)(conn.Write(b)).
func wrote(t *testing.T) func(int, error) {
	t.Helper()
	return func(_ int, err error) {
		t.Helper()
		must(t, err)
	}
}

func TestPacketsTakeTheLinksDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := simnet.New(1, simnet.Link{Delay: time.Hour})
		n.SetLink(b, a, simnet.Link{Delay: delay})
		from, to := packetConn(t, n, a), packetConn(t, n, b)
		began := time.Now()
		if _, err := from.WriteTo([]byte("hello"), to.LocalAddr()); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 10)
		size, addr, err := to.ReadFrom(buf)
		if err != nil || string(buf[:size]) != "hello" || addr.String() != from.LocalAddr().String() || time.Since(began) != delay {
			t.Errorf("got %q from %v after %v, %v", buf[:size], addr, time.Since(began), err)
		}
	})
}

func TestPacketsAreLostAsOftenAsTheLinkSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := simnet.New(1, simnet.Link{Loss: 0.25})
		from, to := packetConn(t, n, a), packetConn(t, n, b)
		for range 2000 {
			wrote(t)(from.WriteTo([]byte("x"), to.LocalAddr()))
		}
		must(t, to.SetReadDeadline(time.Now().Add(time.Second)))
		got := 0
		for {
			if _, _, err := to.ReadFrom(make([]byte, 1)); err != nil {
				if !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("end of reading: got %v, want the deadline", err)
				}
				break
			}
			got++
		}
		if got < 1400 || got > 1600 {
			t.Errorf("of 2000 packets at 25 %% loss %d arrived", got)
		}
	})
}

func TestPartitionLosesPacketsAndHoldsStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := simnet.New(1, simnet.Link{Delay: delay})
		client, server := connect(t, n)
		from, to := packetConn(t, n, a), packetConn(t, n, b)
		n.Partition([]netip.Addr{a})
		wrote(t)(from.WriteTo([]byte("lost"), to.LocalAddr()))
		if _, err := client.Write([]byte("held")); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := n.Host(a).DialContext(ctx, "tcp", server.LocalAddr().String()); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("dial across the cut: got %v, want the deadline", err)
		}
		must(t, server.SetReadDeadline(time.Now().Add(time.Second)))
		if _, err := server.Read(make([]byte, 10)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read across the cut: got %v, want the deadline", err)
		}
		must(t, server.SetReadDeadline(time.Time{}))
		time.AfterFunc(time.Minute, n.Heal)
		buf := make([]byte, 10)
		if size, err := server.Read(buf); err != nil || string(buf[:size]) != "held" {
			t.Errorf("after healing: got %q, %v", buf[:size], err)
		}
		must(t, to.SetReadDeadline(time.Now().Add(time.Second)))
		if size, _, err := to.ReadFrom(buf); err == nil {
			t.Errorf("a packet came through the cut: %q", buf[:size])
		}
	})
}

// connect makes a stream from a to b.
func connect(t *testing.T, n *simnet.Network) (client, server net.Conn) {
	t.Helper()
	l, err := n.Host(b).Listen(t.Context(), "tcp", netip.AddrPortFrom(b, 0).String())
	if err != nil {
		t.Fatal(err)
	}
	if client, err = n.Host(a).DialContext(t.Context(), "tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if server, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		client.Close()
		server.Close()
		l.Close()
	})
	return client, server
}

func TestStreamsKeepTheirOrderAndEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := simnet.New(1, simnet.Link{Delay: delay, Loss: 0.5})
		began := time.Now()
		client, server := connect(t, n)
		if took := time.Since(began); took != 2*delay {
			t.Errorf("connecting took %v, want a round trip", took)
		}
		for _, part := range []string{"one ", "two ", "three"} {
			wrote(t)(client.Write([]byte(part)))
		}
		client.Close()
		got, err := io.ReadAll(server)
		if string(got) != "one two three" || err != nil || time.Since(began) != 3*delay {
			t.Errorf("got %q, %v after %v", got, err, time.Since(began))
		}
		if _, err := server.Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("write to a closed end: got %v", err)
		}
		if _, err := client.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("read from the closed end: got %v", err)
		}
	})
}

func TestAStreamThatNobodyReadsFillsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := connect(t, simnet.New(1, simnet.Link{Delay: delay}))
		must(t, client.SetWriteDeadline(time.Now().Add(time.Second)))
		part := make([]byte, 64<<10)
		sum := 0
		for {
			size, err := client.Write(part)
			sum += size
			if err != nil {
				if !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("got %v, want the deadline", err)
				}
				break
			}
		}
		client.Close()
		if got, err := io.Copy(io.Discard, server); got != int64(sum) || err != nil {
			t.Errorf("read %d of %d bytes, %v", got, sum, err)
		}
	})
}

func TestErrorsAreThoseOfARealHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := simnet.New(1, simnet.Link{Delay: delay})
		if _, err := n.Host(a).DialContext(t.Context(), "tcp", "192.0.2.9:80"); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("nobody listens: got %v, want connection refused", err)
		}
		first, err := n.Host(a).Listen(t.Context(), "tcp", "192.0.2.1:80")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := n.Host(a).Listen(t.Context(), "tcp", "192.0.2.1:80"); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("listening twice: got %v, want address in use", err)
		}
		first.Close()
		if _, err := first.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("accept after close: got %v", err)
		}
		again, err := n.Host(a).Listen(t.Context(), "tcp", "192.0.2.1:80")
		if err != nil {
			t.Fatalf("listening after close: %v", err)
		}
		again.Close()
	})
}
