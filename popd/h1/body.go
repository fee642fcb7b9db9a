package h1

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"net/http"
	"strconv"
	"sync"
)

// The limits of a body that comes in chunks (RFC 9112 §7.1).
const (
	maxChunkLine = 4 << 10  // bytes of a chunk's size and extensions
	maxOverhead  = 16 << 10 // bytes of sizes and extensions beyond what a sender needs: else a body of them costs us more than its sender
	maxTrailer   = 8 << 10  // bytes of all trailer fields
)

var (
	errChunk   = errors.New("read a request's body: malformed chunk (RFC 9112 section 7.1)")
	errTrailer = errors.New("read a request's body: malformed or too large trailer (RFC 9112 section 7.1.2)")
)

// body is a request's body. Its Read may run in another goroutine than the Handler's.
type body struct {
	c   *conn
	req *http.Request

	mu       sync.Mutex // guards the following; held while Read waits for bytes
	left     int64      // bytes of the body, or of the chunk under way
	chunked  bool
	first    bool  // no chunk has been read yet
	overhead int64 // bytes spent on chunk lines beyond their due
	err      error // for all further calls
	closed   bool
	waits    bool // the client waits for 100 (Continue)
}

// Read is io.Reader's.
func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return 0, http.ErrBodyReadAfterClose
	}
	return b.read(p)
}

// Close is io.Closer's: what was not read is read when the answer is finished, if it is not much.
func (b *body) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	return nil
}

// read is Read for who holds mu.
func (b *body) read(p []byte) (int, error) {
	if b.err != nil || len(p) == 0 {
		return 0, b.err
	}
	if b.waits {
		b.waits = false
		if err := b.c.sendContinue(); err != nil {
			b.err = err
			return 0, err
		}
	}
	b.c.mark(inBody)
	n, err := b.some(p)
	b.c.mark(inHandler)
	if err != nil {
		b.err = err
		if err == io.EOF { //nolint:errorlint // the bare one
			b.c.client.bodyRead()
		}
	}
	return n, err
}

// some reads what there is of the body; io.EOF comes with its last bytes where they are known to be the last.
func (b *body) some(p []byte) (int, error) {
	if b.chunked && b.left == 0 {
		if err := b.nextChunk(); err != nil {
			return 0, err
		}
	}
	n, err := b.c.read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	switch {
	case n > 0 && b.left == 0 && !b.chunked:
		return n, io.EOF
	case n > 0:
		return n, nil
	case err == io.EOF: //nolint:errorlint // the bare one
		return 0, io.ErrUnexpectedEOF
	}
	return 0, err
}

// nextChunk reads the line before a chunk, and the trailer after the last one, which it reports as io.EOF.
func (b *body) nextChunk() error {
	if !b.first {
		if line, err := b.c.line(0); err != nil {
			return chunkError(err)
		} else if len(line) > 0 {
			return errChunk
		}
	}
	b.first = false
	line, err := b.c.line(maxChunkLine)
	if err != nil {
		return chunkError(err)
	}
	size, err := chunkSize(line)
	if err != nil {
		return err
	}
	b.overhead = max(0, b.overhead+int64(len(line))-16-2*size)
	if b.overhead > maxOverhead {
		return errChunk
	}
	if b.left = size; size > 0 {
		return nil
	}
	return b.trailer()
}

// chunkSize reads `1*HEXDIG [ chunk-ext ]`. Extensions are skipped (RFC 9112 §7.1.1), but they must be
// fit to be, and white space before them is not taken.
func chunkSize(line []byte) (int64, error) {
	digits, ext, _ := bytes.Cut(line, []byte(";"))
	if len(digits) == 0 || len(digits) > 15 {
		return 0, errChunk
	}
	for _, c := range digits {
		if !isDigit(c) && (c|0x20 < 'a' || c|0x20 > 'f') {
			return 0, errChunk
		}
	}
	for _, c := range ext {
		if !valueByte[c] {
			return 0, errChunk
		}
	}
	n, err := strconv.ParseInt(string(digits), 16, 64)
	if err != nil {
		return 0, errChunk
	}
	return n, nil
}

// trailer reads the fields after the last chunk (RFC 9112 §7.1.2). Those that frame or route a message, or decide who may
// have it, do not belong there and are dropped (RFC 9110 §6.5.1).
func (b *body) trailer() error {
	fields := http.Header{}
	for total := 0; ; {
		line, err := b.c.line(maxTrailer - total)
		switch {
		case err != nil:
			return chunkError(err)
		case len(line) == 0:
			if len(fields) > 0 && b.req.Trailer == nil {
				b.req.Trailer = http.Header{}
			}
			maps.Copy(b.req.Trailer, fields)
			return io.EOF
		}
		total += len(line)
		f, err := parseField(line)
		if err != nil || total > maxTrailer {
			return errTrailer
		}
		if f.Known == Other {
			fields.Add(string(f.Name), string(f.Value))
		}
	}
}

func chunkError(err error) error {
	if err == io.EOF { //nolint:errorlint // the bare one
		return io.ErrUnexpectedEOF
	}
	return err
}

// read takes bytes from the buffer, else from the connection.
func (c *conn) read(p []byte) (int, error) {
	if c.r < c.w {
		n := copy(p, c.buf[c.r:c.w])
		c.r += n
		return n, nil
	}
	return c.rwc.Read(p)
}

// line takes a line off the connection, without its CRLF, which nothing else stands for. It is valid until the next
// call. More than limit bytes are an error.
func (c *conn) line(limit int) ([]byte, error) {
	for {
		b := c.buf[c.r:c.w]
		switch end := bytes.IndexByte(b, '\n'); {
		case end == 0 || end > 0 && b[end-1] != '\r' || end-1 > limit || end < 0 && len(b) > limit+1:
			return nil, errChunk
		case end > 0:
			c.r += end + 1
			return b[:end-1], nil
		}
		if c.r > 0 {
			c.w = copy(c.buf, b)
			c.r = 0
		}
		if c.w == len(c.buf) {
			old := c.buf
			c.buf = make([]byte, max(2*len(old), inBytes)) // ends at limit
			copy(c.buf, old[:c.w])
		}
		if err := c.fill(); err != nil {
			return nil, err
		}
	}
}

// isLost reports whether the next request cannot be found behind this body: it is broken, or longer than we care to read,
// or the client still waits for 100 (Continue) and may send it or not.
func (b *body) isLost() bool {
	if !b.mu.TryLock() {
		return false // somebody is reading it
	}
	defer b.mu.Unlock()
	return b.lost()
}

// lost is isLost for who holds mu.
func (b *body) lost() bool {
	broken := b.err != nil && b.err != io.EOF //nolint:errorlint // the bare one
	return b.waits || broken || b.err == nil && !b.chunked && b.left > maxDiscard
}

// discard reads what is left of the body, if it is little, so that the connection can go on. It reports whether it can.
func (b *body) discard() bool {
	if !b.mu.TryLock() {
		// Somebody reads on behind the Handler's back, as net/http's Transport may.
		_ = b.c.rwc.SetReadDeadline(past) // ends it
		b.mu.Lock()
		defer b.mu.Unlock()
		b.closed = true
		return false
	}
	defer b.mu.Unlock()
	b.closed = true
	if b.lost() {
		return false
	}
	var scrap [2 << 10]byte
	for total := 0; b.err == nil && total < maxDiscard; {
		n, _ := b.read(scrap[:]) // its error is kept
		total += n
	}
	return b.err == io.EOF //nolint:errorlint // the bare one
}
