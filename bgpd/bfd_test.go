package bgpd

import (
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/ipv4"

	"github.com/catchment-net/catchment/bgpd/bfd"
	"github.com/catchment-net/catchment/bgpd/speaker"
	"github.com/catchment-net/catchment/internal/event"
)

// responder is a neighbour's BFD, which can be made to say and hear nothing.
type responder struct {
	silent atomic.Bool
	leaves atomic.Bool // it ends the session on purpose
}

// every is the responder's interval and ours: so long that a busy machine is no dead path.
const every = 300 * time.Millisecond

// newResponder answers at here's port until the test ends. It sends from a socket of its own, as BFD does.
func newResponder(t *testing.T, here, there netip.Addr) (r *responder, port uint16) {
	t.Helper()
	var lc net.ListenConfig
	c, err := lc.ListenPacket(t.Context(), "udp", netip.AddrPortFrom(here, 0).String())
	if err != nil {
		t.Fatal(err)
	}
	port = c.LocalAddr().(*net.UDPAddr).AddrPort().Port()
	out, err := net.DialUDP("udp", &net.UDPAddr{IP: here.AsSlice()}, &net.UDPAddr{IP: there.AsSlice(), Port: int(port)})
	if err != nil {
		t.Fatal(err)
	}
	if err := ipv4.NewConn(out).SetTTL(255); err != nil {
		t.Fatal(err)
	}
	s, err := bfd.NewSession(bfd.Timing{Interval: every}, 7, rand.Float64, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	r = &responder{}
	done := make(chan struct{})
	t.Cleanup(func() {
		c.Close()
		<-done
		out.Close()
	})
	go func() {
		defer close(done)
		buf := make([]byte, 100)
		for {
			if err := c.SetReadDeadline(time.Now().Add(5 * time.Millisecond)); err != nil {
				return
			}
			n, _, err := c.ReadFrom(buf)
			if r.silent.Load() {
				continue
			}
			if r.leaves.Load() {
				s.Stop(time.Now())
			}
			if p, why := bfd.Parse(buf[:n]); err == nil && why == bfd.Taken {
				s.Receive(p, time.Now())
			}
			for p, ok := s.Advance(time.Now()); ok; p, ok = s.Advance(time.Now()) {
				_, _ = out.Write(p.Append(nil))
			}
		}
	}()
	return r, port
}

// watchedServer is a server whose only neighbour is watched, and what the neighbour sees of it.
func watchedServer(t *testing.T, block byte, prepare ...func(*responder)) (s *Server, p *peer, r *responder, ring *event.Ring) {
	t.Helper()
	here, there := netip.AddrFrom4([4]byte{127, 66, block, 1}), netip.AddrFrom4([4]byte{127, 66, block, 2})
	p = newPeer(t, here, there, 64500, "")
	r, port := newResponder(t, here, there)
	for _, f := range prepare {
		f(r)
	}
	ring = event.NewRing(event.Options{Node: "ams1"})
	topo := network()
	s, _ = together(t, p, Options{
		Node: "ams1", Neighbors: []speaker.Neighbor{{Name: "arc", Address: here, Port: p.speaker.Addrs()[0].Port(), ASN: 64496, Local: there}},
		BFD: map[netip.Addr]time.Duration{here: every}, bfdPort: port, Events: ring,
	}, topo)
	s.SetView(fleet(topo, up))
	return s, p, r, ring
}

// is reports whether the path and the session are so.
func is(s *Server, path string, established bool) func() bool {
	return func() bool {
		n := s.Neighbors()
		return len(n) == 1 && n[0].BFD != nil && n[0].BFD.State == path && (n[0].State == string(speaker.Established)) == established
	}
}

func TestSilentPathEndsTheSession(t *testing.T) {
	s, p, r, ring := watchedServer(t, 31)
	await(t, "path and session", is(s, "up", true))
	await(t, "the routes", p.shows(everything...))

	r.silent.Store(true)
	await(t, "the session's end", is(s, "down", false))
	await(t, "the routes' end", p.shows())
	n := s.Neighbors()[0]
	if !n.BFD.Held || n.BFD.Diagnostic != "control detection time expired" || !strings.Contains(n.Error, "BFD: control detection time expired") {
		t.Errorf("got %+v, BFD %+v", n, n.BFD)
	}
	// TCP works still, and the neighbour tries; without a path that BFD trusts there is no session.
	for began := time.Now(); time.Since(began) < 500*time.Millisecond; time.Sleep(5 * time.Millisecond) {
		if !is(s, "down", false)() {
			t.Fatalf("a session over a dead path: %+v", s.Neighbors()[0])
		}
	}
	r.silent.Store(false)
	await(t, "path and session again", is(s, "up", true))
	await(t, "the routes again", p.shows(everything...))
	if n := s.Neighbors()[0]; n.Error != "" || n.BFD.Held || n.BFD.Downs == 0 {
		t.Errorf("got %+v, BFD %+v", n, n.BFD)
	}
	var got []string
	events, _, _ := ring.After(0)
	for _, e := range events {
		if e.Kind == event.Path {
			got = append(got, e.Subject+" "+e.State)
		}
	}
	if len(got) < 3 || got[0] != "arc up" || !slices.Contains(got, "arc down") {
		t.Errorf("events of the path: %q", got)
	}
}

// RFC 5882 §4.1: a neighbour that ends BFD on purpose says nothing about the path.
func TestBFDEndedOnPurposeKeepsTheSession(t *testing.T) {
	s, p, r, _ := watchedServer(t, 32)
	await(t, "path and session", is(s, "up", true))
	r.leaves.Store(true)
	await(t, "the end of BFD alone", is(s, "down", true))
	if n := s.Neighbors()[0]; n.Downs != 0 || n.BFD.RemoteState != "admin-down" || n.BFD.Held {
		t.Errorf("got %+v, BFD %+v", n, n.BFD)
	}
	await(t, "the routes", p.shows(everything...))
}

// A neighbour that never speaks BFD gets a session as ever.
func TestNeighborWithoutBFD(t *testing.T) {
	s, p, _, _ := watchedServer(t, 33, func(r *responder) { r.silent.Store(true) })
	await(t, "a session without BFD", p.shows(everything...))
	if n := s.Neighbors()[0]; !is(s, "down", true)() || n.BFD.Held || n.BFD.Downs != 0 {
		t.Errorf("got %+v, BFD %+v", n, n.BFD)
	}
}

func TestBFDOptionsAreChecked(t *testing.T) {
	addr := netip.MustParseAddr("127.66.34.1")
	for _, tt := range []struct {
		every    time.Duration
		multihop uint8
		want     string
	}{
		{time.Millisecond, 0, `bfd with "arc": interval 1ms: want 10ms to 10s`},
		{time.Second, 2, `neighbor "arc": BFD with multihop 2`},
	} {
		s, err := New(Options{
			Node: "ams1", Neighbors: []speaker.Neighbor{{Name: "arc", Address: addr, ASN: 64496, Multihop: tt.multihop}},
			BFD: map[netip.Addr]time.Duration{addr: tt.every},
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Apply(network()); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("got %v, want %q", err, tt.want)
		}
	}
}
