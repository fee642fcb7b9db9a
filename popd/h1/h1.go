// Package h1 is a strict HTTP/1.1 server loop (RFC 9112) that owns a connection for its life.
//
//	client ──request──► buffer ── Head ──┬─ Hot answers: one write, no allocation
//	       ◄──answer───                  └─ Handler with a ResponseWriter and a whole http.Request
//
// One goroutine serves a connection. It reads a request's head once, refuses whatever two readers could read in two
// ways, and offers it to the Hot, which answers what it has at hand; all else goes to the Handler, as in net/http. Only a
// hijacked connection leaves the loop, and one on which TLS has agreed on HTTP/2 goes to net/http's server.
package h1

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// The defaults of Options.
const (
	DefaultMaxConns    = 65536            // connections, of all listeners together
	DefaultHeader      = 10 * time.Second // from a request's first byte, or the connection's begin, to the header's end
	DefaultIdle        = 60 * time.Second // between two requests
	DefaultStall       = 30 * time.Second // of a body that the client neither sends nor takes
	DefaultHeaderBytes = 64 << 10         // of one request
)

// Options configures a Server.
type Options struct {
	// MaxConns is how many connections may be open. For a further one the connection that has waited longest for a
	// request, or for the rest of one, is closed; if all are at work the new one is. 0 means DefaultMaxConns.
	MaxConns    int
	Header      time.Duration // 0 means DefaultHeader
	Idle        time.Duration // 0 means DefaultIdle
	Stall       time.Duration // 0 means DefaultStall
	HeaderBytes int           // 0 means DefaultHeaderBytes

	Logger     *slog.Logger          // nil discards
	Registerer prometheus.Registerer // nil: metrics are kept but not exported
	Now        func() time.Time      // for Date; nil means time.Now
}

// Binding is one listener and what is served on it.
type Binding struct {
	Listener net.Listener
	TLS      *tls.Config // nil: plain. HTTP/2 is served if it is among the NextProtos
	Handler  http.Handler
	Hot      Hot // nil: the Handler answers all
	// With adds to the context of every request; nil adds nothing.
	With func(context.Context) context.Context
}

// Hot answers requests from the loop itself. Answer must not block and not keep the Head; it is called by many
// goroutines at a time. It returns false, having written nothing that counts, for what the Handler shall answer.
type Hot interface {
	Answer(q *Head, a *Answer) bool
}

// Answer is what a Hot says.
type Answer struct {
	// Head is where to append the status line and the fields, each with its CRLF. The loop adds Connection and the
	// empty line.
	Head []byte
	// Body is where to append the pieces of the body, whose length must be that of the Content-Length in Head. They are
	// read until Pin is released.
	Body [][]byte
	// Pin is released once the pieces have been read, if Pinned. The loop keeps it from answer to answer of a connection:
	// a Hot finds its own there, and need not make one each time.
	Pin    Pin
	Pinned bool
}

// Pin holds what an Answer's pieces lie in.
type Pin interface{ Release() }

// Server serves HTTP/1.1. Its methods are safe for concurrent use.
type Server struct {
	o        Options
	metrics  *metrics
	pools    pools
	slots    chan struct{} // one element for each open connection
	draining atomic.Bool
	tick     atomic.Int64 // milliseconds since Run began, as coarse as the janitor's rounds

	mu    sync.Mutex // guards conns; held while the janitor looks at each
	conns map[*conn]struct{}
}

// New checks the options and starts nothing.
func New(o Options) (*Server, error) {
	if o.MaxConns < 0 || o.HeaderBytes < 0 || o.Header < 0 || o.Idle < 0 || o.Stall < 0 {
		return nil, fmt.Errorf("h1: limits %d connections, %d header bytes, header %v, idle %v, stall %v: want 0 or more", o.MaxConns, o.HeaderBytes, o.Header, o.Idle, o.Stall)
	}
	setDefault(&o.MaxConns, DefaultMaxConns)
	setDefault(&o.Header, DefaultHeader)
	setDefault(&o.Idle, DefaultIdle)
	setDefault(&o.Stall, DefaultStall)
	setDefault(&o.HeaderBytes, DefaultHeaderBytes)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Server{o: o, slots: make(chan struct{}, o.MaxConns), conns: map[*conn]struct{}{}}
	var err error
	s.metrics, err = newMetrics(o.Registerer, s)
	return s, err
}

func setDefault[T int | time.Duration](v *T, def T) {
	if *v == 0 {
		*v = def
	}
}

// SetDraining makes every answer say Connection: close, or ends that.
func (s *Server) SetDraining(on bool) { s.draining.Store(on) }

// Run serves all bindings until ctx is done; then it closes listeners and connections at once. It returns nil on ctx
// end, else what broke a listener. It runs once at a time.
func (s *Server) Run(ctx context.Context, bindings []Binding) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	wg.Go(func() { s.janitor(ctx) })
	for _, b := range bindings {
		l := newListener(ctx, s, b)
		wg.Go(func() {
			if err := l.accept(ctx); err != nil {
				cancel(err)
			}
		})
	}
	<-ctx.Done()
	for _, b := range bindings {
		_ = b.Listener.Close() // accept ends with it; there is nobody to tell of an error
	}
	wg.Wait()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}
