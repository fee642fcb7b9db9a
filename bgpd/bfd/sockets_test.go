//go:build linux

package bfd

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// within bounds what a test waits for.
const within = 20 * time.Second

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for began := time.Now(); !ok(); time.Sleep(ms) {
		if time.Since(began) > within {
			t.Fatalf("%s: not within %v", what, within)
		}
	}
}

// freePort is a UDP port that no address of this host has taken.
func freePort(t *testing.T) uint16 {
	t.Helper()
	var lc net.ListenConfig
	c, err := lc.ListenPacket(t.Context(), "udp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).AddrPort().Port()
}

// running is an endpoint on the loopback interface with one session, until the test ends or stop is called.
func running(t *testing.T, port uint16, local, remote string, interval time.Duration) (e *Endpoint, stop func()) {
	t.Helper()
	e, err := New(Options{Port: port})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Set([]Peer{{Name: remote, Local: netip.MustParseAddr(local), Remote: netip.MustParseAddr(remote), Timing: Timing{Interval: interval}}}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	stop = func() {
		cancel()
		if err, open := <-done; open && err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		default:
		}
	})
	return e, stop
}

func state(e *Endpoint) State {
	if all := e.Sessions(); len(all) == 1 {
		return all[0].State
	}
	return AdminDown
}

func TestSocketsOnLoopback(t *testing.T) {
	port := freePort(t)
	a, stopA := running(t, port, "127.71.0.1", "127.71.0.2", 20*ms)
	b, stopB := running(t, port, "127.71.0.2", "127.71.0.1", 20*ms)
	await(t, "both up", func() bool { return state(a) == Up && state(b) == Up })
	await(t, "packets", func() bool { return count(t, a.m.received) > 20 })
	stopB()
	await(t, "a is told", func() bool {
		all := a.Sessions()
		return all[0].State == Down && all[0].RemoteState == AdminDown && !all[0].Failed
	})
	await(t, "nobody there", func() bool { return strings.Contains(a.Sessions()[0].Error, "nobody listens") })
	stopA()
}

// RFC 5881 §5: what has been over a router is not taken, and our own packets leave with the largest TTL.
func TestSocketsMindTheTTL(t *testing.T) {
	port := freePort(t)
	a, stop := running(t, port, "127.71.1.1", "127.71.1.2", 20*ms)
	defer stop()
	await(t, "the listener", func() bool { return count(t, a.m.sent) > 0 })
	var d net.Dialer
	d.LocalAddr = &net.UDPAddr{IP: net.IPv4(127, 71, 1, 2)}
	c, err := d.DialContext(t.Context(), "udp", netip.AddrPortFrom(netip.MustParseAddr("127.71.1.1"), port).String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	p := from(Down, slow)
	if _, err := c.Write(p.Append(nil)); err != nil { // with the system's TTL of 64
		t.Fatal(err)
	}
	await(t, "the discard", func() bool { return count(t, a.m.discarded.WithLabelValues(string(BadTTL))) == 1 })
	if state(a) != Down {
		t.Errorf("a is %s", state(a))
	}
}

func TestSocketsSayWhatIsWrong(t *testing.T) {
	a, stop := running(t, freePort(t), "192.0.2.77", "192.0.2.78", 20*ms)
	defer stop()
	await(t, "an error", func() bool {
		all := a.Sessions()
		return len(all) == 1 && strings.Contains(all[0].Error, "listen for BFD on 192.0.2.77")
	})
}

// Packets cost the process no memory, so that they never cause a collection.
func TestPacketsAllocateNothing(t *testing.T) {
	port := freePort(t)
	b, stop := running(t, port, "127.71.3.2", "127.71.3.1", 10*ms)
	defer stop()
	e, err := New(Options{Port: port})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Set([]Peer{{Name: "b", Local: netip.MustParseAddr("127.71.3.1"), Remote: netip.MustParseAddr("127.71.3.2"), Timing: Timing{Interval: 10 * ms}}}); err != nil {
		t.Fatal(err)
	}
	s, err := openSockets(port)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	l := newLoop(e, s)
	l.apply(e.want, time.Now())
	turn := func() {
		now := time.Now()
		l.receive()
		l.advance(now)
		l.publish()
		s.Wait(l.next())
	}
	await(t, "both up", func() bool { turn(); return state(e) == Up && state(b) == Up && l.live[0].s.Detection() == 30*ms })
	if n := testing.AllocsPerRun(100, turn); n >= 1 {
		t.Errorf("%v allocations a packet", n)
	}
}
