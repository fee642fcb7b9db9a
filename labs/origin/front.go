package origin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/catchment-net/catchment/labs"
)

// FrontOptions configures a Front. All are required.
type FrontOptions struct {
	Host    string
	Handler http.Handler // a *Server
	Addrs   []netip.AddrPort
	Listen  func(ctx context.Context, network, address string) (net.Listener, error)
}

// Front is an origin's door: where its server listens, and where a drill breaks it.
type Front struct {
	o      FrontOptions
	slow   atomic.Int64                  // nanoseconds before each answer
	frozen atomic.Pointer[chan struct{}] // closed when it answers again; nil while it does

	mu      sync.Mutex // guards the following; Do and Run take it
	servers []*http.Server
	ended   chan error // what a server ended with that nobody closed
	serving sync.WaitGroup
	closed  bool
}

// NewFront checks the options; it opens nothing.
func NewFront(o FrontOptions) (*Front, error) {
	if o.Handler == nil || o.Listen == nil || len(o.Addrs) == 0 {
		return nil, fmt.Errorf("origin %q: no handler, no way to listen or no address", o.Host)
	}
	return &Front{o: o, ended: make(chan error, len(o.Addrs))}, nil
}

// Run listens, calls ready and serves until ctx is done, over every Kill and Heal. It returns when all of its goroutines
// have ended. An error means that the addresses could not be had, or that a server ended by itself.
func (f *Front) Run(ctx context.Context, ready func()) error {
	if err := f.open(ctx); err != nil {
		return err
	}
	ready()
	var err error
	select {
	case <-ctx.Done():
	case err = <-f.ended:
	}
	f.mu.Lock()
	f.closed = true
	f.shut()
	f.mu.Unlock()
	f.heal()
	f.serving.Wait()
	return err
}

// Do breaks or heals the origin: kill closes its ports, freeze accepts and never answers, slow answers each request so
// much later, heal undoes all of it.
func (f *Front) Do(ctx context.Context, fault labs.Fault) error {
	switch fault.Verb {
	case labs.Kill:
		f.mu.Lock()
		defer f.mu.Unlock()
		f.shut()
	case labs.Freeze:
		until := make(chan struct{})
		f.frozen.CompareAndSwap(nil, &until)
	case labs.Slow:
		d, err := fault.Delay()
		if err != nil {
			return err
		}
		f.slow.Store(int64(d))
	case labs.Heal:
		f.heal()
		return f.open(ctx)
	default:
		return fmt.Errorf("an origin cannot be asked to %s; it can be killed, frozen, slowed and healed", fault.Verb)
	}
	return nil
}

func (f *Front) heal() {
	f.slow.Store(0)
	if until := f.frozen.Swap(nil); until != nil {
		close(*until)
	}
}

// open listens on every address, unless it does already.
func (f *Front) open(ctx context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.servers) > 0 || f.closed {
		return nil
	}
	for _, a := range f.o.Addrs {
		l, err := f.o.Listen(ctx, "tcp", a.String())
		if err != nil {
			f.shut()
			return fmt.Errorf("origin %q: listen: %w", f.o.Host, err)
		}
		srv := &http.Server{Handler: f, ReadHeaderTimeout: 5 * time.Second}
		f.servers = append(f.servers, srv)
		f.serving.Go(func() {
			if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				select {
				case f.ended <- fmt.Errorf("origin %q: %w", f.o.Host, err):
				default:
				}
			}
		})
	}
	return nil
}

// shut closes ports and connections. It is called with mu held.
func (f *Front) shut() {
	for _, s := range f.servers {
		_ = s.Close() // all that can fail is the close of a port that is closed
	}
	f.servers = nil
}

// ServeHTTP answers as the origin does that a drill may have broken.
func (f *Front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if until := f.frozen.Load(); until != nil {
		select {
		case <-*until:
		case <-r.Context().Done():
			return
		}
	}
	if d := time.Duration(f.slow.Load()); d > 0 && !wait(r, d) {
		return
	}
	f.o.Handler.ServeHTTP(w, r)
}
