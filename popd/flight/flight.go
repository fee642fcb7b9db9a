// Package flight makes many requests for one key cost one fetch. Who may share it is decided after the answer's header:
//
//	asker ──► fetch ──header──► shared?  yes: all who wait, and who comes later, stream the bytes as they arrive
//	waiter ─┘                            no:  the answer is the asker's alone; the waiters each go on their own
//
// A fetch runs in a goroutine of its own, so that a client who leaves ends nothing for the others; one that nobody
// wants any more is cancelled.
package flight

import (
	"context"
	"io"
	"sync"

	"github.com/catchment-net/catchment/popd/key"
)

// Result is what a fetch has when the answer's header is there.
type Result[H any] struct {
	Value  H
	Shared bool          // those who wait and those who come while it arrives may have it
	Body   io.ReadCloser // nil if there is none, or if it is whole already
	Chunks [][]byte      // a body that is whole already
	Length int64         // bytes, -1 if not known yet; allows for buffers that fit
	// Whole, if set, is called once when the body has arrived whole, within Options.MaxObject, and was not forgotten
	// meanwhile; before the flight ends, so that a later request finds either the flight or what Whole has stored. An
	// answer may have it without being Shared: one that must be validated before each use.
	Whole func(chunks [][]byte, length int64)
}

// Fetch asks upstream. It returns when the answer's header is there. ctx lives until the body has been read or nobody
// wants it any more.
type Fetch[H any] func(ctx context.Context) (Result[H], error)

// Options configures a Group.
type Options struct {
	// MaxObject bounds the bytes that one flight buffers. A longer body streams on through a window of this size, which
	// moves with the fastest reader; it is not stored, nobody can join it, and a reader who falls behind loses it.
	MaxObject int64
}

// Group is all flights of a node. Its methods are safe for concurrent use.
type Group[H any] struct {
	maxObject int64
	wg        sync.WaitGroup

	mu   sync.Mutex // guards the following, and the fields of flights marked so; never held while waiting
	open map[key.Key]*call[H]
	all  map[*call[H]]struct{}
}

// NewGroup makes a Group without flights.
func NewGroup[H any](o Options) *Group[H] {
	return &Group[H]{maxObject: o.MaxObject, open: map[key.Key]*call[H]{}, all: map[*call[H]]struct{}{}}
}

// call is one fetch.
type call[H any] struct {
	key, primary key.Key
	ctx          context.Context
	cancel       context.CancelFunc
	ready        chan struct{} // closed when result and err are set
	result       Result[H]
	err          error
	buf          *buffer

	refs      int  // guarded by Group.mu: seats that have not left, and 1 while held
	askerLeft bool // guarded by Group.mu
	forgotten bool // guarded by Group.mu: what arrives must not be stored
}

// Seat is one request's part in a flight. It belongs to one goroutine, and Leave must be called.
type Seat[H any] struct {
	g     *Group[H]
	c     *call[H]
	asker bool
	left  bool
}

// Join takes a seat in the flight of key k, starting it with fetch if there is none; primary is what Forget calls it by.
func (g *Group[H]) Join(k, primary key.Key, fetch Fetch[H]) *Seat[H] {
	g.mu.Lock()
	defer g.mu.Unlock()
	if c := g.open[k]; c != nil {
		c.refs++
		return &Seat[H]{g: g, c: c}
	}
	c := g.start(k, primary, fetch)
	g.open[k] = c
	return &Seat[H]{g: g, c: c, asker: true}
}

// Alone starts a flight that nobody can join.
func (g *Group[H]) Alone(primary key.Key, fetch Fetch[H]) *Seat[H] {
	g.mu.Lock()
	defer g.mu.Unlock()
	return &Seat[H]{g: g, c: g.start(primary, primary, fetch), asker: true}
}

// Background starts a flight that lives to its end even if nobody joins it. It does nothing if there is one for k.
func (g *Group[H]) Background(k, primary key.Key, fetch Fetch[H]) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open[k] != nil {
		return
	}
	c := g.start(k, primary, fetch)
	c.askerLeft = true
	g.open[k] = c
	g.wg.Go(func() {
		select {
		case <-c.ready:
		case <-c.ctx.Done():
		}
		if c.isBuffered() {
			<-c.buf.ended
		}
		g.release(c)
	})
}

// Forget makes the flights of a URL that are under way end without being stored, and lets nobody join them any more.
func (g *Group[H]) Forget(primary key.Key) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for c := range g.all {
		if c.primary == primary {
			c.forgotten = true
			g.closeDoor(c)
		}
	}
}

