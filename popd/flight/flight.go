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
	"errors"
	"io"
	"sync"

	"github.com/catchment-net/catchment/popd/key"
	"github.com/catchment-net/catchment/popd/store/mem"
)

// Result is what a fetch has when the answer's header is there.
type Result[H any] struct {
	Value  H
	Shared bool          // those who wait and those who come while it arrives may have it
	Body   io.ReadCloser // nil if there is none, or if the answer is View
	View   mem.View      // an answer that is stored already; the flight releases it
	Length int64         // bytes of Body, -1 if not known yet
	// Keep, if set, stores the answer. It is called once when the body has arrived whole, within Options.MaxObject, and
	// was not forgotten meanwhile; before the flight ends, so that a later request finds either the flight or what Keep
	// has stored. body is nil where there was no Body. An answer may have it without being Shared: one that must be
	// validated before each use.
	Keep func(body *mem.Fill) error
}

// Fetch asks upstream. It returns when the answer's header is there. ctx lives until the body has been read or nobody
// wants it any more.
type Fetch[H any] func(ctx context.Context) (Result[H], error)

// Options configures a Group. Store is required.
type Options struct {
	// Store takes the bytes as they arrive.
	Store *mem.Store
	// MaxObject bounds the bytes of an answer that is stored. A longer body, or one that finds no room in the store, goes
	// on through a window of 1 MiB, which moves with the fastest reader; nobody can join it, and a reader who falls
	// behind loses it.
	MaxObject int64
	// MaxFlights bounds the fetches under way; one beyond ends at once with ErrFull. 0 means DefaultFlights.
	MaxFlights int
	// MaxWindows bounds the bytes of all windows together, plus one chunk of 64 KiB for each. 0 means 64 MiB.
	MaxWindows int64
}

// DefaultFlights is how many fetches may be under way: what 50,000 misses a second keep open to an origin that takes
// 300 ms.
const DefaultFlights = 16384

// ErrFull says that MaxFlights fetches are under way already.
var ErrFull = errors.New("too many fetches are under way")

// Stats are the gauges and counters of a Group.
type Stats struct {
	Flights int   // under way
	Windows int64 // bytes held for the readers of bodies that are not stored
	Refused int64 // fetches that ended with ErrFull
}

// Group is all flights of a node. Its methods are safe for concurrent use.
type Group[H any] struct {
	store      *mem.Store
	maxObject  int64
	maxFlights int
	pool       pool
	wg         sync.WaitGroup

	mu      sync.Mutex // guards the following, and the fields of flights marked so; never held while waiting
	open    map[key.Key]*call[H]
	all     map[*call[H]]struct{}
	refused int64
}

// NewGroup makes a Group without flights.
func NewGroup[H any](o Options) *Group[H] {
	g := &Group[H]{
		store: o.Store, maxObject: o.MaxObject, maxFlights: o.MaxFlights, pool: pool{limit: o.MaxWindows},
		open: map[key.Key]*call[H]{}, all: map[*call[H]]struct{}{},
	}
	if g.maxFlights <= 0 {
		g.maxFlights = DefaultFlights
	}
	if g.pool.limit <= 0 {
		g.pool.limit = 64 << 20
	}
	return g
}

// call is one fetch.
type call[H any] struct {
	key, primary key.Key
	generation   uint64
	ctx          context.Context
	cancel       context.CancelFunc
	ready        chan struct{} // closed when result and err are set
	result       Result[H]
	err          error
	buf          *buffer

	storing sync.Mutex // held while the answer is stored; Forget waits for it

	refs      int  // guarded by Group.mu: seats that have not left, and 1 while held
	held      bool // guarded by Group.mu: Background wants it, whoever leaves
	askerLeft bool // guarded by Group.mu
	forgotten bool // guarded by Group.mu: what arrives must not be stored
	finishing bool // guarded by Group.mu: nobody wants it, but its end is near
}

// Seat is one request's part in a flight. It belongs to one goroutine, and Leave must be called.
type Seat[H any] struct {
	g     *Group[H]
	c     *call[H]
	asker bool
	left  bool
}

// Join takes a seat in the flight of key k, starting it with fetch if there is none; primary is what Forget calls it by.
// generation is that of the purge index: one who comes after a purge does not take what was asked for before it.
func (g *Group[H]) Join(k, primary key.Key, generation uint64, fetch Fetch[H]) *Seat[H] {
	g.mu.Lock()
	defer g.mu.Unlock()
	if c := g.open[k]; c != nil && c.generation >= generation {
		c.refs++
		return &Seat[H]{g: g, c: c}
	}
	c, ok := g.start(k, primary, fetch)
	if ok {
		c.generation = generation
		g.open[k] = c
	}
	return &Seat[H]{g: g, c: c, asker: true}
}

// Alone starts a flight that nobody can join.
func (g *Group[H]) Alone(primary key.Key, fetch Fetch[H]) *Seat[H] {
	g.mu.Lock()
	defer g.mu.Unlock()
	c, _ := g.start(primary, primary, fetch)
	return &Seat[H]{g: g, c: c, asker: true}
}

// Background starts a flight that lives to its end even if nobody joins it, so long as it can be stored. It does
// nothing if there is one for k, or no room for another.
func (g *Group[H]) Background(k, primary key.Key, generation uint64, fetch Fetch[H]) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if c := g.open[k]; c != nil && c.generation >= generation {
		return
	}
	c, ok := g.start(k, primary, fetch)
	if !ok {
		return
	}
	c.generation = generation
	c.askerLeft = true
	g.open[k] = c
	g.hold(c)
}

