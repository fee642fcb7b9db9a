package h1

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	inBytes     = 4 << 10                // of a connection's read buffer, until a header needs more
	outBytes    = 16 << 10               // of what is gathered before it is written
	copiedBytes = 4 << 10                // up to this a body is copied behind its header, which is cheaper than a second piece
	linger      = 500 * time.Millisecond // for the client to read our last words before the connection is gone
	maxDiscard  = 256 << 10              // bytes of a body that nobody wanted, read to keep the connection
)

// conn is one connection. All but what is said to be shared belongs to its goroutine.
type conn struct {
	s   *Server
	l   *listener
	tls *tls.ConnectionState // nil if plain

	state atomic.Uint64 // phase and since when; shared with the janitor
	once  sync.Once     // guards forget
	left  bool          // hijacked, or net/http has it

	wire net.Conn        // as it was accepted; shared with the janitor
	rwc  net.Conn        // wire, or TLS over it
	raw  syscall.RawConn // rwc's where it is a TCP socket of the kernel's, else nil

	buf  []byte // buf[r:w] has been received and not been used; nil while idle
	r, w int
	eof  error // what a watch has read beyond buf
	head Head
	ans  Answer
	out  []byte   // answers not written yet; nil if there are none
	vec  [][]byte // of the write under way

	client  *client   // of the request under way
	current *response // to it

	tryRead, tryWrite func(fd uintptr) bool // made once: they would be allocated for each call
	readErr, writeErr error                 // of the last of each: the watcher reads while the handler writes
}

func newConn(l *listener, rwc net.Conn) *conn {
	c := &conn{s: l.s, l: l, wire: rwc, rwc: rwc}
	c.head.Remote = rwc.RemoteAddr().String()
	c.openRaw()
	c.mark(idle)
	c.s.mu.Lock()
	c.s.conns[c] = struct{}{}
	c.s.mu.Unlock()
	c.s.metrics.accepted.Inc()
	return c
}

// forget gives the connection's slot back.
func (c *conn) forget() {
	c.s.mu.Lock()
	delete(c.s.conns, c)
	c.s.mu.Unlock()
	<-c.s.slots
}

// serve answers requests until the connection ends.
func (c *conn) serve(ctx context.Context) {
	defer func() {
		if c.left {
			return
		}
		c.putBuffers()
		_ = c.rwc.Close() // the client may have closed first
		c.once.Do(c.forget)
	}()
	if ctx.Err() != nil || c.l.b.TLS != nil && !c.handshake(ctx) {
		return
	}
	c.mark(idle)
	for c.next() {
	}
}

// next answers one request. It reports false when the connection shall end.
func (c *conn) next() bool {
	c.head.reset()
	for {
		n, err := c.head.parse(c.buf[c.r:c.w])
		if n > 0 {
			if err = c.head.judge(); err == nil {
				c.r += n
				return c.answer()
			}
		}
		if err == nil {
			err = c.more()
		}
		if err != nil {
			c.giveUp(err)
			return false
		}
	}
}

// more waits for further bytes of a header, once all answers have been sent.
func (c *conn) more() error {
	if err := c.flush(); err != nil {
		return err
	}
	if c.r == c.w {
		c.r, c.w = 0, 0
		c.mark(idle)
		// Under load the next request is here by the time the others have had their turn: that saves a read in vain, and
		// the way through the poller. Without load it costs a tenth of a microsecond.
		runtime.Gosched()
		return c.fill()
	}
	if phase(c.state.Load()>>phaseShift) != inHeader {
		c.mark(inHeader)
	}
	if c.w-c.r >= c.s.o.HeaderBytes {
		return errHead
	}
	if c.w == len(c.buf) {
		c.move()
	}
	return c.fill()
}

// move makes room behind what has been received. The head's slices do not move with it: it is read again, which happens
// a few times in the life of one at most.
func (c *conn) move() {
	c.head.reset()
	old := c.buf
	if c.r == 0 {
		c.buf = make([]byte, min(2*len(old), c.s.o.HeaderBytes))
	}
	c.w = copy(c.buf, old[c.r:c.w])
	c.r = 0
	if len(c.buf) != len(old) {
		c.s.pools.putIn(old)
	}
}