// Len is how many fetches are under way.
func (g *Group[H]) Len() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.all)
}

// Close cancels all flights and returns when their goroutines have ended.
func (g *Group[H]) Close() {
	g.mu.Lock()
	for c := range g.all {
		c.cancel()
	}
	g.mu.Unlock()
	g.wg.Wait()
}

// start runs fetch with one reference taken. The caller holds g.mu.
func (g *Group[H]) start(k, primary key.Key, fetch Fetch[H]) *call[H] {
	ctx, cancel := context.WithCancel(context.Background())
	c := &call[H]{key: k, primary: primary, ctx: ctx, cancel: cancel, ready: make(chan struct{}), buf: newBuffer(g.maxObject), refs: 1}
	g.all[c] = struct{}{}
	g.wg.Go(func() { g.run(c, fetch) })
	return c
}

func (g *Group[H]) run(c *call[H], fetch Fetch[H]) {
	result, err := fetch(c.ctx)
	g.mu.Lock()
	c.result, c.err = result, err
	if err != nil || !result.Shared {
		g.closeDoor(c)
		if c.askerLeft && result.Whole == nil {
			c.drop()
		}
	}
	close(c.ready)
	g.mu.Unlock()
	if !c.isBuffered() {
		return
	}
	if result.Body == nil {
		c.buf.adopt(result.Chunks)
	} else {
		err = c.buf.fill(c.ctx, result.Body, result.Length, func() {
			g.mu.Lock()
			defer g.mu.Unlock()
			g.closeDoor(c)
		})
		_ = result.Body.Close() // the body's own error has come from Read
	}
	if err == nil && result.Whole != nil && !c.buf.overflowed() && !g.isForgotten(c) {
		result.Whole(c.buf.whole())
	}
	g.mu.Lock()
	g.closeDoor(c)
	g.mu.Unlock()
	c.buf.end(err)
}

func (g *Group[H]) isForgotten(c *call[H]) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return c.forgotten
}

// closeDoor keeps others from joining. The caller holds g.mu.
func (g *Group[H]) closeDoor(c *call[H]) {
	if g.open[c.key] == c {
		delete(g.open, c.key)
	}
}

// release gives one reference back; without any left the fetch is cancelled.
func (g *Group[H]) release(c *call[H]) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if c.refs--; c.refs > 0 {
		return
	}
	g.closeDoor(c)
	delete(g.all, c)
	c.cancel()
}

// isBuffered reports whether the header has come and the body goes through the buffer, rather than straight to its
// asker.
func (c *call[H]) isBuffered() bool {
	select {
	case <-c.ready:
		return c.err == nil && (c.result.Shared || c.result.Whole != nil)
	default:
		return false
	}
}

// drop throws away an answer that is its asker's alone.
func (c *call[H]) drop() {
	c.cancel()
	if c.result.Body != nil {
		_ = c.result.Body.Close() // nobody reads it
	}
}

// Ready is closed when Result may be called.
func (s *Seat[H]) Ready() <-chan struct{} { return s.c.ready }

// Asker reports whether this seat started the flight.
func (s *Seat[H]) Asker() bool { return s.asker }

// Result is the answer's header, or the error of the fetch, which all seats share. mine says that this seat may use
// the answer: it is shared, or this seat asked for it. Call it after Ready.
func (s *Seat[H]) Result() (value H, mine bool, err error) {
	if s.c.err != nil {
		return value, true, s.c.err
	}
	return s.c.result.Value, s.c.result.Shared || s.asker, nil
}

// Body streams the answer's body to this seat. Call it once, after a Result that is mine.
func (s *Seat[H]) Body() Body {
	switch r := s.c.result; {
	case s.c.isBuffered():
		return s.c.buf.reader()
	case r.Body != nil:
		return &ownBody{r: r.Body}
	default:
		return &wholeBody{chunks: r.Chunks}
	}
}

// Leave gives the seat up. A body from it must not be used afterwards.
func (s *Seat[H]) Leave() {
	if s.left {
		return
	}
	s.left = true
	if s.asker {
		s.g.mu.Lock()
		s.c.askerLeft = true
		select {
		case <-s.c.ready:
			if !s.c.isBuffered() {
				s.c.drop()
			}
		default:
		}
		s.g.mu.Unlock()
	}
	s.g.release(s.c)
}
