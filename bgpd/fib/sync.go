//go:build linux

package fib

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/catchment-net/catchment/bgpd/speaker"
)

// Options configures a Sync. Paths is required.
type Options struct {
	// Paths lists the paths to a prefix (speaker.RIB).
	Paths func(netip.Prefix) ([]speaker.Best, error)
	// Static are routes that are there whatever BGP says.
	Static map[netip.Prefix]netip.Addr
	// Source is what this host's own packets come from (Open).
	Source []netip.Addr
	// OnLink is called when a link has lost or got its carrier; nil means nobody listens.
	OnLink func(Link)
	Logger *slog.Logger // nil discards
}

// Sync keeps the kernel's routes equal to a speaker's best paths.
type Sync struct {
	o    Options
	wake chan struct{} // capacity 1

	mu    sync.Mutex // guards the following
	dirty map[netip.Prefix]bool
	known map[netip.Prefix]bool // every prefix that was ever dirty: it may have a route
}

// New checks the options and starts nothing.
func New(o Options) (*Sync, error) {
	if o.Paths == nil {
		return nil, errors.New("fib: nothing to read paths from")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Sync{o: o, wake: make(chan struct{}, 1), dirty: map[netip.Prefix]bool{}, known: map[netip.Prefix]bool{}}
	for prefix := range o.Static {
		s.dirty[prefix], s.known[prefix] = true, true
	}
	return s, nil
}

// Changed says that the paths to a prefix are not what they were. It never blocks.
func (s *Sync) Changed(prefix netip.Prefix) {
	s.mu.Lock()
	s.dirty[prefix], s.known[prefix] = true, true
	s.mu.Unlock()
	s.nudge()
}

func (s *Sync) nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// retryEvery is how soon a route is tried again whose next hop is on no link that is up.
const retryEvery = 100 * time.Millisecond

// Run puts routes in place until ctx is done, in the network namespace of the calling thread; then it removes them.
func (s *Sync) Run(ctx context.Context) error {
	t, err := Open(s.o.Source...)
	if err != nil {
		return err
	}
	defer t.Close()
	watching, stop := context.WithCancel(ctx)
	watched := make(chan error, 1)
	go func() { watched <- Watch(watching, s.link) }()
	retry := time.NewTimer(retryEvery)
	defer retry.Stop()
	for {
		if s.flush(t) {
			retry.Reset(retryEvery)
		}
		select {
		case <-ctx.Done():
			stop()
			err := <-watched
			s.remove(t)
			return err
		case err := <-watched:
			stop()
			return err
		case <-s.wake:
		case <-retry.C:
		}
	}
}

// link has routes put back once a link carries again: it took them along when it went down.
func (s *Sync) link(l Link) {
	if s.o.OnLink != nil {
		s.o.OnLink(l)
	}
	if !l.Up {
		return
	}
	s.mu.Lock()
	for p := range s.known {
		s.dirty[p] = true
	}
	s.mu.Unlock()
	s.nudge()
}

// flush sets the routes that may have changed, and reports whether some must be tried again.
func (s *Sync) flush(t *Table) (again bool) {
	s.mu.Lock()
	dirty := s.dirty
	s.dirty = map[netip.Prefix]bool{}
	s.mu.Unlock()
	for prefix := range dirty {
		err := s.set(t, prefix)
		switch {
		case err == nil:
		case errors.Is(err, ErrUnreachable):
			again = true
			s.mu.Lock()
			s.dirty[prefix] = true
			s.mu.Unlock()
		default:
			s.o.Logger.Error("route not set", "prefix", prefix.String(), "error", err)
		}
	}
	return again
}

func (s *Sync) set(t *Table, prefix netip.Prefix) error {
	if via, fixed := s.o.Static[prefix]; fixed {
		return t.Set(prefix, []netip.Addr{via})
	}
	paths, err := s.o.Paths(prefix)
	if err != nil {
		return err
	}
	return t.Set(prefix, Hops(paths))
}

func (s *Sync) remove(t *Table) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for prefix := range s.known {
		if err := t.Set(prefix, nil); err != nil {
			s.o.Logger.Warn("route not removed", "prefix", prefix.String(), "error", err)
		}
	}
}
