package bfd

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// count reads a counter.
func count(t *testing.T, c prometheus.Collector) float64 {
	t.Helper()
	r := prometheus.NewRegistry()
	if err := r.Register(c); err != nil {
		t.Fatal(err)
	}
	all, err := r.Gather()
	if err != nil || len(all) != 1 {
		t.Fatal(all, err)
	}
	return all[0].GetMetric()[0].GetCounter().GetValue()
}

// paperWire is a wire of a test's own: what one end sends arrives at the other, and the loops wait in virtual time.
type paperWire struct {
	self, far netip.Addr
	other     *paperWire
	woken     chan struct{}

	mu    sync.Mutex // guards the following
	queue []datagram
	deaf  bool // what is sent here is lost
	ttl   int
	fails error
}

func paperWires() (a, b *paperWire) {
	x, y := netip.MustParseAddr("198.18.0.1"), netip.MustParseAddr("198.18.0.2")
	a = &paperWire{self: x, far: y, woken: make(chan struct{}, 1), ttl: hopLimit}
	b = &paperWire{self: y, far: x, woken: make(chan struct{}, 1), ttl: hopLimit}
	a.other, b.other = b, a
	return a, b
}

func (w *paperWire) wake() {
	select {
	case w.woken <- struct{}{}:
	default:
	}
}

func (w *paperWire) Wait(until time.Time) {
	var due <-chan time.Time
	if !until.IsZero() {
		t := time.NewTimer(time.Until(until))
		defer t.Stop()
		due = t.C
	}
	select {
	case <-w.woken:
	case <-due:
	}
}

func (w *paperWire) Receive() (datagram, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.queue) == 0 {
		return datagram{}, false
	}
	d := w.queue[0]
	w.queue = w.queue[1:]
	return d, true
}

func (w *paperWire) Send(_ path, packet []byte) error {
	w.mu.Lock()
	fails, ttl := w.fails, w.ttl
	w.mu.Unlock()
	if fails != nil || packet == nil {
		return fails
	}
	o := w.other
	o.mu.Lock()
	if !o.deaf {
		o.queue = append(o.queue, datagram{append([]byte(nil), packet...), w.self, ttl, time.Now(), false})
	}
	o.mu.Unlock()
	o.wake()
	return nil
}

func (w *paperWire) set(change func(*paperWire)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change(w)
}

// host is an endpoint with one session over a wire.
type host struct {
	*Endpoint
	wire    *paperWire
	mu      sync.Mutex // guards changes
	changes []Status
}

func newHost(t *testing.T, w *paperWire, interval time.Duration) *host {
	t.Helper()
	h := &host{wire: w}
	var err error
	if h.Endpoint, err = New(Options{OnChange: func(s Status) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.changes = append(h.changes, s)
	}}); err != nil {
		t.Fatal(err)
	}
	if err := h.Set([]Peer{{Name: "far", Remote: w.far, Timing: Timing{Interval: interval}}}); err != nil {
		t.Fatal(err)
	}
	return h
}

// run serves until the function that it returns is called.
func (h *host) run(t *testing.T) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		h.serve(ctx, h.wire, h.wire.wake)
	}()
	return func() {
		cancel()
		<-done
	}
}

func (h *host) is(t *testing.T, want State) Status {
	t.Helper()
	all := h.Sessions()
	if len(all) != 1 || all[0].State != want {
		t.Fatalf("sessions %+v, want one that is %s", all, want)
	}
	return all[0]
}

func TestEndpointUpDownUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wa, wb := paperWires()
		a, b := newHost(t, wa, 50*ms), newHost(t, wb, 20*ms)
		defer a.run(t)()
		defer b.run(t)()
		time.Sleep(2 * time.Second)
		if s := a.is(t, Up); s.Interval != 50*ms || s.Detection != 150*ms || s.Failed {
			t.Errorf("a: %+v", s)
		}
		b.is(t, Up)
		sent := count(t, a.m.sent)
		time.Sleep(10 * time.Second)
		if n := count(t, a.m.sent) - sent; n < 200 || n > 270 {
			t.Errorf("%v packets in 10 s, want 200 to 267", n)
		}

		wa.set(func(w *paperWire) { w.deaf = true })
		time.Sleep(151 * ms)
		if s := a.is(t, Down); s.Diag != DetectionRan || !s.Failed || s.Downs != 1 {
			t.Errorf("a, deaf: %+v", s)
		}
		if s := b.is(t, Down); s.Diag != NeighborDown || !s.Failed {
			t.Errorf("b, whom a told: %+v", s)
		}
		wa.set(func(w *paperWire) { w.deaf = false })
		time.Sleep(2 * time.Second)
		if s := a.is(t, Up); s.Failed || s.Diag != NoDiag {
			t.Errorf("a, mended: %+v", s)
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		if last := a.changes[len(a.changes)-1]; last.State != Up || last.Downs != 1 {
			t.Errorf("a was told last: %+v", last)
		}
	})
}