// hold keeps c, on the reference that the caller gives it, until it has ended or is not worth it. The caller holds g.mu.
func (g *Group[H]) hold(c *call[H]) {
	c.held = true
	g.wg.Go(func() {
		select {
		case <-c.ready:
		case <-c.ctx.Done():
		}
		if c.isBuffered() {
			<-c.buf.ended
		}
		g.unhold(c)
	})
}

// Forget makes the flights of a URL that are under way end without being stored, and lets nobody join them any more.
// Once it has returned, none of them stores anything.
func (g *Group[H]) Forget(primary key.Key) {
	for _, c := range g.forget(primary) {
		c.storing.Lock()
		c.storing.Unlock() //nolint:staticcheck // what has begun to store ends first: the wait is all we want
	}
}

func (g *Group[H]) forget(primary key.Key) []*call[H] {
	g.mu.Lock()
	defer g.mu.Unlock()
	var all []*call[H]
	for c := range g.all {
		if c.primary == primary {
			c.forgotten = true
			g.closeDoor(c)
			all = append(all, c)
		}
	}
	return all
}

// Stats is what is under way now, and what was refused so far.
func (g *Group[H]) Stats() Stats {
	g.mu.Lock()
	defer g.mu.Unlock()
	return Stats{Flights: len(g.all), Windows: g.pool.used.Load(), Refused: g.refused}
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

// start runs fetch with one reference taken. It is not ok, and the call has ended, if there is no room. The caller
// holds g.mu.
func (g *Group[H]) start(k, primary key.Key, fetch Fetch[H]) (c *call[H], ok bool) {
	ctx, cancel := context.WithCancel(context.Background())
	c = &call[H]{
		key: k, primary: primary, ctx: ctx, cancel: cancel, ready: make(chan struct{}),
		buf: newBuffer(g.maxObject, &g.pool, g.store.Fill()), refs: 1,
	}
	if len(g.all) >= g.maxFlights {
		g.refused++
		c.err = ErrFull
		c.buf.leave() // there will be no writer
		cancel()
		close(c.ready)
		return c, false
	}
	g.all[c] = struct{}{}
	g.wg.Go(func() { g.run(c, fetch) })
	return c, true
}

func (g *Group[H]) run(c *call[H], fetch Fetch[H]) {
	defer c.buf.leave()
	result, err := fetch(c.ctx)
	g.mu.Lock()
	c.result, c.err = result, err
	c.buf.view = result.View
	if err != nil || !result.Shared {
		g.closeDoor(c)
		if c.askerLeft && result.Keep == nil {
			c.drop()
		}
	}
	close(c.ready)
	g.mu.Unlock()
	if !c.isBuffered() {
		return
	}
	var body *mem.Fill
	if result.Body != nil {
		body = c.buf.fill
		err = c.buf.read(c.ctx, result.Body, result.Length, func() {
			g.mu.Lock()
			g.closeDoor(c)
			g.mu.Unlock()
			g.unhold(c) // what is not stored goes on for those alone who read it
		})
		_ = result.Body.Close() // the body's own error has come from Read
	}
	if err == nil && result.Keep != nil && !c.buf.overflowed() {
		g.keep(c, body)
	}
	g.mu.Lock()
	g.closeDoor(c)
	g.mu.Unlock()
	c.buf.end(err)
}

// keep stores a whole answer, unless it was forgotten.
func (g *Group[H]) keep(c *call[H], body *mem.Fill) {
	c.storing.Lock()
	defer c.storing.Unlock()
	if !g.isForgotten(c) {
		// The store counts what it refuses; the clients have the answer all the same.
		_ = c.result.Keep(body)
	}
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
	g.deref(c)
}

// unhold gives Background's reference back, once.
func (g *Group[H]) unhold(c *call[H]) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if c.held {
		c.held = false
		g.deref(c)
	}
}

// deref is release for a caller who holds g.mu.
func (g *Group[H]) deref(c *call[H]) {
	if c.refs--; c.refs > 0 {
		return
	}
	if c.worthFinishing() {
		c.refs = 1
		g.hold(c)
		return
	}
	g.closeDoor(c)
	delete(g.all, c)
	c.cancel()
	c.buf.leave()
}

// worthFinishing reports whether a fetch that nobody wants should go on to its end, for the store. The caller holds g.mu.
func (c *call[H]) worthFinishing() bool {
	if c.forgotten || c.finishing || !c.isBuffered() || c.result.Keep == nil || c.result.Body == nil {
		return false
	}
	c.finishing = true
	return c.ctx.Err() == nil && !c.buf.isDone() && c.buf.nearly(c.result.Length)
}

// isBuffered reports whether the header has come and the body goes through the buffer, rather than straight to its
// asker.
func (c *call[H]) isBuffered() bool {
	select {
	case <-c.ready:
		return c.err == nil && (c.result.Shared || c.result.Keep != nil)
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
	case r.View.OK():
		return Stored(r.View, 0, r.View.Length())
	case r.Body == nil:
		return noBody{}
	case s.c.isBuffered():
		return s.c.buf.reader()
	default:
		return &ownBody{r: r.Body}
	}
}

// Finish lets the fetch go on to its end, for the store, though nobody may read the body.
func (s *Seat[H]) Finish() {
	s.g.mu.Lock()
	defer s.g.mu.Unlock()
	if !s.left && !s.c.held && s.c.isBuffered() && s.c.result.Keep != nil {
		s.c.refs++
		s.g.hold(s.c)
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
