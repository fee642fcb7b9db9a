package simnet

import (
	"net"
	"net/netip"
	"os"
	"sync"
	"time"
)

// packet is one datagram on its way.
type packet struct {
	from netip.AddrPort
	data []byte
}

// packetConn is a datagram socket.
type packetConn struct {
	n      *Network
	at     netip.AddrPort
	in     chan packet
	once   sync.Once
	closed chan struct{}
	wait   *deadline
}

func (c *packetConn) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		over, moved := c.wait.watch()
		select {
		case <-c.closed:
			return 0, nil, net.ErrClosed
		case <-over:
			return 0, nil, os.ErrDeadlineExceeded
		case <-moved:
			continue
		case p := <-c.in:
			return copy(b, p.data), net.UDPAddrFromAddrPort(p.from), nil
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
	p := packet{c.at, append([]byte(nil), b...)}
	time.AfterFunc(link.Delay, func() { c.n.deliver(p, to) })
	return len(b), nil
}

// deliver hands a packet to its socket, if that is still there and the path was not cut meanwhile.
func (n *Network) deliver(p packet, to netip.AddrPort) {
	if _, open, _ := n.path(p.from.Addr(), to.Addr()); !open {
		return
	}
	n.mu.Lock()
	c := n.packets[to]
	n.mu.Unlock()
	if c == nil {
		return
	}
	select {
	case c.in <- p:
	default: // the socket's buffer is full
	}
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
