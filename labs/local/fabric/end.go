package fabric

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/catchment-net/catchment/internal/underlay/wire"
)

// endConn is the end of a flow within this process: a client's or an origin's connection.
type endConn struct {
	fl            *flow
	local, remote netip.AddrPort
	in, out       *stream
	rd, wd        *deadline
	abort         atomic.Bool
	closed        chan struct{}
	once          sync.Once
}

var _ net.Conn = (*endConn)(nil)

func newEnd(fl *flow, local, remote netip.AddrPort, out, in *stream) *endConn {
	return &endConn{fl: fl, local: local, remote: remote, out: out, in: in, rd: newDeadline(), wd: newDeadline(), closed: make(chan struct{})}
}

// Read reads what has arrived: io.EOF after the other end's FIN, ECONNRESET after a reset.
func (c *endConn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	n, err := c.in.read(p, c.rd)
	if n > 0 || err == nil {
		return n, nil
	}
	if errors.Is(err, errReset) && !c.isClosed() {
		c.fl.reset()
	}
	return 0, c.wrap("read", err)
}

// Write sends all of p; it waits while the window is full.
func (c *endConn) Write(p []byte) (int, error) {
	done := 0
	for len(p) > 0 {
		if c.isClosed() {
			return done, c.wrap("write", net.ErrClosed)
		}
		if c.wd.isPast() {
			return done, c.wrap("write", os.ErrDeadlineExceeded)
		}
		piece := append([]byte(nil), p[:min(len(p), wire.MaxFrame)]...)
		if err := c.out.put(piece, c.wd); err != nil {
			return done, c.wrap("write", err)
		}
		done += len(piece)
		p = p[len(piece):]
	}
	return done, nil
}

// CloseWrite sends the FIN; reading goes on.
func (c *endConn) CloseWrite() error {
	if c.isClosed() {
		return c.wrap("close", net.ErrClosed)
	}
	c.out.finish(io.EOF)
	return nil
}

// SetLinger with 0 makes Close a reset, as on a *net.TCPConn.
func (c *endConn) SetLinger(sec int) error {
	c.abort.Store(sec == 0)
	return nil
}

// Close ends both directions. The other end reads what was written and then io.EOF; a reset if something was left
// unread here (RFC 1122 §4.2.2.13).
func (c *endConn) Close() error {
	err := c.wrap("close", net.ErrClosed)
	c.once.Do(func() {
		err = nil
		close(c.closed)
		unread := c.in.stop()
		if unread || c.abort.Load() {
			c.out.finish(errReset)
		} else {
			c.out.finish(io.EOF)
		}
		c.rd.set(time.Unix(1, 0))
		c.wd.set(time.Unix(1, 0))
		c.fl.orphan()
	})
	return err
}

func (c *endConn) isClosed() bool {
	select {
	case <-c.closed:
		return true
	default:
		return false
	}
}

func (c *endConn) wrap(op string, err error) error {
	if errors.Is(err, io.EOF) {
		return io.EOF
	}
	if c.isClosed() {
		err = net.ErrClosed
	}
	return wire.OpError(op, "tcp", c.local, c.remote, err)
}

func (c *endConn) LocalAddr() net.Addr  { return net.TCPAddrFromAddrPort(c.local) }
func (c *endConn) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(c.remote) }

func (c *endConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

func (c *endConn) SetReadDeadline(t time.Time) error  { return c.setDeadline(c.rd, t) }
func (c *endConn) SetWriteDeadline(t time.Time) error { return c.setDeadline(c.wd, t) }

func (c *endConn) setDeadline(d *deadline, t time.Time) error {
	if c.isClosed() {
		return c.wrap("set", net.ErrClosed)
	}
	d.set(t)
	return nil
}
