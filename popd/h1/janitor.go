package h1

import (
	"context"
	"slices"
	"time"
)

// phase is what a connection waits for. It stands in the top byte of conn.state, with the tick since when below.
type phase uint64

const (
	idle       phase = iota // a request's first byte
	inHeader                // the rest of a header, or of a TLS handshake
	inBody                  // bytes of a request's body
	inHandler               // the Handler: no limit here
	inWrite                 // the client, who takes no bytes
	handedOver              // net/http's HTTP/2 server has it
	ended                   // its goroutine, which has been told to end
)

const (
	phaseShift   = 56
	roundsPer    = 8 // the janitor's rounds in the shortest limit
	minRound     = 5 * time.Millisecond
	maxRound     = time.Second
	evictedShare = 64 // one of so many connections is closed when there are too many: sorting them costs more than closing
)

// mark says what the connection waits for from now on. The time is the janitor's, so that it costs two atomic moves.
func (c *conn) mark(p phase) {
	if next := uint64(p)<<phaseShift | uint64(c.s.tick.Load()); c.state.Load() != next {
		c.state.Store(next)
	}
}

// janitor ends the connections that have waited too long. There is no timer per connection: setting one for every
// request would cost more than the request's header.
func (s *Server) janitor(ctx context.Context) {
	start := time.Now()
	round := min(max(min(s.o.Header, s.o.Idle, s.o.Stall)/roundsPer, minRound), maxRound)
	t := time.NewTicker(round)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			s.endAll()
			return
		case <-t.C:
			s.tick.Store(time.Since(start).Milliseconds())
			s.round()
		}
	}
}

// round looks at every connection once.
func (s *Server) round() {
	now := s.tick.Load()
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		state := c.state.Load()
		var limit time.Duration
		var why string
		switch phase(state >> phaseShift) {
		case idle:
			limit, why = s.o.Idle, "idle"
		case inHeader:
			limit, why = s.o.Header, "header"
		case inBody:
			limit, why = s.o.Stall, "body"
		case inWrite:
			limit, why = s.o.Stall, "write"
		default:
			continue
		}
		if time.Duration(now-int64(state&(1<<phaseShift-1)))*time.Millisecond >= limit && c.end(state) {
			s.metrics.closed.WithLabelValues(why).Inc()
		}
	}
}

// end stops what a connection waits for, unless its state has moved on since it was seen.
func (c *conn) end(seen uint64) bool {
	p := phase(seen >> phaseShift)
	if !c.state.CompareAndSwap(seen, uint64(ended)<<phaseShift) {
		return false
	}
	if p == inWrite {
		_ = c.wire.SetWriteDeadline(past) // the connection is closing anyway if it has no deadlines any more
	} else {
		_ = c.wire.SetReadDeadline(past)
	}
	return true
}

// past is a time before every other.
var past = time.Unix(1, 0)

// AtWork is how many connections are in the middle of a request or an answer, those of HTTP/2 left out.
func (s *Server) AtWork() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for c := range s.conns {
		switch phase(c.state.Load() >> phaseShift) {
		case inBody, inHandler, inWrite:
			n++
		}
	}
	return n
}

// endAll closes every connection; their goroutines find out.
func (s *Server) endAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		_ = c.wire.Close() // nobody is left to tell
	}
}

// admit takes a slot for one more connection, making room if there is none. It reports false if all are at work.
func (s *Server) admit(ctx context.Context) bool {
	select {
	case s.slots <- struct{}{}:
		return true
	default:
	}
	if s.evict() == 0 {
		s.metrics.closed.WithLabelValues("refused").Inc()
		return false
	}
	select {
	case s.slots <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

// evict closes the connections that have waited longest for a request or for the rest of its header, a few at a time. It
// returns how many are on their way out.
func (s *Server) evict() int {
	type waiting struct {
		c     *conn
		state uint64
		since uint64
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []waiting
	leaving := 0
	for c := range s.conns {
		state := c.state.Load()
		switch phase(state >> phaseShift) {
		case idle, inHeader:
			all = append(all, waiting{c, state, state & (1<<phaseShift - 1)})
		case ended:
			leaving++
		}
	}
	if leaving > 0 {
		return leaving
	}
	slices.SortFunc(all, func(a, b waiting) int { return int(int64(a.since) - int64(b.since)) })
	for _, w := range all[:min(len(all), max(1, s.o.MaxConns/evictedShare))] {
		if w.c.end(w.state) {
			_ = w.c.wire.Close() // at once: somebody waits for its place
			s.metrics.closed.WithLabelValues("evicted").Inc()
			leaving++
		}
	}
	return leaving
}
