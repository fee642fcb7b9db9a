package h1

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// heldBytes is how much of a body is kept back until its end is known, so that a short one gets a Content-Length.
const heldBytes = 2 << 10

// framing is how the end of an answer's body is told (RFC 9112 §6.3).
type framing uint8

const (
	undecided framing = iota // the header has not been sent
	bodiless                 // HEAD, 204, 304
	byLen                    // Content-Length
	byChunks                 // Transfer-Encoding: chunked
	byClose                  // the connection's end
)

// response is the ResponseWriter of one request. As net/http's it is used by one goroutine at a time, but for the 100
// (Continue) that a Read of the body sends.
type response struct {
	c      *conn
	req    *http.Request
	body   *body // nil if the request has none
	header http.Header
	sent   http.Header // as it was at WriteHeader

	status  int // 0 until WriteHeader
	framing framing
	left    int64  // bytes to come where a length was promised
	total   int64  // bytes of body written by the Handler
	held    []byte // of an undecided answer
	ends    bool   // the connection ends with this answer
	hijack  bool
	timed   atomic.Bool // the Handler has set a deadline
	err     error       // of a write: the client has gone

	continues sync.Mutex // guards late: 100 (Continue) is written by whoever reads the body
	late      bool       // the answer has begun: no 100 any more
}

// handle has the Handler answer the request in c.head.
func (c *conn) handle() bool {
	req, b, err := c.request()
	if err != nil {
		c.giveUp(err)
		return false
	}
	if err := c.flush(); err != nil { // earlier answers do not wait for this one
		return false
	}
	w := &response{c: c, req: req, body: b, header: http.Header{}, ends: c.head.close}
	c.current = w
	c.mark(inHandler)
	whole := w.run(c.l.b.Handler)
	if w.hijack {
		c.left = true
		c.once.Do(c.forget)
		return false
	}
	if whole {
		w.finish()
	}
	if b != nil && !b.discard() {
		w.ends = true
	}
	c.client.finish()
	if c.current = nil; w.timed.Load() {
		_ = c.rwc.SetDeadline(time.Time{}) // what a connection without deadlines does not know
	}
	switch {
	case !whole || w.err != nil:
		return false
	case w.ends:
		c.finish()
		return false
	}
	return true
}

