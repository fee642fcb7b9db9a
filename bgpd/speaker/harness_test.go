package speaker

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// limit bounds every wait of these tests; what they wait for takes milliseconds on a machine with nothing else to do.
const limit = 30 * time.Second

// await waits until ok holds.
func await(tb testing.TB, what string, ok func() bool) time.Duration {
	tb.Helper()
	began := time.Now()
	for !ok() {
		if time.Since(began) > limit {
			tb.Fatalf("%s: not within %v", what, limit)
		}
		time.Sleep(2 * time.Millisecond)
	}
	return time.Since(began)
}

// recorder keeps what a speaker says.
type recorder struct {
	mu       sync.Mutex
	best     map[netip.Prefix]Best
	changes  []Best
	sessions []Session
}

func (r *recorder) heardBest(b Best) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.best == nil {
		r.best = map[netip.Prefix]Best{}
	}
	r.best[b.Prefix] = b
	r.changes = append(r.changes, b)
}

func (r *recorder) heardSession(s Session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sessions = append(r.sessions, s)
}

// has returns the best path to a prefix, if there is one.
func (r *recorder) has(prefix string) (Best, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	b, ok := r.best[netip.MustParsePrefix(prefix)]
	return b, ok && !b.Withdrawn
}

// lastEnd returns the last session that was heard to be idle with a cause.
func (r *recorder) lastEnd() Session {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range slices.Backward(r.sessions) {
		if s.State == Idle && s.Cause != "" {
			return s
		}
	}
	return Session{}
}

// listen makes a speaker that listens.
func listen(t *testing.T, o Options) (*Speaker, *recorder) {
	t.Helper()
	r := &recorder{}
	o.OnBest, o.OnSession = r.heardBest, r.heardSession
	o.Logger = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo}))
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s, r
}

// run runs a speaker; the function that it returns ends it. The test's end does so, too.
func run(t *testing.T, s *Speaker) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("run: %v", err)
			}
		case <-time.After(limit):
			t.Errorf("run did not end")
		}
	})
	t.Cleanup(stop)
	return stop
}

func up(s *Speaker) func() bool {
	return func() bool { return s.established() == len(s.Neighbors()) && s.established() > 0 }
}

// link dials two passive speakers, each from the other's address, and copies between them.
type link struct {
	a, b netip.AddrPort
	mu   sync.Mutex // guards the following
	open []net.Conn
}

func (l *link) dial(to netip.AddrPort, from netip.Addr) (net.Conn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: from.AsSlice()}, Timeout: time.Second}
	return d.Dial("tcp", to.String())
}

// connect joins the ends once; ended is closed when the connection is.
func (l *link) connect() (ended chan struct{}, err error) {
	x, err := l.dial(l.a, l.b.Addr())
	if err != nil {
		return nil, err
	}
	y, err := l.dial(l.b, l.a.Addr())
	if err != nil {
		x.Close()
		return nil, err
	}
	l.mu.Lock()
	l.open = []net.Conn{x, y}
	l.mu.Unlock()
	ended = make(chan struct{})
	var both sync.WaitGroup
	splice := func(to, from net.Conn) {
		_, _ = io.Copy(to, from)
		to.Close()
		from.Close()
	}
	both.Go(func() { splice(x, y) })
	both.Go(func() { splice(y, x) })
	go func() {
		both.Wait()
		close(ended)
	}()
	return ended, nil
}

// cut closes the connection.
func (l *link) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.open {
		c.Close()
	}
	l.open = nil
}

// keep connects again and again until the test ends or stop is called.
func (l *link) keep(t *testing.T) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			if ended, err := l.connect(); err == nil {
				select {
				case <-ended:
				case <-ctx.Done():
					l.cut()
					<-ended
				}
			}
			select {
			case <-ctx.Done():
			case <-time.After(25 * time.Millisecond):
			}
		}
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		<-done
	})
	t.Cleanup(stop)
	return stop
}

// leaked lists the goroutines of gobgp and of this package that are left, but for the one that every gobgp server keeps.
func leaked() []string {
	buf := make([]byte, 4<<20)
	buf = buf[:runtime.Stack(buf, true)]
	var all []string
	for g := range strings.SplitSeq(string(buf), "\n\n") {
		ours := strings.Contains(g, "osrg/gobgp") || strings.Contains(g, "speaker.(*Speaker)") || strings.Contains(g, "eapache/channels")
		if ours && !strings.Contains(g, "server.(*BgpServer).Serve(") {
			all = append(all, g)
		}
	}
	return all
}
