package gossip

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/catchment-net/catchment/internal/event"
	"github.com/catchment-net/catchment/internal/simnet"
)

// settle is how long after its end a pool may still have timers, in virtual time.
const settle = time.Minute

// news is a State that keeps the newest text of each author ("author=text").
type news struct {
	mu   sync.Mutex // guards all
	own  string
	all  map[string]string
	took int
}

func (s *news) Marshal() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.own == "" {
		return nil
	}
	return []byte(s.own)
}

func (s *news) Merge(payload []byte) error {
	author, text, ok := strings.Cut(string(payload), "=")
	if !ok {
		return errors.New("no author")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.took++
	if s.all == nil {
		s.all = map[string]string{}
	}
	s.all[author] = text
	return nil
}

func (s *news) of(author string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all[author]
}

func (s *news) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.took
}

func (s *news) set(own string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.own = own
}

// member is a pool with its state, in the world of one test.
type member struct {
	*Pool
	news
	name   string
	addr   netip.Addr
	events *event.Ring
	reg    *prometheus.Registry
	stop   func()
}

// world is five nodes, n1 to n5, on one network.
type world struct {
	net     *simnet.Network
	members []*member
}

func addrOf(i int) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)}) }

// start brings a node up; all nodes of the world are its seeds.
func (w *world) start(t *testing.T, i, of int, kind Kind) *member {
	t.Helper()
	m := &member{name: fmt.Sprintf("n%d", i+1), addr: addrOf(i), reg: prometheus.NewRegistry()}
	m.events = event.NewRing(event.Options{Node: m.name})
	var err error
	m.Pool, err = New(Options{
		Name: m.name, Kind: kind, Label: "test", Net: w.net.Host(m.addr), Bind: netip.AddrPortFrom(m.addr, 7947).String(),
		Key: []byte("0123456789abcdef"), Events: m.events, Registerer: m.reg,
		Seeds: func() []string {
			var seeds []string
			for j := range of {
				seeds = append(seeds, netip.AddrPortFrom(addrOf(j), 7947).String())
			}
			return seeds
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Register("news", m); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := m.Run(ctx); err != nil {
			t.Errorf("Run of %s: %v", m.name, err)
		}
	})
	m.stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
	})
	w.members = append(w.members, m)
	return m
}

// bubble is synctest.Test on one processor. On several, Go 1.26.8's race detector crashes now and then (SIGSEGV in its
// stack depot, on the runtime's own goroutine of a bubble with many timers), all the bubble's timers having one race
// context; it finds the same races on one.
func bubble(t *testing.T, fn func(t *testing.T)) {
	t.Helper()
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	synctest.Test(t, fn)
}

// within runs fn in a bubble with five members that know one another.
func within(t *testing.T, kind Kind, link simnet.Link, fn func(t *testing.T, w *world)) {
	t.Helper()
	bubble(t, func(t *testing.T) {
		t.Helper()
		w := &world{net: simnet.New(1, link)}
		for i := range 5 {
			w.start(t, i, 5, kind)
		}
		defer func() {
			for _, m := range w.members {
				m.stop()
			}
			time.Sleep(settle) // virtual: memberlist's last timers run out
		}()
		await(t, 10*time.Second, "all five to meet", func() bool { return w.all(5) })
		fn(t, w)
	})
}

// all reports whether every member sees so many.
func (w *world) all(count int) bool {
	return !slices.ContainsFunc(w.members, func(m *member) bool { return len(m.Members()) != count })
}

// counted reads a counter that has a label of that value.
func counted(t *testing.T, g prometheus.Gatherer, name, label string) float64 {
	t.Helper()
	families, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if f.GetName() == name && l.GetValue() == label {
					return m.GetCounter().GetValue()
				}
			}
		}
	}
	return 0
}

// await steps virtual time until ok, and returns how long that took.
func await(t *testing.T, limit time.Duration, what string, ok func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	for !ok() {
		if time.Since(began) > limit {
			t.Fatalf("waited %v for %s", limit, what)
		}
		time.Sleep(5 * time.Millisecond)
	}
	return time.Since(began)
}

