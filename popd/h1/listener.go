package h1

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"syscall"
	"time"
)

// listener is a Binding at work.
type listener struct {
	s    *Server
	b    Binding
	base context.Context
	h2   *http.Server  // nil where HTTP/2 is not served
	pass chan net.Conn // to h2
}

func newListener(ctx context.Context, s *Server, b Binding) *listener {
	l := &listener{s: s, b: b, base: ctx}
	if b.With != nil {
		l.base = b.With(ctx)
	}
	if b.TLS != nil && slices.Contains(b.TLS.NextProtos, "h2") {
		l.pass = make(chan net.Conn)
		l.h2 = &http.Server{
			Handler:                      b.Handler,
			DisableGeneralOptionsHandler: true,
			ReadHeaderTimeout:            s.o.Header,
			IdleTimeout:                  s.o.Idle,
			MaxHeaderBytes:               s.o.HeaderBytes,
			ErrorLog:                     slog.NewLogLogger(s.o.Logger.Handler(), slog.LevelDebug),
			BaseContext:                  func(net.Listener) context.Context { return l.base },
		}
	}
	return l
}

// accept serves until the listener is closed, and returns once its connections have ended. The error is nil if ctx is
// done.
func (l *listener) accept(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	if l.h2 != nil {
		wg.Go(func() { _ = l.h2.Serve(handed{l, ctx}) }) // ends with ctx, as handed says
		defer l.h2.Close()
	}
	var pause time.Duration
	for {
		rwc, err := l.b.Listener.Accept()
		switch {
		case err == nil:
			pause = 0
		case ctx.Err() != nil:
			return nil
		case passing(err):
			// Nothing can be accepted until something is given back; the kernel keeps the clients meanwhile.
			l.s.metrics.acceptErrors.Inc()
			l.s.evict()
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			sleep(ctx, pause)
			continue
		default:
			return fmt.Errorf("serve on %q: %w", l.b.Listener.Addr(), err)
		}
		if !l.s.admit(ctx) {
			_ = rwc.Close() // refused; the client sees it
			continue
		}
		c := newConn(l, rwc)
		wg.Go(func() { c.serve(ctx) })
	}
}

// passing reports whether an accept may succeed later: out of descriptors or memory, or a client that left already.
func passing(err error) bool {
	for _, e := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// handed is the listener of connections that have agreed on HTTP/2.
type handed struct {
	l   *listener
	ctx context.Context
}

// Accept is net.Listener's.
func (h handed) Accept() (net.Conn, error) {
	select {
	case c := <-h.l.pass:
		return c, nil
	case <-h.ctx.Done():
		return nil, net.ErrClosed
	}
}

// Close is net.Listener's.
func (h handed) Close() error { return nil }

// Addr is net.Listener's.
func (h handed) Addr() net.Addr { return h.l.b.Listener.Addr() }

// held is a connection below TLS, whose end is noticed whoever ends it.
type held struct {
	net.Conn
	once *sync.Once
	end  func()
}

// Close is net.Conn's.
func (h held) Close() error {
	defer h.once.Do(h.end)
	return h.Conn.Close()
}

// handshake agrees on keys and protocol. It reports true if the loop shall serve the connection.
func (c *conn) handshake(ctx context.Context) bool {
	c.mark(inHeader) // what is late with its hello is ended like what is late with its header
	t := tls.Server(held{c.wire, &c.once, c.forget}, c.l.b.TLS)
	c.rwc, c.raw = t, nil
	if err := t.HandshakeContext(ctx); err != nil {
		c.s.metrics.handshakes.Inc()
		return false
	}
	state := t.ConnectionState()
	c.tls, c.head.HTTPS, c.head.ServerName = &state, true, state.ServerName
	if state.NegotiatedProtocol != "h2" {
		return true
	}
	c.mark(handedOver)
	select {
	case c.l.pass <- t:
		c.left = true
	case <-ctx.Done():
	}
	return false
}