func TestEndpointStopsOnPurpose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wa, wb := paperWires()
		a, b := newHost(t, wa, 50*ms), newHost(t, wb, 50*ms)
		stop := a.run(t)
		defer b.run(t)()
		time.Sleep(2 * time.Second)
		if err := a.Set(nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(500 * ms)
		if s := b.is(t, Down); s.Failed || s.RemoteState != AdminDown {
			t.Errorf("b, whose neighbour has no session any more: %+v", s)
		}
		if all := a.Sessions(); len(all) != 0 {
			t.Errorf("a still has %+v", all)
		}
		if err := a.Set([]Peer{{Name: "far", Remote: wa.far, Timing: Timing{Interval: 50 * ms}}}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		a.is(t, Up)
		b.is(t, Up)
		stop()
		time.Sleep(ms)
		if s := b.is(t, Down); s.Failed || s.RemoteState != AdminDown {
			t.Errorf("b, whose neighbour has stopped: %+v", s)
		}
	})
}

// A process that dies without a word is back with another discriminator.
func TestEndpointRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wa, wb := paperWires()
		a, b := newHost(t, wa, 50*ms), newHost(t, wb, 50*ms)
		stop := a.run(t)
		defer b.run(t)()
		time.Sleep(2 * time.Second)
		wb.set(func(w *paperWire) { w.deaf = true })
		stop()
		wb.set(func(w *paperWire) { w.deaf = false })
		again := newHost(t, wa, 50*ms)
		defer again.run(t)()
		time.Sleep(3 * time.Second)
		again.is(t, Up)
		if s := b.is(t, Up); s.Downs != 1 {
			t.Errorf("b: %+v", s)
		}
	})
}

func TestEndpointDiscards(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wa, wb := paperWires()
		a, b := newHost(t, wa, 50*ms), newHost(t, wb, 50*ms)
		wb.set(func(w *paperWire) { w.ttl = 254 })
		defer a.run(t)()
		defer b.run(t)()
		time.Sleep(3 * time.Second)
		a.is(t, Down)
		if n := count(t, a.m.discarded.WithLabelValues(string(BadTTL))); n < 3 {
			t.Errorf("%v packets from afar were discarded", n)
		}
		for _, tt := range []struct {
			p    Packet
			from netip.Addr
			want Discard
		}{
			{from(Up, 50*ms), wa.far, BadYourDiscr},
			{from(Down, 50*ms), netip.MustParseAddr("198.18.0.9"), NoSession},
		} {
			wa.set(func(w *paperWire) {
				w.queue = append(w.queue, datagram{tt.p.Append(nil), tt.from, hopLimit, time.Now(), false})
			})
			wa.wake()
			synctest.Wait()
			if n := count(t, a.m.discarded.WithLabelValues(string(tt.want))); n != 1 {
				t.Errorf("%v packets were discarded for %q, want 1", n, tt.want)
			}
		}
	})
}

func TestEndpointSaysWhatIsWrong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wa, _ := paperWires()
		a := newHost(t, wa, 50*ms)
		wa.set(func(w *paperWire) { w.fails = errors.New("no such link") })
		defer a.run(t)()
		time.Sleep(time.Second)
		if s := a.is(t, Down); s.Error != "no such link" {
			t.Errorf("%+v", s)
		}
		wa.set(func(w *paperWire) { w.fails = nil })
		time.Sleep(2 * time.Second)
		if s := a.is(t, Down); s.Error != "" {
			t.Errorf("%+v", s)
		}
	})
}

// The trap of FRR's ttl-security: its packets go to another port, and nobody says so.
func TestEndpointNoticesMultihop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wa, wb := paperWires()
		a := newHost(t, wa, 50*ms)
		defer a.run(t)()
		time.Sleep(time.Second)
		p := from(Down, slow)
		wa.set(func(w *paperWire) {
			w.queue = append(w.queue, datagram{p.Append(nil), wa.far, hopLimit, time.Now(), true})
		})
		wa.wake()
		time.Sleep(time.Second)
		if s := a.is(t, Down); !strings.Contains(s.Error, "multihop") {
			t.Errorf("%+v", s)
		}
		b := newHost(t, wb, 50*ms)
		defer b.run(t)()
		time.Sleep(2 * time.Second)
		if s := a.is(t, Up); s.Error != "" {
			t.Errorf("%+v", s)
		}
	})
}

func TestSetIsAllOrNothing(t *testing.T) {
	e, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	addr := netip.MustParseAddr
	for _, tt := range []struct {
		peers []Peer
		want  string
	}{
		{[]Peer{{Name: "arc", Timing: Timing{Interval: 50 * ms}}}, "want the address of a neighbor"},
		{[]Peer{{Name: "arc", Remote: addr("198.18.0.1"), Local: addr("::1"), Timing: Timing{Interval: 50 * ms}}}, "want the family"},
		{[]Peer{{Name: "arc", Remote: addr("198.18.0.1"), Timing: Timing{Interval: 9 * ms}}}, "interval 9ms: want 10ms to 10s"},
		{[]Peer{
			{Name: "arc", Remote: addr("198.18.0.1"), Timing: Timing{Interval: 50 * ms}},
			{Name: "bolt", Remote: addr("198.18.0.1"), Timing: Timing{Interval: 50 * ms}},
		}, "another session has it"},
	} {
		if err := e.Set(tt.peers); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: got %v, want %q", tt.peers, err, tt.want)
		}
	}
}