func TestNewsReachesAllInTime(t *testing.T) {
	for _, tt := range []struct {
		name  string
		kind  Kind
		link  simnet.Link
		limit time.Duration
	}{
		{"over the Internet, one message a link delay away", Fleet, simnet.Link{Delay: 40 * time.Millisecond}, 50 * time.Millisecond},
		// Who says what he says every 500 ms, as nodes do, gets through within the 2 s for which a word counts. (Of single
		// messages about one in 250 waits for the next full exchange.)
		{"over the Internet with 30 % loss", Fleet, simnet.Link{Delay: 40 * time.Millisecond, Loss: 0.3}, 2 * time.Second},
		{"in a POP", POP, simnet.Link{Delay: 200 * time.Microsecond}, 10 * time.Millisecond},
	} {
		t.Run(tt.name, func(t *testing.T) {
			within(t, tt.kind, tt.link, func(t *testing.T, w *world) {
				t.Helper()
				for round := range 5 {
					text := fmt.Sprint("hello", round)
					from := w.members[round]
					began := time.Now()
					said := 0
					await(t, tt.limit, "the news", func() bool {
						if time.Since(began) >= time.Duration(said)*500*time.Millisecond {
							said++
							if err := from.Send("news", []byte(from.name+"="+text)); err != nil {
								t.Fatal(err)
							}
						}
						return !slices.ContainsFunc(w.members, func(m *member) bool {
							return m != from && m.of(from.name) != text
						})
					})
				}
			})
		})
	}
}

