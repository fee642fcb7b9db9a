package flight

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"

	"github.com/catchment-net/catchment/popd/store/mem"
)

// Sizes, in bytes.
const (
	maxChunk = 64 << 10 // of a window's chunks
	window   = 1 << 20  // of a body that is not stored, between its fastest reader and upstream

	// A body that nobody reads any more is fetched to its end, for the store, if no more than this is missing: the
	// connection stays in use, and the next client finds a hit.
	smallRest = 64 << 10
	largeRest = 5 // a fifth of the body
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

// chunk is a run of bytes of a body. Those in a Fill's memory must stay there while anybody reads them.
type chunk struct {
	data   []byte // grows within its capacity
	filled bool   // its memory is the Fill's, not the Go heap's
	users  int    // readers who hold a part of it
}

// buffer holds a body while it arrives and lets many read it. The bytes lie in a Fill, from where they become an entry
// of the store without being copied. A body that is too long for that, or finds no room there, goes on through a window
// on the Go heap, which moves with its fastest reader.
type buffer struct {
	limit    int64 // bytes of a body that may become an entry
	pool     *pool
	fill     *mem.Fill     // for the writer; guarded by mu once over is set
	view     mem.View      // of an answer that is stored already; set by the writer before any seat asks for a body
	ended    chan struct{} // closed by end
	progress chan struct{} // a token for the writer: a reader moved or left; capacity 1

	mu      sync.Mutex // guards the following; held for a copy of slice headers at most
	chunks  []*chunk
	base    int64 // bytes dropped before chunks[0]
	size    int64 // bytes received, the dropped ones included
	held    int   // bytes at the end that readers do not see yet
	over    bool  // a moving window
	stuck   bool  // a reader held a chunk of the Fill that the window passed
	charged int64 // bytes that the pool counts
	done    bool
	err     error
	wake    chan struct{} // closed and replaced when bytes arrive, if anybody waits
	waiting bool
	readers map[*bufferReader]struct{}
	owners  int // the writer and the seats; the last one frees the Fill
}

// pool counts what the windows of all flights hold.
type pool struct {
	limit int64 // bytes
	used  atomic.Int64
}

func newBuffer(limit int64, p *pool, fill *mem.Fill) *buffer {
	return &buffer{
		limit: limit, pool: p, fill: fill, ended: make(chan struct{}), progress: make(chan struct{}, 1),
		wake: make(chan struct{}), readers: map[*bufferReader]struct{}{}, owners: 2,
	}
}

// read takes body to its end, or to ctx's. tooLong is called once if the body cannot become an entry.
func (b *buffer) read(ctx context.Context, body io.Reader, length int64, tooLong func()) error {
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
			if length >= 0 && !b.has(length) {
				return io.ErrUnexpectedEOF
			}
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
	return length >= 0 && b.size >= length
}

// nearly reports whether most of a body of that length has arrived.
func (b *buffer) nearly(length int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	left := length - b.size
	return length >= 0 && !b.over && (left <= smallRest || left <= length/largeRest)
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
	if n := len(b.chunks); n > 0 { // only the writer, who calls this, changes the last one
		if last := b.chunks[n-1]; len(last.data) < cap(last.data) {
			return last.data[len(last.data):cap(last.data)], nil
		}
	}
	if !b.over {
		if p := b.storeRoom(length); p != nil {
			b.add(&chunk{data: p[:0:len(p)], filled: true})
			return p, nil
		}
		tooLong()
	}
	return b.windowRoom(ctx)
}

// storeRoom is room in the store, or nil if there is none for this body.
func (b *buffer) storeRoom(length int64) []byte {
	left := int64(-1)
	if length >= 0 {
		left = length - b.size
	}
	if max(length, b.size+1) > b.limit {
		return nil
	}
	p, err := b.fill.Room(left)
	if err != nil {
		return nil
	}
	return p
}

// add takes a new last chunk.
func (b *buffer) add(c *chunk) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.chunks = append(b.chunks, c)
}

