package fabric

import (
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"github.com/catchment-net/catchment/internal/underlay/wire"
)

const (
	packetQueue = 256                    // datagrams that a socket in this process holds; further ones are lost
	maxDatagram = 65507 - wire.MaxHeader // bytes of payload
)

// send carries one datagram of a socket; b is copied. It may be lost without a word.
func (f *Fabric) send(s *socket, to netip.AddrPort, b []byte) {
	p := f.carries(to.Port(), f.route(s.key.place, to.Addr()))
	now := f.o.Now()
	if p.NoPath != "" {
		f.later(2*p.lag(now, 0, f.o.Rand), func() { f.report(s, wire.KindUnreachable, to) })
		return
	}
	if !p.Good() || p.Loss > 0 && f.o.Rand() < p.Loss {
		return
	}
	lag := p.lag(now, len(b), f.o.Rand)
	b = append(make([]byte, 0, len(b)+wire.MaxHeader), b...)
	f.later(lag, func() { f.deliver(s, f.graph.places[p.Dest], to, b) })
}

// later runs fn after d, unless too much is on its way already.
func (f *Fabric) later(d time.Duration, fn func()) {
	if f.datagrams.Add(1) > maxDatagrams {
		f.datagrams.Add(-1)
		return
	}
	run := func() {
		defer f.datagrams.Add(-1)
		fn()
	}
	if d <= 0 {
		run()
		return
	}
	time.AfterFunc(d, run)
}

// deliver ends a datagram's way. Where nobody listens, the sender hears of it one way later.
func (f *Fabric) deliver(from *socket, dst *place, to netip.AddrPort, b []byte) {
	s := f.lookup(dst, "udp", to)
	if s == nil || s.peer.IsValid() && s.peer != from.key.addr {
		back := f.route(dst, from.key.addr.Addr())
		if back.Good() {
			f.later(back.lag(f.o.Now(), 0, f.o.Rand), func() { f.report(from, wire.KindRefused, to) })
		}
		return
	}
	f.hand(s, wire.KindData, from.key.addr, b)
}

// report tells the sender that a datagram did not arrive (ICMP). Only a connected socket hears of it, as on a host.
func (f *Fabric) report(s *socket, kind byte, to netip.AddrPort) {
	if s.peer == to {
		f.hand(s, kind, to, nil)
	}
}

// hand gives a datagram to its socket.
func (f *Fabric) hand(s *socket, kind byte, peer netip.AddrPort, b []byte) {
	if s.packets != nil {
		select {
		case s.packets.queue <- datagram{kind, peer, b}:
		default:
		}
		return
	}
	var head [wire.MaxHeader]byte
	frame := append(wire.AppendHeader(head[:0], kind, peer), b...)
	_, _ = f.udp.WriteToUDPAddrPort(frame, s.udp) // lost if the host is out of buffers
}

// serveDatagrams carries the datagrams of nodes until the socket is closed.
func (f *Fabric) serveDatagrams(udp *net.UDPConn) {
	buf := make([]byte, 1<<16)
	for {
		n, from, err := udp.ReadFromUDPAddrPort(buf)
		if err != nil {
			select {
			case <-f.done:
				return
			default:
			}
			if f.isClosing(err) {
				return
			}
			continue // ICMP of a node that was killed
		}
		kind, to, payload, err := wire.ParseDatagram(buf[:n])
		if err != nil || kind != wire.KindData {
			continue
		}
		f.mu.Lock()
		s := f.bySource[netip.AddrPortFrom(from.Addr().Unmap(), from.Port())]
		f.mu.Unlock()
		if s != nil {
			f.send(s, to, payload)
		}
	}
}

type datagram struct {
	kind byte
	peer netip.AddrPort
	b    []byte
}

// packetConn is a datagram socket in this process.
type packetConn struct {
	f      *Fabric
	s      *socket
	queue  chan datagram
	rd, wd *deadline
	closed chan struct{}
}

var (
	_ net.PacketConn = (*packetConn)(nil)
	_ net.Conn       = connected{}
)

