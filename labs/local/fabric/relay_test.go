package fabric

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"testing"
	"time"
)

// speaker is a passive BGP speaker as far as a relay can see: it says OPEN when called, unless it is frozen, and then
// KEEPALIVE every 5 ms, and gives up when it has not heard one for its hold time.
type speaker struct {
	Speaker
	l      net.Listener
	frozen atomic.Bool
	calls  chan string // the caller's address and what it said first
	ended  chan string // why a session ended
}

func newSpeaker(t *testing.T, name, address string, hold time.Duration) *speaker {
	t.Helper()
	l, err := net.Listen("tcp", address+":0")
	if err != nil {
		t.Fatal(err)
	}
	s := &speaker{l: l, calls: make(chan string, 100), ended: make(chan string, 100)}
	s.Speaker = Speaker{Name: name, Addr: netip.MustParseAddr(address), Port: func() (uint16, bool) {
		return uint16(l.Addr().(*net.TCPAddr).Port), true
	}}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if !s.frozen.Load() {
				go s.session(c, hold)
			}
		}
	}()
	return s
}

func (s *speaker) session(c net.Conn, hold time.Duration) {
	defer c.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	fmt.Fprintf(c, "OPEN %s\n", s.Name)
	r := bufio.NewReader(c)
	_ = c.SetReadDeadline(time.Now().Add(limit))
	line, err := r.ReadString('\n')
	if err != nil {
		s.ended <- "before OPEN: " + err.Error()
		return
	}
	s.calls <- c.RemoteAddr().(*net.TCPAddr).IP.String() + " " + line[:len(line)-1]
	go func() {
		for ctx.Err() == nil {
			if _, err := c.Write([]byte("KEEPALIVE\n")); err != nil {
				return
			}
			time.Sleep(hold / 20) // the protocol's own timer, not a look
		}
	}()
	for {
		_ = c.SetReadDeadline(time.Now().Add(hold))
		if _, err := r.ReadString('\n'); err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				s.ended <- "hold timer"
			} else {
				s.ended <- "closed"
			}
			return
		}
	}
}

func next(t *testing.T, ch <-chan string, what string) string {
	t.Helper()
	select {
	case s := <-ch:
		return s
	case <-time.After(limit):
		t.Fatalf("not within %v: %s", limit, what)
		return ""
	}
}

// relayed runs a fabric with one session between ams1 and arc.
func relayed(t *testing.T, hold time.Duration) (f *Fabric, node, router *speaker) {
	t.Helper()
	m := newModel()
	node, router = newSpeaker(t, "ams1", "127.64.0.21", hold), newSpeaker(t, "arc", "127.64.0.22", hold)
	routers := map[string]Router{}
	for name, r := range m.routers {
		routers[name] = r
	}
	f, err := New(Options{Topology: m.topo, Routers: routers})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.AddBGP(Adjacency{Link: m.link("ams -> arc"), A: node.Speaker, B: router.Speaker}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return f, node, router
}

func established(t *testing.T, node, router *speaker) {
	t.Helper()
	if got, want := next(t, node.calls, "the node was called"), "127.64.0.22 OPEN arc"; got != want {
		t.Errorf("the node's caller: got %q, want %q", got, want)
	}
	if got, want := next(t, router.calls, "the router was called"), "127.64.0.21 OPEN ams1"; got != want {
		t.Errorf("the router's caller: got %q, want %q", got, want)
	}
}

func TestRelayJoinsTwoPassiveSpeakers(t *testing.T) {
	f, node, router := relayed(t, 5*time.Second)
	established(t, node, router)
	eventually(t, "ams1 has a default route", func() bool { return f.Path("ams1", addr("203.0.113.129")).Good() })

	if err := f.Cut("ams -> arc"); err != nil {
		t.Fatal(err)
	}
	for _, s := range []*speaker{node, router} {
		if got := next(t, s.ended, "the cut ends the session"); got != "closed" {
			t.Errorf("%s: the session ended by %q, want closed at once", s.Name, got)
		}
	}
	if p := f.Path("ams1", addr("203.0.113.129")); p.NoPath == "" {
		t.Errorf("ams1 still has a way out: %v", p.Hops)
	}
	if err := f.HealLink("ams -> arc"); err != nil {
		t.Fatal(err)
	}
	established(t, node, router)
}

func TestRelayHoldsSilentAcrossABlackhole(t *testing.T) {
	f, node, router := relayed(t, 400*time.Millisecond)
	established(t, node, router)
	if err := f.Blackhole("ams -> arc"); err != nil {
		t.Fatal(err)
	}
	for _, s := range []*speaker{node, router} {
		if got := next(t, s.ended, "the hold timer"); got != "hold timer" {
			t.Errorf("%s: the session ended by %q, want its hold timer", s.Name, got)
		}
	}
	eventually(t, "the node gives the way up", func() bool { return f.Path("ams1", addr("203.0.113.129")).NoPath != "" })
	if err := f.HealLink("ams -> arc"); err != nil {
		t.Fatal(err)
	}
	established(t, node, router)
}

func TestRelaySurvivesAShortBlackhole(t *testing.T) {
	f, node, router := relayed(t, 10*time.Second)
	established(t, node, router)
	if err := f.Blackhole("ams -> arc"); err != nil {
		t.Fatal(err)
	}
	if err := f.HealLink("ams -> arc"); err != nil {
		t.Fatal(err)
	}
	// The session is the old one: a cut ends it, and until then nobody called again.
	if err := f.Cut("ams -> arc"); err != nil {
		t.Fatal(err)
	}
	next(t, node.ended, "the cut")
	if len(node.calls)+len(router.calls) != 0 {
		t.Error("the session was set up anew")
	}
}

func TestFrozenNodeDoesNotBotherItsRouter(t *testing.T) {
	f, node, router := relayed(t, 5*time.Second)
	established(t, node, router)
	node.frozen.Store(true)
	if err := f.Cut("ams -> arc"); err != nil {
		t.Fatal(err)
	}
	next(t, router.ended, "the cut")
	if err := f.HealLink("ams -> arc"); err != nil {
		t.Fatal(err)
	}
	r := f.adjacencies.all[[2]string{"ams1", "arc"}]
	eventually(t, "the frozen node is called", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.legs) == 1
	})
	if len(router.calls) != 0 || len(router.ended) != 0 {
		t.Error("the router was called although the node is frozen")
	}
}

func TestAddBGPRefusesWhatDoesNotFit(t *testing.T) {
	m := newModel()
	routers := map[string]Router{}
	for name, r := range m.routers {
		routers[name] = r
	}
	f, err := New(Options{Topology: m.topo, Routers: routers})
	if err != nil {
		t.Fatal(err)
	}
	port := func() (uint16, bool) { return 0, false }
	a, b := Speaker{"ams1", addr("127.64.0.2"), port}, Speaker{"arc", addr("127.64.0.3"), port}
	good := Adjacency{Link: m.link("ams -> arc"), A: a, B: b}
	for name, bad := range map[string]Adjacency{
		"no link":        {A: a, B: b},
		"wrong end":      {Link: m.link("nyc -> arc"), A: a, B: b},
		"no address":     {Link: good.Link, A: a, B: Speaker{Name: "arc", Port: port}},
		"ends swapped":   {Link: good.Link, A: b, B: a},
		"not a loopback": {Link: good.Link, A: a, B: Speaker{"arc", addr("203.0.113.1"), port}},
	} {
		if err := f.AddBGP(bad); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if err := f.AddBGP(good); err != nil {
		t.Error(err)
	}
	if err := f.AddBGP(good); err == nil {
		t.Error("the same session twice: no error")
	}
}
