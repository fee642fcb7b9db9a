package h1

import (
	"errors"
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// openRaw finds the kernel's socket below a plain TCP connection. Through it an idle connection needs no buffer to wait
// with, and a header and a body go out in one call.
func (c *conn) openRaw() {
	t, ok := c.rwc.(*net.TCPConn)
	if !ok {
		return
	}
	raw, err := t.SyscallConn()
	if err != nil {
		return
	}
	c.raw = raw
	c.tryRead = func(fd uintptr) bool {
		if c.buf == nil {
			c.buf = c.s.pools.getIn()
		}
		n, err := unix.Read(int(fd), c.buf[c.w:])
		for err == unix.EINTR {
			n, err = unix.Read(int(fd), c.buf[c.w:])
		}
		switch {
		case err == unix.EAGAIN:
			if c.w == 0 {
				c.s.pools.putIn(c.buf)
				c.buf = nil
			}
			return false
		case err != nil:
			c.readErr = os.NewSyscallError("read", err)
		case n == 0:
			c.readErr = io.EOF
		default:
			c.w += n
			c.readErr = nil
		}
		return true
	}
	c.tryWrite = func(fd uintptr) bool {
		for len(c.vec) > 0 {
			n, err := c.writeOnce(int(fd))
			switch {
			case errors.Is(err, unix.EINTR):
			case errors.Is(err, unix.EAGAIN):
				c.mark(inWrite)
				return false
			case err != nil:
				c.writeErr = os.NewSyscallError("write", err)
				return true
			default:
				c.advance(n)
			}
		}
		c.writeErr = nil
		return true
	}
}

func (c *conn) writeOnce(fd int) (int, error) {
	if len(c.vec) == 1 {
		return unix.Write(fd, c.vec[0])
	}
	return unix.Writev(fd, c.vec[:min(len(c.vec), maxPieces)])
}

// maxPieces is how many pieces go into one call: beyond these, unix.Writev allocates.
const maxPieces = 8

// advance drops n bytes off the write under way.
func (c *conn) advance(n int) {
	for n > 0 {
		if n < len(c.vec[0]) {
			c.vec[0] = c.vec[0][n:]
			return
		}
		n -= len(c.vec[0])
		c.vec = c.vec[1:]
	}
	for len(c.vec) > 0 && len(c.vec[0]) == 0 {
		c.vec = c.vec[1:]
	}
}

// fill reads at least one byte more into the buffer.
func (c *conn) fill() error {
	if err := c.eof; err != nil {
		return err
	}
	if c.raw == nil {
		return c.fillPlain()
	}
	if err := c.raw.Read(c.tryRead); err != nil {
		return err
	}
	return c.readErr
}

// send writes c.vec.
func (c *conn) send() error {
	if c.raw == nil {
		return c.sendPieces()
	}
	before := c.state.Load()
	if err := c.raw.Write(c.tryWrite); err != nil {
		return err
	}
	if phase(c.state.Load()>>phaseShift) == inWrite {
		c.resume(before)
	}
	return c.writeErr
}
