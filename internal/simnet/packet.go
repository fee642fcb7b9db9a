package simnet

import (
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"
)

// packet is one datagram on its way.
type packet struct {
	at   time.Time // when it may be read
	from netip.AddrPort
	data []byte
}

// packetConn is a datagram socket. Packets on their way wait in it, and its reader for the first of them: a timer for
// each packet would cost a goroutine each.
type packetConn struct {
	n      *Network
	at     netip.AddrPort
	once   sync.Once
	closed chan struct{}
	wait   *deadline

	mu   sync.Mutex    // guards the following; held for an insertion
	in   []packet      // by time of arrival
	wake chan struct{} // closed and replaced when a packet comes in
}

func newPacketConn(n *Network, at netip.AddrPort) *packetConn {
	return &packetConn{n: n, at: at, closed: make(chan struct{}), wait: newDeadline(), wake: make(chan struct{})}
}

func (c *packetConn) put(p packet) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.in) >= maxPackets {
		return // the socket's buffer is full
	}
	i := len(c.in)
	for i > 0 && c.in[i-1].at.After(p.at) {
		i--
	}
	c.in = slices.Insert(c.in, i, p)
	close(c.wake)
	c.wake = make(chan struct{})
}

// take returns the first packet if it has arrived. Otherwise wait for wake, or until the time due, if that is set.
func (c *packetConn) take(now time.Time) (p packet, ok bool, due time.Time, wake <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case len(c.in) == 0:
		return p, false, due, c.wake
	case c.in[0].at.After(now):
		return p, false, c.in[0].at, c.wake
	}
	p, c.in = c.in[0], c.in[1:]
	return p, true, due, nil
}

func (c *packetConn) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		over, moved := c.wait.watch()
		p, ok, due, wake := c.take(time.Now())
		if ok {
			if _, open, _ := c.n.path(p.from.Addr(), c.at.Addr()); !open {
				continue // cut while it was on its way
			}
			return copy(b, p.data), net.UDPAddrFromAddrPort(p.from), nil
		}
		var arrive <-chan time.Time
		stop := func() bool { return true }
		if !due.IsZero() {
			t := time.NewTimer(time.Until(due))
			arrive, stop = t.C, t.Stop
		}
		var err error
		select {
		case <-c.closed:
			err = net.ErrClosed
		case <-over:
			err = os.ErrDeadlineExceeded
		case <-moved:
		case <-wake:
		case <-arrive:
		}
		stop()
		if err != nil {
			return 0, nil, err
		}
	}
}

func (c *packetConn) WriteTo(b []byte, addr net.Addr) (int, error) {
	to, err := netip.ParseAddrPort(addr.String())
	if err != nil {
		return 0, err
	}
	return c.send(b, to)
}

func (c *packetConn) send(b []byte, to netip.AddrPort) (int, error) {
	select {
	case <-c.closed:
		return 0, net.ErrClosed
	default:
	}
	link, open, _ := c.n.path(c.at.Addr(), to.Addr())
	if !open || c.n.lost(link.Loss) {
		return len(b), nil
	}
	c.n.mu.Lock()
	target := c.n.packets[to]
	c.n.mu.Unlock()
	if target != nil {
		target.put(packet{time.Now().Add(link.Delay), c.at, append([]byte(nil), b...)})
	}
	return len(b), nil
}

func (c *packetConn) Close() error {
	err := net.ErrClosed
	c.once.Do(func() {
		c.n.mu.Lock()
		delete(c.n.packets, c.at)
		c.n.mu.Unlock()
		close(c.closed)
		err = nil
	})
	return err
}

func (c *packetConn) LocalAddr() net.Addr                { return net.UDPAddrFromAddrPort(c.at) }
func (c *packetConn) SetDeadline(t time.Time) error      { return c.SetReadDeadline(t) }
func (c *packetConn) SetReadDeadline(t time.Time) error  { c.wait.set(t); return nil }
func (c *packetConn) SetWriteDeadline(_ time.Time) error { return nil }

// connected is a datagram socket with one peer.
type connected struct {
	*packetConn
	to netip.AddrPort
}

func (c *connected) RemoteAddr() net.Addr        { return net.UDPAddrFromAddrPort(c.to) }
func (c *connected) Write(b []byte) (int, error) { return c.send(b, c.to) }

func (c *connected) Read(b []byte) (int, error) {
	for {
		n, from, err := c.ReadFrom(b)
		if err != nil || from.String() == c.to.String() {
			return n, err
		}
	}
}

// deadline ends reads at a time that may be moved while they wait.
type deadline struct {
	mu    sync.Mutex // guards the following; held for an assignment
	over  chan struct{}
	moved chan struct{}
	timer *time.Timer
}

func newDeadline() *deadline {
	return &deadline{over: make(chan struct{}), moved: make(chan struct{})}
}

// watch returns a channel that is closed at the deadline, and one that is closed when it is moved.
func (d *deadline) watch() (over, moved <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.over, d.moved
}

func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	over := make(chan struct{})
	d.over = over
	switch {
	case t.IsZero():
	case time.Until(t) <= 0:
		close(over)
	default:
		d.timer = time.AfterFunc(time.Until(t), func() { close(over) })
	}
	close(d.moved)
	d.moved = make(chan struct{})
}
