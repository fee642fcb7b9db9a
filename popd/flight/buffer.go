package flight

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"sync/atomic"
)

// Sizes of the chunks that a body is kept in, in bytes.
const (
	minChunk = 4 << 10
	maxChunk = 64 << 10
)

// errBehind ends a reader that a window has moved past.
var errBehind = errors.New("read the body of a large answer: too far behind its fastest reader")

// Body is an answer's body in pieces.
type Body interface {
	// Next returns the next bytes, which must not be changed and are valid until the next call; io.EOF at the end of
	// a whole body, and any other error for a broken one.
	Next(ctx context.Context) ([]byte, error)
	// Live reports whether more bytes may yet arrive, so that what was written should be flushed.
	Live() bool
	// Close ends the use of the body; it does not end the flight.
	Close()
}

// buffer holds a body while it arrives and lets many read it.
type buffer struct {
	limit    int64
	pool     *pool
	ended    chan struct{} // closed by end
	progress chan struct{} // a token for the writer: a reader moved or left; capacity 1

	mu      sync.Mutex // guards the following; held for a copy of slice headers at most
	chunks  [][]byte   // what is kept; the last one grows within its capacity
	base    int64      // bytes dropped before chunks[0]
	size    int64      // bytes received, the dropped ones included
	held    int        // bytes at the end that readers do not see yet
	over    bool       // longer than limit, or than the pool has room for: a moving window
	charged int64      // bytes of chunks that the pool counts; -1 once nobody wants the flight any more
	done    bool
	err     error
	wake    chan struct{} // closed and replaced when bytes arrive, if anybody waits
	waiting bool
	readers map[*bufferReader]struct{}
}

// pool counts what the buffers of all flights hold.
type pool struct {
	limit int64 // bytes
	used  atomic.Int64
}

func newBuffer(limit int64, p *pool) *buffer {
	return &buffer{
		limit: limit, pool: p, ended: make(chan struct{}), progress: make(chan struct{}, 1),
		wake: make(chan struct{}), readers: map[*bufferReader]struct{}{},
	}
}

// adopt takes a body that is whole already.
func (b *buffer) adopt(chunks [][]byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.chunks = chunks
	for _, c := range chunks {
		b.size += int64(len(c))
	}
	b.wakeAll()
}

