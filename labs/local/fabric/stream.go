package fabric

import (
	"io"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// window is how many bytes a stream holds at most, on the way and unread: what a writer may be ahead of its reader. With
// a delay of 100 ms it lets 2.5 MB/s through, as a TCP window of that size does.
const window = 256 << 10

// minRTO is the least time after which a lost piece is sent again (RFC 6298 §2.4 with Linux's 200 ms).
const minRTO = 200 * time.Millisecond

var (
	errReset  = os.NewSyscallError("read", syscall.ECONNRESET)
	errBroken = os.NewSyscallError("write", syscall.EPIPE)
)

// stream is one direction of a flow: bytes go in, and come out in order after the path's delay.
//
//	write ──► [piece at t1][piece at t2][FIN or RST at t3] ──► read, each not before its time
//
// While the path is broken nothing comes out. Any number of goroutines may use it.
type stream struct {
	now    func() time.Time
	random func() float64
	path   atomic.Pointer[Path] // nil means no delay at all

	mu      sync.Mutex // guards the following
	pieces  []piece
	size    int       // bytes in pieces
	last    time.Time // when the newest piece comes out
	end     error     // what the reader gets behind the last piece; nil while the writer may write
	endAt   time.Time
	failed  error         // both sides get it at once
	deaf    bool          // the reader has gone
	astray  bool          // what is written from now on goes elsewhere: it never comes out
	changed chan struct{} // closed at the next change; nil while nobody waits
	onEnd   func()        // called once, with mu held, when the reader has got to the end or the stream failed; it must not block
}

type piece struct {
	b  []byte
	at time.Time
}

func newStream(now func() time.Time, random func() float64) *stream {
	return &stream{now: now, random: random}
}

// follow sets the path for what is written from now on, and lets a stalled stream go on.
func (s *stream) follow(p *Path) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.path.Store(p)
	s.notify()
}

// notify is called with mu held.
func (s *stream) notify() {
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
}

// await is called with mu held and returns what is closed at the next change.
func (s *stream) await() <-chan struct{} {
	if s.changed == nil {
		s.changed = make(chan struct{})
	}
	return s.changed
}

// put sends b, which becomes the stream's own. It waits while the window is full.
func (s *stream) put(b []byte, deadline *deadline) error {
	for {
		s.mu.Lock()
		switch {
		case s.failed != nil:
			s.mu.Unlock()
			return s.failed
		case s.end != nil:
			s.mu.Unlock()
			return errBroken
		case s.deaf:
			s.mu.Unlock()
			return errReset
		case s.astray:
			s.mu.Unlock()
			return nil
		case s.size == 0 || s.size+len(b) <= window:
			s.append(b)
			s.mu.Unlock()
			return nil
		}
		changed := s.await()
		s.mu.Unlock()
		select {
		case <-changed:
		case <-deadline.passed():
			return os.ErrDeadlineExceeded
		}
	}
}

// append is called with mu held.
func (s *stream) append(b []byte) {
	s.pieces = append(s.pieces, piece{b, s.arrival(len(b))})
	s.size += len(b)
	s.notify()
}

// arrival books n bytes on the path and returns when they come out, never before the piece ahead of them. It is called
// with mu held.
func (s *stream) arrival(n int) time.Time {
	now := s.now()
	at := now
	if p := s.path.Load(); p != nil {
		at = at.Add(p.lag(now, n, s.random))
		if p.Loss > 0 {
			for rto := max(minRTO, 2*p.Delay); s.random() < p.Loss; rto *= 2 {
				at = at.Add(rto)
				if rto > time.Minute {
					break
				}
			}
		}
	}
	if at.Before(s.last) {
		at = s.last
	}
	s.last = at
	return at
}

// finish says that no more will be written; the reader gets err behind what is on the way: io.EOF or errReset.
func (s *stream) finish(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.astray || s.end != nil && (s.end != io.EOF || err == io.EOF) { //nolint:errorlint // our own value
		return
	}
	s.end, s.endAt = err, s.arrival(0)
	if s.deaf {
		s.over()
	}
	s.notify()
}

// lose lets what is on the way come out, and nothing that is written later.
func (s *stream) lose() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.astray = true
	s.notify()
}

// fail ends both sides at once; what is on the way is lost.
func (s *stream) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed != nil {
		return
	}
	s.failed = err
	s.drop()
	s.over()
	s.notify()
}

// stop says that nobody will read any more. It returns whether something was left unread.
func (s *stream) stop() (unread bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	unread = s.size > 0
	s.deaf = true
	s.drop()
	if s.end != nil {
		s.over()
	}
	s.notify()
	return unread
}

// drop is called with mu held.
func (s *stream) drop() { s.pieces, s.size = nil, 0 }

// over is called with mu held.
func (s *stream) over() {
	if s.onEnd != nil {
		s.onEnd()
		s.onEnd = nil
	}
}

// read copies what has arrived into p, at least one byte.
func (s *stream) read(p []byte, deadline *deadline) (int, error) {
	n := 0
	err := s.next(deadline, func(b []byte) int {
		k := copy(p[n:], b)
		n += k
		return k
	})
	return n, err
}

// take returns the next piece whole.
func (s *stream) take() ([]byte, error) {
	var got []byte
	err := s.next(nil, func(b []byte) int {
		if got != nil {
			return 0
		}
		got = b
		return len(b)
	})
	return got, err
}

// next waits for what has arrived and hands it to use, piece by piece, until use takes less than the whole.
func (s *stream) next(deadline *deadline, use func([]byte) int) error {
	for {
		if deadline.isPast() {
			return os.ErrDeadlineExceeded
		}
		s.mu.Lock()
		n, wait, err := s.deliver(use)
		if n > 0 || err != nil {
			s.mu.Unlock()
			return err
		}
		changed := s.await()
		s.mu.Unlock()
		if err := pause(wait, changed, deadline); err != nil {
			return err
		}
	}
}

// deliver hands out what has arrived, else says how long to wait; -1 means until something changes. It is called with mu
// held.
func (s *stream) deliver(use func([]byte) int) (n int, wait time.Duration, err error) {
	if s.failed != nil {
		return 0, 0, s.failed
	}
	if s.deaf {
		return 0, 0, errReset
	}
	if p := s.path.Load(); p != nil && !p.Good() {
		return 0, -1, nil
	}
	now := s.now()
	for len(s.pieces) > 0 {
		head := &s.pieces[0]
		if d := head.at.Sub(now); d > 0 {
			if n > 0 {
				break
			}
			return 0, d, nil
		}
		k := use(head.b)
		n += k
		s.size -= k
		if k < len(head.b) {
			head.b = head.b[k:]
			s.notify()
			return n, 0, nil
		}
		s.pieces[0] = piece{}
		s.pieces = s.pieces[1:]
	}
	if n > 0 {
		s.notify()
		return n, 0, nil
	}
	switch d := s.endAt.Sub(now); {
	case s.end == nil:
		return 0, -1, nil
	case d > 0:
		return 0, d, nil
	}
	s.over()
	return 0, 0, s.end
}

// pause waits for d, a change or the deadline; d < 0 waits without limit.
func pause(d time.Duration, changed <-chan struct{}, deadline *deadline) error {
	var timeout <-chan time.Time
	if d >= 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		timeout = t.C
	}
	select {
	case <-timeout:
	case <-changed:
	case <-deadline.passed():
		return os.ErrDeadlineExceeded
	}
	return nil
}