func (f *Fabric) openPacket(p *place, local, peer netip.AddrPort) (*packetConn, error) {
	c := &packetConn{f: f, queue: make(chan datagram, packetQueue), rd: newDeadline(), wd: newDeadline(), closed: make(chan struct{})}
	c.s = &socket{key: socketKey{p, "udp", local}, packets: c, peer: peer}
	c.s.end = c.end
	if err := f.bind(c.s); err != nil {
		return nil, err
	}
	return c, nil
}

// ReadFrom reads one datagram; what does not fit into b is lost.
func (c *packetConn) ReadFrom(b []byte) (int, net.Addr, error) {
	n, from, err := c.read(b)
	if err != nil {
		return 0, nil, err
	}
	return n, net.UDPAddrFromAddrPort(from), nil
}

func (c *packetConn) read(b []byte) (int, netip.AddrPort, error) {
	if c.rd.isPast() {
		return 0, netip.AddrPort{}, c.failed("read", os.ErrDeadlineExceeded)
	}
	select {
	case d := <-c.queue:
		switch d.kind {
		case wire.KindRefused:
			return 0, d.peer, c.failed("read", os.NewSyscallError("read", syscall.ECONNREFUSED))
		case wire.KindUnreachable:
			return 0, d.peer, c.failed("read", os.NewSyscallError("read", syscall.EHOSTUNREACH))
		}
		return copy(b, d.b), d.peer, nil
	case <-c.rd.passed():
		return 0, netip.AddrPort{}, c.failed("read", os.ErrDeadlineExceeded)
	case <-c.closed:
		return 0, netip.AddrPort{}, c.failed("read", net.ErrClosed)
	}
}

// WriteTo sends one datagram.
func (c *packetConn) WriteTo(b []byte, addr net.Addr) (int, error) {
	var to netip.AddrPort
	if u, ok := addr.(*net.UDPAddr); ok {
		to = u.AddrPort()
	} else {
		var err error
		if to, err = netip.ParseAddrPort(addr.String()); err != nil {
			return 0, c.failed("write", err)
		}
	}
	return c.write(b, netip.AddrPortFrom(to.Addr().Unmap().WithZone(""), to.Port()))
}

func (c *packetConn) write(b []byte, to netip.AddrPort) (int, error) {
	select {
	case <-c.closed:
		return 0, c.failed("write", net.ErrClosed)
	default:
	}
	if len(b) > maxDatagram {
		return 0, c.failed("write", os.NewSyscallError("sendto", syscall.EMSGSIZE))
	}
	c.f.send(c.s, to, b)
	return len(b), nil
}

func (c *packetConn) failed(op string, err error) error {
	return wire.OpError(op, "udp", c.s.key.addr, c.s.peer, err)
}

// end is called once, by socket.close.
func (c *packetConn) end() {
	c.f.unbind(c.s)
	close(c.closed)
}

// Close gives the address back.
func (c *packetConn) Close() error {
	c.s.close()
	return nil
}

func (c *packetConn) LocalAddr() net.Addr                { return net.UDPAddrFromAddrPort(c.s.key.addr) }
func (c *packetConn) SetReadDeadline(t time.Time) error  { c.rd.set(t); return nil }
func (c *packetConn) SetWriteDeadline(t time.Time) error { c.wd.set(t); return nil }

func (c *packetConn) SetDeadline(t time.Time) error {
	c.rd.set(t)
	c.wd.set(t)
	return nil
}

// connected is a datagram socket with one peer. It stays a net.PacketConn, so that a DNS library takes it for UDP.
type connected struct{ *packetConn }

// Read reads one datagram of the peer; ECONNREFUSED when nobody listens there.
func (c connected) Read(b []byte) (int, error) {
	n, _, err := c.read(b)
	return n, err
}

// Write sends one datagram to the peer.
func (c connected) Write(b []byte) (int, error) { return c.write(b, c.s.peer) }

// RemoteAddr is the peer.
func (c connected) RemoteAddr() net.Addr { return net.UDPAddrFromAddrPort(c.s.peer) }