// fill reads body to its end, or to ctx's. tooLong is called once if the body exceeds the limit.
func (b *buffer) fill(ctx context.Context, body io.Reader, length int64, tooLong func()) error {
	for {
		if b.has(length) {
			return atEnd(body)
		}
		free, err := b.room(ctx, length, tooLong)
		if err != nil {
			return err
		}
		n, broken := body.Read(free)
		b.grow(n, length, broken == io.EOF)
		if broken == io.EOF {
			return nil
		}
		if broken != nil {
			return broken
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// has reports whether length bytes, if known, have arrived.
func (b *buffer) has(length int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return length > 0 && b.size >= length
}

// atEnd waits for the end of a body of which all bytes are there. It needs no room: there may be none left, and readers
// who could make some do not see the last bytes yet.
func atEnd(body io.Reader) error {
	var more [1]byte
	for {
		n, err := body.Read(more[:])
		switch {
		case n > 0:
			return errors.New("read a body: longer than its length")
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
	}
}

// room returns free space at the end of the last chunk, after making some.
func (b *buffer) room(ctx context.Context, length int64, tooLong func()) ([]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n := len(b.chunks); n > 0 {
		if last := b.chunks[n-1]; len(last) < cap(last) {
			return last[len(last):cap(last)], nil
		}
	}
	want := int64(minChunk) << min(len(b.chunks), 4)
	if left := length - b.size; left > 0 {
		want = min(left, maxChunk)
	}
	want = min(want, maxChunk)
	for len(b.chunks) > 0 && (b.size-b.base+want > b.limit || b.pool.used.Load()+want > b.pool.limit) {
		if !b.over {
			b.over = true
			b.mu.Unlock()
			tooLong()
			b.mu.Lock()
		}
		if first := int64(len(b.chunks[0])); b.fastest() >= b.base+first {
			b.base += first
			b.charge(-int64(cap(b.chunks[0])))
			b.chunks[0] = nil
			b.chunks = b.chunks[1:]
			continue
		}
		b.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-b.progress:
		}
		b.mu.Lock()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	chunk := make([]byte, 0, want)
	b.chunks = append(b.chunks, chunk)
	b.charge(want)
	return chunk[:want], nil
}

// charge tells the pool of bytes taken or given back. The caller holds b.mu.
func (b *buffer) charge(n int64) {
	if b.charged >= 0 {
		b.charged += n
		b.pool.used.Add(n)
	}
}

// discharge gives all back to the pool, for good.
func (b *buffer) discharge() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.charged >= 0 {
		b.pool.used.Add(-b.charged)
		b.charged = -1
	}
}

// fastest is the position of the reader that is furthest on. The caller holds b.mu.
func (b *buffer) fastest() int64 {
	var at int64
	for r := range b.readers {
		at = max(at, r.at)
	}
	return at
}

// grow takes n bytes that were read into room. The last ones are held back until end: a client who knows the length
// may have left and come again before the answer is stored, and would find neither it nor the flight. Over HTTP/2 the
// end comes only after them.
func (b *buffer) grow(n int, length int64, last bool) {
	if n == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	tail := &b.chunks[len(b.chunks)-1]
	*tail = (*tail)[:len(*tail)+n]
	b.size += int64(n)
	if last || b.size == length {
		b.held = n
		return
	}
	b.wakeAll()
}

// wakeAll lets the readers look again. The caller holds b.mu.
func (b *buffer) wakeAll() {
	if b.waiting {
		close(b.wake)
		b.wake = make(chan struct{})
		b.waiting = false
	}
}

// end says that nothing more comes; a nil err says that the body is whole.
func (b *buffer) end(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.done, b.err, b.held = true, err, 0
	b.wakeAll()
	close(b.ended)
}

func (b *buffer) overflowed() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.over
}

// whole returns the chunks of a body that has arrived; one that was given much more room than it needed is copied.
func (b *buffer) whole() (chunks [][]byte, length int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	chunks = slices.DeleteFunc(slices.Clone(b.chunks), func(c []byte) bool { return len(c) == 0 })
	if n := len(chunks); n > 0 && len(chunks[n-1]) < cap(chunks[n-1])/4*3 {
		chunks[n-1] = append(make([]byte, 0, len(chunks[n-1])), chunks[n-1]...)
	}
	return chunks, b.size
}

func (b *buffer) reader() *bufferReader {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := &bufferReader{b: b}
	b.readers[r] = struct{}{}
	return r
}

// bufferReader is one reader's place in a buffer.
type bufferReader struct {
	b    *buffer
	at   int64 // guarded by b.mu: the byte to read next
	live bool
}

// Next is Body's.
func (r *bufferReader) Next(ctx context.Context) ([]byte, error) {
	for {
		p, wake, err := r.look()
		if p != nil || err != nil {
			return p, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-wake:
		}
	}
}

// look returns what there is to read, or what to wait for.
func (r *bufferReader) look() (p []byte, wake <-chan struct{}, err error) {
	b := r.b
	b.mu.Lock()
	defer b.mu.Unlock()
	r.live = !b.done
	if r.at < b.base {
		return nil, nil, errBehind
	}
	at := b.base
	for _, c := range b.chunks {
		if shown := b.size - int64(b.held) - at; shown < int64(len(c)) {
			c = c[:max(shown, 0)]
		}
		if off := r.at - at; off < int64(len(c)) {
			p = c[off:len(c):len(c)]
			r.at += int64(len(p))
			select {
			case b.progress <- struct{}{}:
			default:
			}
			return p, nil, nil
		}
		at += int64(len(c))
	}
	switch {
	case b.done && b.err != nil:
		return nil, nil, b.err
	case b.done:
		return nil, nil, io.EOF
	}
	b.waiting = true
	return nil, b.wake, nil
}

// Live is Body's.
func (r *bufferReader) Live() bool { return r.live }

// Close is Body's.
func (r *bufferReader) Close() {
	r.b.mu.Lock()
	defer r.b.mu.Unlock()
	delete(r.b.readers, r)
	select {
	case r.b.progress <- struct{}{}:
	default:
	}
}

// ownBody streams an answer to its only reader, at that reader's speed.
type ownBody struct {
	r   io.Reader
	buf []byte
	err error
}

// Streamed returns the body that r brings, for its only reader.
func Streamed(r io.Reader) Body { return &ownBody{r: r} }

// Next is Body's.
func (o *ownBody) Next(context.Context) ([]byte, error) {
	if o.err != nil {
		return nil, o.err
	}
	if o.buf == nil {
		o.buf = make([]byte, maxChunk/2)
	}
	var n int
	for n == 0 && o.err == nil {
		n, o.err = o.r.Read(o.buf)
	}
	if n > 0 {
		return o.buf[:n], nil
	}
	return nil, o.err
}

// Live is Body's.
func (o *ownBody) Live() bool { return o.err == nil }

// Close is Body's.
func (o *ownBody) Close() {}

// wholeBody is a body that was whole from the start.
type wholeBody struct{ chunks [][]byte }

// Stored returns the body of an answer that is in a store.
func Stored(chunks [][]byte) Body { return &wholeBody{chunks: chunks} }

// Next is Body's.
func (w *wholeBody) Next(context.Context) ([]byte, error) {
	if len(w.chunks) == 0 {
		return nil, io.EOF
	}
	p := w.chunks[0]
	w.chunks = w.chunks[1:]
	return p, nil
}

// Live is Body's.
func (w *wholeBody) Live() bool { return false }

// Close is Body's.
func (w *wholeBody) Close() {}
