package admin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"

	"golang.org/x/net/netutil"
	"golang.org/x/sys/unix"
)

// The limits of a Server.
const (
	maxConns      = 128              // connections at once, followers included; further ones wait in the socket's backlog
	maxHeader     = 16 << 10         // bytes of request header
	headerTimeout = 5 * time.Second  // for a request's header to arrive
	idleTimeout   = 60 * time.Second // of a kept-alive connection
	staleTimeout  = time.Second      // to find out who holds a socket that is there already
	stopTimeout   = time.Second      // for requests in flight when the server stops
)

// maxSocketPath is what sun_path holds, less its final zero (unix(7)).
const maxSocketPath = 107

// Options configures a Server. Socket is required.
type Options struct {
	Socket string            // path of the unix socket, with or without "unix:"; its folder must exist
	Ready  func(addr string) // called once it listens, with "unix:PATH"; nil for nobody
	Logger *slog.Logger      // nil discards
}

// Server is the API of one process. Handle may be called until Run is; the rest is safe for concurrent use.
type Server struct {
	o   Options
	mux *http.ServeMux
}

// New checks the options; it opens nothing.
func New(o Options) (*Server, error) {
	o.Socket = socketPath(o.Socket)
	if o.Socket == "" {
		return nil, errors.New("admin socket: no path given; name one with --admin unix:PATH")
	}
	if len(o.Socket) > maxSocketPath {
		return nil, fmt.Errorf("admin socket %q: the path has %d bytes, a unix socket's at most %d; choose a shorter one", o.Socket, len(o.Socket), maxSocketPath)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{o: o, mux: http.NewServeMux()}
	s.mux.HandleFunc("GET "+alivePath, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	s.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		Refuse(w, http.StatusNotFound, fmt.Errorf("no such call: %s %s", r.Method, r.URL.Path), "is this catchment older than its client?")
	})
	return s, nil
}

// Handle hangs h on a pattern of http.ServeMux, such as "GET /v1/status". It panics on a pattern that is taken, as
// ServeMux does: that is a mistake in the program.
func (s *Server) Handle(pattern string, h http.HandlerFunc) { s.mux.HandleFunc(pattern, h) }

// Run serves until ctx is done, then ends streams, gives other requests a second and removes the socket. It returns an
// error if the socket cannot be opened, in particular when another process answers there.
func (s *Server) Run(ctx context.Context) error {
	l, err := listen(ctx, s.o.Socket)
	if err != nil {
		return err
	}
	srv := &http.Server{
		Handler: s.mux, ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
		BaseContext: func(net.Listener) context.Context { return ctx }, // so that ctx ends the streams, too
		ErrorLog:    slog.NewLogLogger(s.o.Logger.Handler(), slog.LevelWarn),
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(netutil.LimitListener(l, maxConns)) }()
	if s.o.Ready != nil {
		s.o.Ready("unix:" + s.o.Socket)
	}
	select {
	case err = <-served:
		return fmt.Errorf("serve admin socket %q: %w", s.o.Socket, err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	if srv.Shutdown(grace) != nil {
		_ = srv.Close() // what is left is cut off; it had its second
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("stop admin socket %q: %w", s.o.Socket, err)
	}
	return nil
}

// listen opens the socket with mode 0600 and takes the place of one that a dead process left behind.
func listen(ctx context.Context, path string) (net.Listener, error) {
	if err := clearStale(ctx, path); err != nil {
		return nil, err
	}
	// Linux gives the file the mode of the socket at the moment of bind, so it is never open to others, not even for the
	// instant before Chmod; systems that refuse Fchmod on a socket have that instant.
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { _ = unix.Fchmod(int(fd), 0o600) })
	}}
	l, err := lc.Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("open admin socket %q: %w", path, err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, fmt.Errorf("close admin socket %q to others: %w", path, err)
	}
	return l, nil
}

// clearStale removes a socket at path only if nobody holds its other end. A process that is merely stopped still does.
func clearStale(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at admin socket %q: %w", path, err)
	}
	if info.Mode()&fs.ModeSocket == 0 {
		return fmt.Errorf("admin socket %q: a file that is no socket is in the way; remove it or choose another path", path)
	}
	d := net.Dialer{Timeout: staleTimeout}
	conn, err := d.DialContext(ctx, "unix", path)
	if err == nil {
		conn.Close()
		return fmt.Errorf("admin socket %q is in use by another process; stop that or choose another path with --admin", path)
	}
	if !errors.Is(err, unix.ECONNREFUSED) {
		return fmt.Errorf("admin socket %q: cannot tell whether it is in use: %w", path, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the left-over admin socket %q: %w", path, err)
	}
	return nil
}
