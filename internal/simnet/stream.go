package simnet

import (
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"
)

// maxInFlight is how many bytes of a stream may be on the way one way; a write beyond it waits.
const maxInFlight = 1 << 20

// stream is one end of a connection.
type stream struct {
	local, remote netip.AddrPort
	in, out       *flow
	wait          *deadline
	writeWait     *deadline
	once          sync.Once
	closed        chan struct{}
}

// flow is one direction of a connection.
type flow struct {
	n        *Network
	from, to netip.Addr

	mu    sync.Mutex // guards the following; held for a copy at most
	parts []part
	size  int
	ended bool          // by the writer's Close; the reader gets what is there, then io.EOF
	dead  bool          // by the reader's Close
	wake  chan struct{} // closed and replaced at each change
}

// part is what one Write sent, and when it may be read.
type part struct {
	at   time.Time
	data []byte
}

func newStream(n *Network, from, to netip.AddrPort) (client, server *stream) {
	there := &flow{n: n, from: from.Addr(), to: to.Addr(), wake: make(chan struct{})}
	back := &flow{n: n, from: to.Addr(), to: from.Addr(), wake: make(chan struct{})}
	end := func(local, remote netip.AddrPort, in, out *flow) *stream {
		return &stream{local: local, remote: remote, in: in, out: out, wait: newDeadline(), writeWait: newDeadline(), closed: make(chan struct{})}
	}
	return end(from, to, back, there), end(to, from, there, back)
}

// changed must be called with mu held.
func (f *flow) changed() {
	close(f.wake)
	f.wake = make(chan struct{})
}

// read copies what has arrived. With n == 0 and no error, there is nothing yet: wait for wake, or until the time at,
// if that is set.
func (f *flow) read(b []byte, now time.Time) (n int, at time.Time, wake <-chan struct{}, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case len(f.parts) == 0 && f.ended:
		return 0, at, nil, io.EOF
	case len(f.parts) == 0:
		return 0, at, f.wake, nil
	case f.parts[0].at.After(now):
		return 0, f.parts[0].at, f.wake, nil
	}
	p := &f.parts[0]
	n = copy(b, p.data)
	p.data = p.data[n:]
	if len(p.data) == 0 {
		f.parts = f.parts[1:]
	}
	f.size -= n
	f.changed()
	return n, at, nil, nil
}

func (s *stream) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	for {
		over, moved := s.wait.watch()
		_, open, healed := s.in.n.path(s.in.from, s.in.to)
		var at time.Time
		var wake <-chan struct{}
		if open {
			n, due, w, err := s.in.read(b, time.Now())
			if n > 0 || err != nil {
				return n, err
			}
			at, wake = due, w
		}
		var arrive <-chan time.Time
		stop := func() bool { return true }
		if !at.IsZero() {
			t := time.NewTimer(time.Until(at))
			arrive, stop = t.C, t.Stop
		}
		select {
		case <-s.closed:
			stop()
			return 0, net.ErrClosed
		case <-over:
			stop()
			return 0, os.ErrDeadlineExceeded
		case <-moved:
		case <-healed:
		case <-wake:
		case <-arrive:
		}
		stop()
	}
}

func (s *stream) Write(b []byte) (int, error) {
	for {
		over, moved := s.writeWait.watch()
		link, _, _ := s.out.n.path(s.out.from, s.out.to)
		s.out.mu.Lock()
		select {
		case <-s.closed:
			s.out.mu.Unlock()
			return 0, net.ErrClosed
		default:
		}
		if s.out.dead {
			s.out.mu.Unlock()
			return 0, io.ErrClosedPipe
		}
		if s.out.size < maxInFlight {
			s.out.parts = append(s.out.parts, part{time.Now().Add(link.Delay), append([]byte(nil), b...)})
			s.out.size += len(b)
			s.out.changed()
			s.out.mu.Unlock()
			return len(b), nil
		}
		wake := s.out.wake
		s.out.mu.Unlock()
		select {
		case <-s.closed:
			return 0, net.ErrClosed
		case <-over:
			return 0, os.ErrDeadlineExceeded
		case <-moved:
		case <-wake:
		}
	}
}

func (s *stream) Close() error {
	s.once.Do(func() {
		close(s.closed)
		s.out.mu.Lock()
		s.out.ended = true
		s.out.changed()
		s.out.mu.Unlock()
		s.in.mu.Lock()
		s.in.dead = true
		s.in.changed()
		s.in.mu.Unlock()
	})
	return nil
}

func (s *stream) LocalAddr() net.Addr  { return net.TCPAddrFromAddrPort(s.local) }
func (s *stream) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(s.remote) }

func (s *stream) SetDeadline(t time.Time) error {
	s.wait.set(t)
	s.writeWait.set(t)
	return nil
}

func (s *stream) SetReadDeadline(t time.Time) error {
	s.wait.set(t)
	return nil
}

func (s *stream) SetWriteDeadline(t time.Time) error {
	s.writeWait.set(t)
	return nil
}