// answer answers the request in c.head.
func (c *conn) answer() bool {
	if c.l.b.Hot == nil || !c.head.Plain() {
		return c.handle()
	}
	c.ensureOut()
	a := &c.ans
	a.Head, a.Body, a.Pinned = c.out, a.Body[:0], false
	if !c.l.b.Hot.Answer(&c.head, a) {
		return c.handle()
	}
	ends := c.head.close || c.s.draining.Load()
	c.out = appendConnection(a.Head, ends, c.head.Minor)
	c.out = append(c.out, '\r', '\n')
	err := c.writeBody(a)
	if a.Pinned {
		a.Pin.Release()
	}
	if err == nil && !ends {
		return true
	}
	if err == nil {
		c.finish()
	}
	return false
}

// writeBody sends what has been gathered and a's body, or gathers it too if it is small and the next request is here.
func (c *conn) writeBody(a *Answer) error {
	size := 0
	for _, p := range a.Body {
		size += len(p)
	}
	if size > copiedBytes {
		return c.write(a.Body...)
	}
	for _, p := range a.Body {
		c.out = append(c.out, p...)
	}
	if len(c.out) > outBytes-copiedBytes {
		return c.flush()
	}
	return nil
}

func appendConnection(b []byte, ends bool, minor int) []byte {
	switch {
	case ends && minor == 1:
		return append(b, "Connection: close\r\n"...)
	case !ends && minor == 0:
		return append(b, "Connection: keep-alive\r\n"...)
	}
	return b // what the version means anyway (RFC 9112 §9.3)
}

// giveUp ends the connection for an error: with an answer if the client can use one.
func (c *conn) giveUp(err error) {
	if errors.Is(err, os.ErrDeadlineExceeded) && c.w > c.r {
		err = errSlow
	}
	var r *refusal
	if !errors.As(err, &r) {
		return
	}
	c.s.metrics.refused.WithLabelValues(r.reason).Inc()
	text := strconv.Itoa(r.status) + " " + http.StatusText(r.status) + ": " + r.text + "\n"
	c.ensureOut()
	c.out = append(c.out, "HTTP/1.1 "+strconv.Itoa(r.status)+" "+http.StatusText(r.status)+"\r\n"+
		"Content-Type: text/plain; charset=utf-8\r\nContent-Length: "+strconv.Itoa(len(text))+"\r\nConnection: close\r\n\r\n"+text...)
	c.finish()
}

// finish sends the last answer. Closing a socket with unread bytes resets the connection, and the answer may be lost
// with it: what still comes is read for a while (RFC 9112 §9.6).
func (c *conn) finish() {
	if c.flush() != nil {
		return
	}
	c.mark(idle)
	half, ok := c.rwc.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	if c.rwc.SetReadDeadline(time.Now().Add(linger)) == nil {
		_, _ = io.CopyN(io.Discard, c.rwc, maxDiscard) // only to read them
	}
}

// flush sends what has been gathered.
func (c *conn) flush() error {
	if len(c.out) == 0 {
		return nil
	}
	return c.write()
}

// write sends what has been gathered and the pieces after it, with one call where the system has one.
func (c *conn) write(pieces ...[]byte) error {
	c.vec = c.vec[:0]
	if len(c.out) > 0 {
		c.vec = append(c.vec, c.out)
	}
	c.vec = append(c.vec, pieces...)
	all := c.vec
	err := c.send()
	clear(all) // the pieces are not ours to keep
	c.vec = all[:0]
	if c.out != nil {
		c.s.pools.putOut(c.out)
		c.out = nil
	}
	return err
}

// fillPlain is fill by the connection's own Read.
func (c *conn) fillPlain() error {
	if c.buf == nil {
		c.buf = c.s.pools.getIn()
	}
	n, err := c.rwc.Read(c.buf[c.w:])
	c.w += n
	if n > 0 {
		return nil // an error comes again
	}
	return err
}

// sendPieces is for connections that take one piece at a time: TLS, and networks that are not the kernel's.
func (c *conn) sendPieces() error {
	const most = 64 << 10 // bytes in one call, so that a slow client is seen to move
	before := c.state.Load()
	for _, p := range c.vec {
		for len(p) > 0 {
			c.mark(inWrite)
			n, err := c.rwc.Write(p[:min(len(p), most)])
			if err != nil {
				return err
			}
			p = p[n:]
		}
	}
	c.resume(before)
	return nil
}

// resume goes back to what the connection was at before a write.
func (c *conn) resume(before uint64) { c.mark(phase(before >> phaseShift)) }