// run calls the Handler and reports whether it returned. One that panics leaves an answer that must not look whole.
func (w *response) run(h http.Handler) (whole bool) {
	defer func() {
		if whole || w.hijack {
			return
		}
		if p := recover(); p != nil && p != http.ErrAbortHandler { //nolint:errorlint // as net/http compares it
			w.c.s.o.Logger.Error("answering a request failed", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		}
	}()
	h.ServeHTTP(w, w.req)
	return true
}

// Header is http.ResponseWriter's.
func (w *response) Header() http.Header { return w.header }

// WriteHeader is http.ResponseWriter's. Informational answers are sent at once (RFC 9110 §15.2).
func (w *response) WriteHeader(status int) {
	switch {
	case status < 100 || status > 999:
		panic(fmt.Sprintf("invalid status %d", status))
	case w.status != 0 || w.hijack:
		return
	case status < 200 && status != http.StatusSwitchingProtocols:
		w.inform(status)
		return
	}
	w.noContinue()
	w.status = status
	w.sent = w.header.Clone()
}

// inform sends an informational answer.
func (w *response) inform(status int) {
	if w.req.ProtoMinor == 0 {
		return // RFC 9110 §15.2: not to HTTP/1.0
	}
	w.continues.Lock()
	defer w.continues.Unlock()
	if status == http.StatusContinue {
		if w.body == nil || w.late {
			return
		}
		w.late = true
	}
	w.c.ensureOut()
	w.c.out = appendStatus(w.c.out, w.req.ProtoMinor, status)
	w.c.out = appendHeader(w.c.out, w.header, func(name string) bool { return name == "Content-Length" || name == "Transfer-Encoding" })
	w.c.out = append(w.c.out, '\r', '\n')
	w.note(w.c.flush())
}

// sendContinue tells the client to send its body (RFC 9110 §10.1.1).
func (c *conn) sendContinue() error {
	w := c.current
	w.continues.Lock()
	defer w.continues.Unlock()
	if w.late {
		return nil
	}
	w.late = true
	c.ensureOut()
	c.out = append(c.out, "HTTP/1.1 100 Continue\r\n\r\n"...)
	return c.flush()
}

// noContinue says that the answer begins.
func (w *response) noContinue() {
	w.continues.Lock()
	defer w.continues.Unlock()
	w.late = true
}

// Write is io.Writer's.
func (w *response) Write(p []byte) (int, error) {
	switch {
	case w.hijack:
		return 0, http.ErrHijacked
	case w.status == 0:
		w.WriteHeader(http.StatusOK)
	}
	if len(p) == 0 {
		return 0, w.err
	}
	if !hasBody(w.status) {
		return 0, http.ErrBodyNotAllowed
	}
	w.total += int64(len(p))
	if n, ok := w.promised(); ok && w.total > n {
		return 0, http.ErrContentLength
	}
	if w.framing == undecided {
		if len(w.held)+len(p) <= heldBytes {
			w.held = append(w.held, p...)
			return len(p), nil
		}
		w.decide(-1)
	}
	w.emit(p)
	return len(p), w.err
}

// WriteString is io.StringWriter's.
func (w *response) WriteString(s string) (int, error) { return w.Write([]byte(s)) }

// promised is the Content-Length that the Handler has set.
func (w *response) promised() (int64, bool) {
	v := w.sent["Content-Length"]
	if len(v) != 1 {
		return 0, false
	}
	n, err := strconv.ParseInt(v[0], 10, 64)
	return n, err == nil && n >= 0
}

func hasBody(status int) bool {
	return status >= 200 && status != http.StatusNoContent && status != http.StatusNotModified
}

// decide puts the header into the buffer, followed by what has been held of the body. length is the body's in bytes if
// it is known, else -1.
func (w *response) decide(length int64) {
	h := w.sent
	promised, has := w.promised()
	if !has {
		delete(h, "Content-Length") // an invalid one is not passed on
	}
	chunked := w.plan(length, promised, has)
	if w.body != nil && w.body.isLost() || strings.EqualFold(strings.Join(h["Connection"], ","), "close") || w.c.s.draining.Load() {
		w.ends = true
	}
	c := w.c
	c.ensureOut()
	c.out = appendStatus(c.out, w.req.ProtoMinor, w.status)
	c.out = appendHeader(c.out, h, func(name string) bool {
		return name == "Connection" && w.status != http.StatusSwitchingProtocols || name == "Transfer-Encoding" || strings.HasPrefix(name, http.TrailerPrefix) ||
			w.isTrailer(name)
	})
	if _, set := h["Date"]; !set {
		c.out = append(c.out, "Date: "...)
		c.out = c.s.o.Now().UTC().AppendFormat(c.out, http.TimeFormat)
		c.out = append(c.out, '\r', '\n')
	}
	if !has && length >= 0 && w.framing != byChunks && w.sized() {
		c.out = append(c.out, "Content-Length: "...)
		c.out = strconv.AppendInt(c.out, length, 10)
		c.out = append(c.out, '\r', '\n')
	}
	if chunked {
		c.out = append(c.out, "Transfer-Encoding: chunked\r\n"...)
	}
	c.out = appendConnection(c.out, w.ends, w.req.ProtoMinor)
	c.out = append(c.out, '\r', '\n')
	held := w.held
	w.held = nil
	if len(held) > 0 {
		w.emit(held)
	}
}

// plan chooses the framing. It reports whether the header says chunked.
func (w *response) plan(length, promised int64, has bool) (chunked bool) {
	switch {
	case !hasBody(w.status), w.req.Method == http.MethodHead:
		switch w.status {
		case http.StatusNoContent:
			delete(w.sent, "Content-Length") // RFC 9110 §8.6
		case http.StatusNotModified: // what a 304 need not say, and at times says wrong (RFC 9110 §15.4.5)
			delete(w.sent, "Content-Length")
			delete(w.sent, "Content-Type")
		}
		w.framing = bodiless
	case has:
		w.framing, w.left = byLen, promised
	case length >= 0:
		w.framing, w.left = byLen, length
	case w.req.ProtoMinor == 0:
		w.framing, w.ends = byClose, true
	default:
		w.framing = byChunks
	}
	return w.framing == byChunks
}

// sized reports whether a Content-Length may be added: not where there is none to be, and not for HEAD, unless the
// Handler has written the body that GET would get.
func (w *response) sized() bool {
	return hasBody(w.status) && (w.req.Method != http.MethodHead || w.total > 0)
}

// emit sends bytes of the body; small ones wait for more, or for Flush.
func (w *response) emit(p []byte) {
	c := w.c
	if w.err != nil || w.framing == bodiless {
		return
	}
	c.ensureOut()
	if w.framing == byLen {
		w.left -= int64(len(p))
	}
	if w.framing == byChunks {
		c.out = strconv.AppendInt(c.out, int64(len(p)), 16)
		c.out = append(c.out, '\r', '\n')
	}
	switch {
	case len(p) > copiedBytes && w.framing == byChunks:
		w.note(c.write(p, crlf))
		return
	case len(p) > copiedBytes:
		w.note(c.write(p))
		return
	}
	c.out = append(c.out, p...)
	if w.framing == byChunks {
		c.out = append(c.out, '\r', '\n')
	}
	if len(c.out) > outBytes-2*copiedBytes {
		w.note(c.flush())
	}
}

// note keeps the error of a write.
func (w *response) note(err error) {
	if err != nil && w.err == nil {
		w.err = err
	}
}

// FlushError is what http.ResponseController calls.
func (w *response) FlushError() error {
	switch {
	case w.hijack:
		return http.ErrHijacked
	case w.status == 0:
		w.WriteHeader(http.StatusOK)
	}
	if w.framing == undecided {
		w.decide(-1)
	}
	w.note(w.c.flush())
	return w.err
}

// Flush is http.Flusher's.
func (w *response) Flush() { _ = w.FlushError() } // the next Write says it

// finish ends the answer.
func (w *response) finish() {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if w.framing == undecided {
		length := int64(len(w.held))
		if w.sent["Trailer"] != nil || w.hasPrefixed() {
			length = -1 // only chunks have trailers
		}
		w.decide(length)
	}
	switch w.framing {
	case byLen:
		if w.left > 0 {
			w.err = http.ErrContentLength // it must not look whole
		}
		if n, ok := w.promised(); ok && w.total > n {
			w.ends = true // the Handler is not to be trusted with this connection
		}
	case byChunks:
		w.c.ensureOut()
		w.c.out = append(w.c.out, "0\r\n"...)
		w.c.out = w.appendTrailer(w.c.out)
		w.c.out = append(w.c.out, '\r', '\n')
	}
	if w.ends || w.body != nil || w.err != nil || len(w.c.out) > outBytes/2 {
		w.note(w.c.flush())
	}
}

// isTrailer reports whether the Handler has announced a field for after the body.
func (w *response) isTrailer(name string) bool {
	for _, line := range w.sent["Trailer"] {
		for t := range strings.SplitSeq(line, ",") {
			if http.CanonicalHeaderKey(strings.TrimSpace(t)) == name && name != "Trailer" {
				return true
			}
		}
	}
	return false
}

func (w *response) hasPrefixed() bool {
	for name := range w.header {
		if strings.HasPrefix(name, http.TrailerPrefix) {
			return true
		}
	}
	return false
}

// appendTrailer writes the fields that were announced, and those with http.TrailerPrefix.
func (w *response) appendTrailer(b []byte) []byte {
	t := http.Header{}
	for name, values := range w.header {
		if rest, ok := strings.CutPrefix(name, http.TrailerPrefix); ok {
			t[http.CanonicalHeaderKey(rest)] = values
		} else if w.isTrailer(name) {
			t[name] = values
		}
	}
	return appendHeader(b, t, func(name string) bool { return known([]byte(name)) != Other })
}

// SetReadDeadline is for http.ResponseController. It ends with the request.
func (w *response) SetReadDeadline(t time.Time) error {
	w.timed.Store(true)
	return w.c.rwc.SetReadDeadline(t)
}

// SetWriteDeadline is for http.ResponseController. It ends with the request.
func (w *response) SetWriteDeadline(t time.Time) error {
	w.timed.Store(true)
	return w.c.rwc.SetWriteDeadline(t)
}

// errHeld refuses a hijack while bytes of the request's body are still on their way.
var errHeld = errors.New("hijack: the request's body has not been read")

// Hijack is http.Hijacker's: for CONNECT and Upgrade. The connection is the caller's from then on.
func (w *response) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if w.hijack {
		return nil, nil, http.ErrHijacked
	}
	if w.body != nil && !w.body.discard() {
		return nil, nil, errHeld
	}
	if err := w.c.flush(); err != nil {
		return nil, nil, err
	}
	w.c.client.finish()
	w.hijack = true
	c := w.c
	c.mark(handedOver)
	_ = c.rwc.SetDeadline(time.Time{}) // what a connection without deadlines does not know
	rest := append([]byte(nil), c.buf[c.r:c.w]...)
	return c.rwc, bufio.NewReadWriter(bufio.NewReader(&prefixed{rest: rest, Conn: c.rwc}), bufio.NewWriter(c.rwc)), nil
}

// prefixed is a connection of which some bytes have been read already.
type prefixed struct {
	rest []byte
	net.Conn
}

// Read is io.Reader's.
func (p *prefixed) Read(b []byte) (int, error) {
	if len(p.rest) > 0 {
		n := copy(b, p.rest)
		p.rest = p.rest[n:]
		return n, nil
	}
	return p.Conn.Read(b)
}
