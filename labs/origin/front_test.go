package origin

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/catchment-net/catchment/labs"
)

// openFront runs an origin on a free port of the host and returns it with its address.
func openFront(t *testing.T) (*Front, string) {
	t.Helper()
	server, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	at := ""
	f, err := NewFront(FrontOptions{
		Host: "origin.shop.example", Handler: server, Addrs: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")},
		Listen: func(ctx context.Context, network, address string) (net.Listener, error) {
			if at != "" { // the same port again after a Kill
				address = at
			}
			var lc net.ListenConfig
			l, err := lc.Listen(ctx, network, address)
			if err == nil {
				at = l.Addr().String()
			}
			return l, err
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- f.Run(ctx, func() { close(ready) }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the origin ended with %v", err)
		}
	})
	select {
	case <-ready:
	case err := <-done:
		t.Fatal(err)
	}
	return f, at
}

func get(t *testing.T, at string, within time.Duration) (time.Duration, error) {
	t.Helper()
	client := http.Client{Timeout: within, Transport: &http.Transport{DisableKeepAlives: true}}
	began := time.Now()
	resp, err := client.Get("http://" + at + "/")
	if err == nil {
		resp.Body.Close()
	}
	return time.Since(began), err
}

func do(t *testing.T, f *Front, verb labs.Verb, arg string) {
	t.Helper()
	if err := f.Do(t.Context(), labs.Fault{Verb: verb, Subject: "origin", Arg: arg}); err != nil {
		t.Fatal(err)
	}
}

func TestKilledOriginRefusesUntilHealed(t *testing.T) {
	f, at := openFront(t)
	for range 2 {
		do(t, f, labs.Kill, "")
		// A connection that the closing port had still in its backlog is reset rather than refused.
		if _, err := get(t, at, time.Second); !errors.Is(err, syscall.ECONNREFUSED) && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("killed: got %v, want a refused connection", err)
		}
		do(t, f, labs.Heal, "")
		do(t, f, labs.Heal, "") // what is well already stays so
		if _, err := get(t, at, 5*time.Second); err != nil {
			t.Errorf("healed: %v", err)
		}
	}
}

func TestFrozenOriginAcceptsAndSaysNothing(t *testing.T) {
	f, at := openFront(t)
	do(t, f, labs.Freeze, "")
	do(t, f, labs.Freeze, "")
	if took, err := get(t, at, 200*time.Millisecond); err == nil || took < 200*time.Millisecond {
		t.Errorf("frozen: got %v after %v, want silence", err, took)
	}
	answered := make(chan error, 1)
	go func() {
		_, err := get(t, at, 5*time.Second)
		answered <- err
	}()
	do(t, f, labs.Heal, "")
	if err := <-answered; err != nil {
		t.Errorf("what it had accepted is answered after heal: got %v", err)
	}
}

func TestSlowOriginAnswersLater(t *testing.T) {
	f, at := openFront(t)
	do(t, f, labs.Slow, "150ms")
	if took, err := get(t, at, 5*time.Second); err != nil || took < 150*time.Millisecond {
		t.Errorf("slow: got %v after %v, want an answer after 150 ms", err, took)
	}
	do(t, f, labs.Heal, "")
	if f.slow.Load() != 0 {
		t.Error("heal leaves it slow")
	}
}

func TestOriginRefusesWhatIsNoFaultOfOrigins(t *testing.T) {
	f, _ := openFront(t)
	for _, fault := range []labs.Fault{{Verb: labs.Drain}, {Verb: labs.Slow, Arg: "soon"}, {Verb: labs.Slow, Arg: "-1s"}} {
		if err := f.Do(t.Context(), fault); err == nil {
			t.Errorf("%s is taken", fault)
		}
	}
}