// windowRoom moves the window on until a chunk fits into it, or waits for its readers.
func (b *buffer) windowRoom(ctx context.Context) ([]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.over = true
	for len(b.chunks) > 0 && (b.size-b.base+maxChunk > window || b.pool.used.Load()+maxChunk > b.pool.limit) {
		if first := int64(len(b.chunks[0].data)); b.fastest() >= b.base+first {
			b.base += first
			b.pass(b.chunks[0])
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
	p := make([]byte, maxChunk)
	b.chunks = append(b.chunks, &chunk{data: p[:0]})
	b.charged += maxChunk
	b.pool.used.Add(maxChunk)
	return p, nil
}

// pass drops a chunk from the window. The Fill's come in order, but a slow reader may hold one of them: it and those
// behind it are freed with the Fill. The caller holds b.mu.
func (b *buffer) pass(c *chunk) {
	switch {
	case !c.filled:
		b.charged -= maxChunk
		b.pool.used.Add(-maxChunk)
	case c.users == 0 && !b.stuck:
		b.fill.Drop()
	default:
		b.stuck = true
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
	tail := b.chunks[len(b.chunks)-1]
	tail.data = tail.data[:len(tail.data)+n]
	if tail.filled {
		b.fill.Wrote(n)
	}
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

// leave is called once by the writer and once when no seat is left; after both nobody reads or writes any more.
func (b *buffer) leave() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.owners--; b.owners > 0 {
		return
	}
	b.fill.Free()
	b.view.Release()
	b.pool.used.Add(-b.charged)
	b.charged = 0
}

func (b *buffer) isDone() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.done
}

func (b *buffer) overflowed() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.over
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
	at   int64  // guarded by b.mu: the byte to read next
	has  *chunk // guarded by b.mu: what the last call handed out
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
	r.give()
	if r.at < b.base {
		return nil, nil, errBehind
	}
	at := b.base
	for _, c := range b.chunks {
		data := c.data
		if shown := b.size - int64(b.held) - at; shown < int64(len(data)) {
			data = data[:max(shown, 0)]
		}
		if off := r.at - at; off < int64(len(data)) {
			p = data[off:len(data):len(data)]
			r.at += int64(len(p))
			r.has = c
			c.users++
			b.moved()
			return p, nil, nil
		}
		at += int64(len(c.data))
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

// give lets go of what the last look handed out. The caller holds b.mu.
func (r *bufferReader) give() {
	if r.has != nil {
		r.has.users--
		r.has = nil
	}
}

// moved leaves a token for a writer that waits for room. The caller holds b.mu.
func (b *buffer) moved() {
	select {
	case b.progress <- struct{}{}:
	default:
	}
}

// Live is Body's.
func (r *bufferReader) Live() bool { return r.live }

// Close is Body's.
func (r *bufferReader) Close() {
	r.b.mu.Lock()
	defer r.b.mu.Unlock()
	r.give()
	delete(r.b.readers, r)
	r.b.moved()
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

// storedBody is the body of an entry.
type storedBody struct {
	view   mem.View
	pieces [][]byte
}

// Stored returns n bytes of the body of an entry from off on, on a pin of its own.
func Stored(v mem.View, off, n int64) Body {
	return &storedBody{view: v.Pin(), pieces: v.AppendRange(nil, off, n)}
}

// Next is Body's.
func (b *storedBody) Next(context.Context) ([]byte, error) {
	if len(b.pieces) == 0 {
		return nil, io.EOF
	}
	p := b.pieces[0]
	b.pieces = b.pieces[1:]
	return p, nil
}

// Live is Body's.
func (b *storedBody) Live() bool { return false }

// Close is Body's.
func (b *storedBody) Close() {
	b.view.Release()
	*b = storedBody{}
}

// noBody is the body of an answer that has none.
type noBody struct{}

func (noBody) Next(context.Context) ([]byte, error) { return nil, io.EOF }
func (noBody) Live() bool                           { return false }
func (noBody) Close()                               {}