func TestEachMessageIsTakenOnce(t *testing.T) {
	within(t, Fleet, simnet.Link{Delay: time.Millisecond}, func(t *testing.T, w *world) {
		t.Helper()
		for range 20 {
			if err := w.members[0].Send("news", []byte("n1=x")); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(5 * time.Second)
		for _, m := range w.members[1:] {
			if took := m.count(); took != 20 {
				t.Errorf("%s took %d messages of 20", m.name, took)
			}
			if again := counted(t, m.reg, "gossip_received_total", "again"); again == 0 {
				t.Errorf("%s got no second copy: gossip did not pass anything on", m.name)
			}
		}
	})
}

func TestPoolsThatWereCutApartMeetAgainWithinTenSeconds(t *testing.T) {
	within(t, Fleet, simnet.Link{Delay: 40 * time.Millisecond}, func(t *testing.T, w *world) {
		t.Helper()
		left := []netip.Addr{addrOf(0), addrOf(1)}
		w.net.Partition(left)
		await(t, time.Minute, "each side to forget the other", func() bool {
			return len(w.members[0].Members()) == 2 && len(w.members[4].Members()) == 3
		})
		time.Sleep(2 * time.Minute) // long beyond the time in which memberlist gossips to the dead
		if got := w.members[0].Members(); !cmp.Equal(got, []string{"n1", "n2"}) {
			t.Fatalf("members on the left: got %v, want n1 and n2", got)
		}
		for _, m := range w.members {
			m.set(m.name + "=back")
		}
		w.net.Heal()
		took := await(t, 10*time.Second, "all five to meet again", func() bool { return w.all(5) })
		t.Logf("met again after %v", took)
		// Whoever joined across exchanged states with the other side.
		await(t, time.Second, "the states to come across", func() bool {
			return slices.ContainsFunc([]string{"n3", "n4", "n5"}, func(name string) bool {
				return w.members[0].of(name) == "back" || w.members[1].of(name) == "back"
			})
		})
	})
}

func TestDeathAndReturnAreEvents(t *testing.T) {
	within(t, POP, simnet.Link{Delay: 200 * time.Microsecond}, func(t *testing.T, w *world) {
		t.Helper()
		watcher := w.members[0]
		_, seq, _ := watcher.events.After(0)
		w.members[4].stop()
		w.members = w.members[:4]
		took := await(t, 5*time.Second, "the others to find out", func() bool { return w.all(4) })
		t.Logf("death known by all after %v", took)
		if took > 2*time.Second {
			t.Errorf("a death in a POP took %v, want under 2s", took)
		}
		w.start(t, 4, 5, POP)
		await(t, 5*time.Second, "the node to be back", func() bool { return w.all(5) })
		events, _, _ := watcher.events.After(seq)
		var got []string
		for _, e := range events {
			got = append(got, string(e.Kind)+" "+e.Subject+" "+e.State)
		}
		if want := []string{"member n5 left", "member n5 joined"}; !cmp.Equal(got, want) {
			t.Error(cmp.Diff(want, got))
		}
	})
}

func TestLeaveIsKnownAtOnceAndDoesNotJoinAgain(t *testing.T) {
	within(t, Fleet, simnet.Link{Delay: 40 * time.Millisecond}, func(t *testing.T, w *world) {
		t.Helper()
		if err := w.members[2].Leave(t.Context()); err != nil {
			t.Fatal(err)
		}
		await(t, time.Second, "the others to hear goodbye", func() bool { return len(w.members[0].Members()) == 4 && len(w.members[4].Members()) == 4 })
		time.Sleep(30 * time.Second)
		if got := w.members[0].Members(); len(got) != 4 {
			t.Errorf("members after 30 s: got %v, want four", got)
		}
		w.members[2].stop()
		if err := w.members[2].Leave(t.Context()); err != nil {
			t.Errorf("Leave after the end: got %v, want nil", err)
		}
	})
}

func TestOversizeIsRefusedAtTheCallAndTheLargestArrives(t *testing.T) {
	within(t, Fleet, simnet.Link{Delay: time.Millisecond}, func(t *testing.T, w *world) {
		t.Helper()
		from := w.members[0]
		limit := from.MaxPayload("news")
		if limit < 1300 || limit > 1380 {
			t.Fatalf("MaxPayload: got %d, want about 1340", limit)
		}
		text := strings.Repeat("x", limit-len("n1="))
		if err := from.Send("news", []byte("n1="+text+"x")); !errors.Is(err, ErrTooLarge) {
			t.Errorf("one byte too many: got %v, want ErrTooLarge", err)
		}
		// By gossip alone, which is the way on which memberlist silently keeps what is too large.
		from.enqueue(seal(77, "news", []byte("n1="+text)))
		await(t, 5*time.Second, "the largest message", func() bool { return w.members[3].of("n1") == text })
		await(t, 5*time.Second, "the queue to run empty", func() bool { return from.queue.NumQueued() == 0 })
	})
}

func TestQueueHasAnEnd(t *testing.T) {
	reg := prometheus.NewRegistry()
	p, err := New(Options{Name: "n1", Kind: Fleet, Bind: "192.0.2.1:7947", Insecure: true, Registerer: reg})
	if err != nil {
		t.Fatal(err)
	}
	for range maxQueue + 100 {
		if err := p.Send("news", []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	if got := p.queue.NumQueued(); got != maxQueue {
		t.Errorf("queued: got %d, want %d", got, maxQueue)
	}
	if got := counted(t, reg, "gossip_dropped_total", "queue"); got != 100 {
		t.Errorf("dropped: got %v, want 100", got)
	}
}

func TestPoolsWithAnotherLabelOrKeyStayApart(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*Options)
	}{
		{"label", func(o *Options) { o.Label = "other" }},
		{"kind", func(o *Options) { o.Kind = POP }},
		{"key", func(o *Options) { o.Key = []byte("fedcba9876543210") }},
		{"no key", func(o *Options) { o.Key, o.Insecure = nil, true }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				t.Helper()
				network := simnet.New(1, simnet.Link{Delay: time.Millisecond})
				var pools []*Pool
				reg := prometheus.NewRegistry()
				ctx, cancel := context.WithCancel(t.Context())
				var running sync.WaitGroup
				for i := range 2 {
					o := Options{
						Name: fmt.Sprint("n", i), Kind: Fleet, Label: "test", Net: network.Host(addrOf(i)), Key: []byte("0123456789abcdef"),
						Bind: netip.AddrPortFrom(addrOf(i), 7947).String(), Seeds: func() []string { return []string{"192.0.2.1:7947", "192.0.2.2:7947"} },
					}
					if i == 0 {
						o.Registerer = reg
					}
					if i == 1 {
						tt.change(&o)
					}
					p, err := New(o)
					if err != nil {
						t.Fatal(err)
					}
					pools = append(pools, p)
					running.Go(func() {
						if err := p.Run(ctx); err != nil {
							t.Error(err)
						}
					})
				}
				time.Sleep(20 * time.Second)
				for _, p := range pools {
					if got := p.Members(); len(got) != 1 {
						t.Errorf("members: got %v, want itself alone", got)
					}
				}
				if counted(t, reg, "gossip_join_failures_total", "fleet") == 0 {
					t.Error("no failed join was counted: they never tried")
				}
				cancel()
				running.Wait()
				time.Sleep(settle)
			})
		})
	}
}

