package wire

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// MaxFrame is the longest frame in bytes.
const MaxFrame = 64 << 10

// lingerLimit is how long Close waits for room to say that no more will come. Beyond it the flow counts as reset.
const lingerLimit = time.Second

// Conn is a stream of frames with the topology's addresses at its ends. It behaves as a *net.TCPConn does, half close and
// reset included. It is safe for concurrent use.
type Conn struct {
	c             net.Conn
	local, remote netip.AddrPort

	rmu  sync.Mutex // guards the reading side: r, left, eof
	r    *bufio.Reader
	left int // bytes of the present frame that are still to be read
	eof  bool

	wmu  sync.Mutex // guards the writing side: head, vec, fin, werr
	head [4]byte
	vec  [2][]byte
	fin  bool
	werr error // a frame was cut short: nothing more can be said

	abort  atomic.Bool // Close resets
	closed sync.Once
}

var _ net.Conn = (*Conn)(nil)

// NewConn makes a Conn of c. r holds what was already read of it.
func NewConn(c net.Conn, r *bufio.Reader, local, remote netip.AddrPort) *Conn {
	return &Conn{c: c, r: r, local: local, remote: remote}
}

// Read reads what the other end wrote; io.EOF after its FIN, ECONNRESET after its end without one.
func (c *Conn) Read(p []byte) (int, error) {
	c.rmu.Lock()
	defer c.rmu.Unlock()
	if err := c.nextFrame(); err != nil {
		return 0, err
	}
	if len(p) > c.left {
		p = p[:c.left]
	}
	n, err := c.r.Read(p)
	c.left -= n
	if n > 0 {
		err = nil
	}
	return n, c.readError(err)
}

// ReadFrame reads one whole frame into memory of its own: no buffer waits while the flow is idle. After the FIN it
// returns io.EOF, and when called again waits for the end of the connection itself and returns io.ErrClosedPipe.
func (c *Conn) ReadFrame() ([]byte, error) {
	c.rmu.Lock()
	defer c.rmu.Unlock()
	if c.eof {
		_, _ = c.r.Peek(1)
		return nil, io.ErrClosedPipe
	}
	if err := c.nextFrame(); err != nil {
		return nil, err
	}
	b := make([]byte, c.left)
	n, err := io.ReadFull(c.r, b)
	c.left -= n
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.EOF
	}
	return b[:n], c.readError(err)
}

// nextFrame makes sure that there are bytes left in the present frame. Peek keeps what it has when a deadline strikes.
func (c *Conn) nextFrame() error {
	for c.left == 0 {
		if c.eof {
			return io.EOF
		}
		head, err := c.r.Peek(4)
		if err != nil {
			return c.readError(err)
		}
		n := binary.BigEndian.Uint32(head)
		if n > MaxFrame {
			return c.readError(fmt.Errorf("frame of %d bytes, at most %d", n, MaxFrame))
		}
		_, _ = c.r.Discard(4)
		c.left, c.eof = int(n), n == 0
	}
	return nil
}

func (c *Conn) readError(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, io.EOF) {
		err = os.NewSyscallError("read", syscall.ECONNRESET)
	}
	return OpError("read", "tcp", c.local, c.remote, bare(err))
}

// Write writes all of p, or fails. A write that a deadline cuts short breaks the stream for good.
func (c *Conn) Write(p []byte) (int, error) {
	c.wmu.Lock()
	defer c.wmu.Unlock()
	done := 0
	for len(p) > 0 {
		if c.fin {
			return done, OpError("write", "tcp", c.local, c.remote, os.NewSyscallError("write", syscall.EPIPE))
		}
		piece := p[:min(len(p), MaxFrame)]
		n, err := c.writeFrame(piece)
		done += n
		if err != nil {
			return done, err
		}
		p = p[len(piece):]
	}
	return done, nil
}

// writeFrame is called with wmu held.
func (c *Conn) writeFrame(p []byte) (int, error) {
	if c.werr != nil {
		return 0, c.werr
	}
	binary.BigEndian.PutUint32(c.head[:], uint32(len(p)))
	c.vec = [2][]byte{c.head[:], p}
	bufs := net.Buffers(c.vec[:])
	n, err := bufs.WriteTo(c.c)
	c.vec = [2][]byte{}
	if err != nil {
		err = OpError("write", "tcp", c.local, c.remote, bare(err))
		if n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			c.werr = err
		}
	}
	return max(0, int(n)-len(c.head)), err
}

// CloseWrite says that no more will be written; the other end reads io.EOF.
func (c *Conn) CloseWrite() error {
	c.wmu.Lock()
	defer c.wmu.Unlock()
	if c.fin {
		return nil
	}
	c.fin = true
	_, err := c.writeFrame(nil)
	return err
}

// SetLinger with 0 makes Close a reset, as it does on a *net.TCPConn; other values restore the default.
func (c *Conn) SetLinger(sec int) error {
	c.abort.Store(sec == 0)
	return nil
}

// Abort closes the connection so that the other end sees a reset.
func (c *Conn) Abort() {
	c.abort.Store(true)
	_ = c.Close()
}

// Close closes both directions. The other end reads all that was written and then io.EOF, unless another goroutine is
// in the midst of a Write: then it sees a reset.
func (c *Conn) Close() error {
	err := net.ErrClosed
	c.closed.Do(func() {
		if !c.abort.Load() && c.wmu.TryLock() {
			if !c.fin {
				c.fin = true
				_ = c.c.SetWriteDeadline(time.Now().Add(lingerLimit))
				_, _ = c.writeFrame(nil)
			}
			c.wmu.Unlock()
		}
		err = c.c.Close()
	})
	return err
}

// LocalAddr is the near end in the topology.
func (c *Conn) LocalAddr() net.Addr { return net.TCPAddrFromAddrPort(c.local) }

// RemoteAddr is the far end in the topology.
func (c *Conn) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(c.remote) }

// SetDeadline sets both deadlines.
func (c *Conn) SetDeadline(t time.Time) error { return c.c.SetDeadline(t) }

// SetReadDeadline sets the deadline of Read.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.c.SetReadDeadline(t) }

// SetWriteDeadline sets the deadline of Write.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.c.SetWriteDeadline(t) }

// bare takes the unix socket's own addresses off an error: the reader knows none of them.
func bare(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op.Err
	}
	return err
}
