package fabric

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/catchment-net/catchment/internal/underlay/wire"
)

// errClosed is what a fabric that does not run (any more) answers.
var errClosed = &net.OpError{Op: "lab", Err: net.ErrClosed}

// takeoverWait is how long a new listener waits for the one that has its address to go: that of a process that was just
// killed goes when the runner has read the end of its connection.
const takeoverWait = 250 * time.Millisecond

// The ports that the fabric gives (RFC 6335 §6).
const firstPort, lastPort = 49152, 65535

// socketKey says who listens where. Two nodes may listen on one anycast address.
type socketKey struct {
	place *place
	kind  string // "tcp" or "udp"
	addr  netip.AddrPort
}

// socket is a listener or a datagram socket. Exactly one of the three ways to reach it is set.
type socket struct {
	key  socketKey
	gone chan struct{} // closed when the address is free again
	once sync.Once

	backlog chan *endConn  // stream listener in this process
	packets *packetConn    // datagram socket in this process
	at      string         // node: the unix socket of its listener
	token   []byte         // node: what its listener wants to see
	udp     netip.AddrPort // node: its datagram socket on the host
	peer    netip.AddrPort // node: the only peer of a connected datagram socket
	control net.Conn       // node: open as long as it listens
	end     func()         // in this process: run once at its end
}

// bind registers a socket at its address; port 0 gets a free one.
func (f *Fabric) bind(s *socket) error {
	if !s.key.place.owns(f.graph, s.key.addr.Addr()) {
		return os.NewSyscallError("bind", syscall.EADDRNOTAVAIL)
	}
	s.gone = make(chan struct{})
	until := time.NewTimer(takeoverWait)
	defer until.Stop()
	for {
		holder, err := f.tryBind(s)
		if holder == nil {
			return err
		}
		if holder.control == nil {
			return os.NewSyscallError("bind", syscall.EADDRINUSE)
		}
		select {
		case <-holder.gone:
		case <-until.C:
			return os.NewSyscallError("bind", syscall.EADDRINUSE)
		case <-f.done:
			return errClosed
		}
	}
}

func (f *Fabric) tryBind(s *socket) (holder *socket, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.closed:
		return nil, errClosed
	case len(f.sockets) >= maxSockets:
		return nil, os.NewSyscallError("bind", syscall.ENOBUFS)
	case s.key.addr.Port() == 0:
		if s.key.addr, err = f.freePort(s.key); err != nil {
			return nil, err
		}
	}
	if holder = f.sockets[s.key]; holder != nil {
		return holder, nil
	}
	f.sockets[s.key] = s
	if s.udp.IsValid() {
		f.bySource[s.udp] = s
	}
	return nil, nil //nolint:nilnil // no holder and no error: bound
}

// freePort is called with mu held.
func (f *Fabric) freePort(key socketKey) (netip.AddrPort, error) {
	for range lastPort - firstPort + 1 {
		if f.nextPort++; f.nextPort < firstPort {
			f.nextPort = firstPort
		}
		key.addr = netip.AddrPortFrom(key.addr.Addr(), f.nextPort)
		if f.sockets[key] == nil {
			return key.addr, nil
		}
	}
	return key.addr, os.NewSyscallError("bind", syscall.EADDRINUSE)
}

// close gives the address back.
func (s *socket) close() {
	s.once.Do(func() {
		if s.control != nil {
			_ = s.control.Close()
		}
		if s.end != nil {
			s.end()
		}
	})
}

// unbind forgets a socket; its address is free at once.
func (f *Fabric) unbind(s *socket) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.sockets[s.key] != s {
		return
	}
	delete(f.sockets, s.key)
	if s.udp.IsValid() && f.bySource[s.udp] == s {
		delete(f.bySource, s.udp)
	}
	close(s.gone)
}

func (f *Fabric) lookup(p *place, kind string, addr netip.AddrPort) *socket {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.sockets[socketKey{p, kind, addr}]
}

// errFull says that a listener's backlog has no room: the SYN is lost.
var errFull = errors.New("backlog is full")

// connect hands one end of a flow to the listener.
func (f *Fabric) connect(ctx context.Context, s *socket, fl *flow) error {
	if s.backlog != nil {
		select {
		case <-s.gone:
			return os.NewSyscallError("connect", syscall.ECONNREFUSED)
		case s.backlog <- newEnd(fl, fl.to, fl.from, fl.back, fl.out):
			select {
			case <-s.gone: // and perhaps it emptied its backlog before
				fl.reset()
			default:
			}
			return nil
		default:
			return errFull
		}
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", s.at)
	if errors.Is(err, syscall.EAGAIN) {
		return errFull
	}
	if err == nil {
		_, err = c.Write(wire.AppendPreamble(nil, s.token, fl.from, fl.to))
		if err != nil {
			_ = c.Close()
		}
	}
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return os.NewSyscallError("connect", syscall.ECONNREFUSED)
	}
	conn := wire.NewConn(c, bufio.NewReaderSize(c, wire.MaxLine), fl.to, fl.from)
	if !f.start(func() { fl.pump(conn, fl.back, fl.out) }) {
		conn.Abort()
		return errClosed
	}
	return nil
}

// start runs fn as a worker that Run waits for; false when the fabric has closed.
func (f *Fabric) start(fn func()) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return false
	}
	f.workers.Go(fn)
	return true
}