func TestOptionsAreRefusedEarly(t *testing.T) {
	good := Options{Name: "n1", Kind: Fleet, Bind: "192.0.2.1:7947", Key: make([]byte, 16)}
	if _, err := New(good); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		change func(*Options)
		want   string
	}{
		{func(o *Options) { o.Name = "" }, "no name"},
		{func(o *Options) { o.Kind = "wan" }, `kind "wan"`},
		{func(o *Options) { o.Bind = "localhost:1" }, `"localhost:1"`},
		{func(o *Options) { o.Bind = "0.0.0.0:1" }, "reach us"},
		{func(o *Options) { o.Key = nil }, "no key"},
		{func(o *Options) { o.Key = make([]byte, 17) }, "17 bytes"},
		{func(o *Options) { o.Label = strings.Repeat("x", 300) }, "longer"},
	} {
		o := good
		tt.change(&o)
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("got %v, want an error with %q", err, tt.want)
		}
	}
}

func TestAddressInUseNamesIt(t *testing.T) {
	bubble(t, func(t *testing.T) {
		t.Helper()
		network := simnet.New(1, simnet.Link{})
		l, err := network.Host(addrOf(0)).Listen(t.Context(), "tcp", "192.0.2.1:7947")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		p, err := New(Options{Name: "n1", Kind: Fleet, Bind: "192.0.2.1:7947", Insecure: true, Net: network.Host(addrOf(0))})
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "192.0.2.1:7947") {
			t.Errorf("Run: got %v, want an error that names the address", err)
		}
	})
}

// TestHostNetwork runs two pools over real sockets on loopback.
func TestHostNetwork(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	first := make(chan string, 1)
	start := func(name string, ready func(string), seeds ...string) *member {
		m := &member{name: name}
		var err error
		m.Pool, err = New(Options{
			Name: name, Kind: POP, Label: "test", Bind: "127.0.0.1:0", Key: make([]byte, 32), Ready: ready,
			Seeds: func() []string { return seeds },
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Register("news", m); err != nil {
			t.Fatal(err)
		}
		running.Go(func() {
			if err := m.Run(ctx); err != nil {
				t.Errorf("Run of %s: %v", name, err)
			}
		})
		return m
	}
	a := start("a", func(addr string) { first <- addr })
	var addr string
	select {
	case addr = <-first:
	case <-time.After(10 * time.Second):
		t.Fatal("the first pool did not get ready")
	}
	b := start("b", nil, addr)
	await(t, 10*time.Second, "both to meet", func() bool { return len(a.Members()) == 2 && len(b.Members()) == 2 })
	if err := b.Send("news", []byte("b=real")); err != nil {
		t.Fatal(err)
	}
	await(t, 10*time.Second, "the news", func() bool { return a.of("b") == "real" })
}
