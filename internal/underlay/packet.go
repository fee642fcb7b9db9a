package underlay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/catchment-net/catchment/internal/underlay/wire"
)

// maxDatagram is the largest payload in bytes that fits behind a header on loopback.
const maxDatagram = 65507 - wire.MaxHeader

// packetConn is one datagram socket of a node: a UDP socket of the host whose datagrams carry the other end's address in
// the topology. They come from the runner or from another socket of this process; all others are dropped.
type packetConn struct {
	lab     *Lab
	local   netip.AddrPort
	peer    netip.AddrPort // the only peer of a connected socket, else not valid
	socket  *net.UDPConn
	at      netip.AddrPort // the socket's own address
	via     netip.AddrPort // the runner's; not valid when the socket never leaves this process
	control net.Conn       // nil when the socket never leaves this process
	once    sync.Once
	err     error

	rmu sync.Mutex // guards rbuf
	// rbuf holds a datagram with its header. The Go heap pays for it only once a socket reads.
	rbuf []byte
	wmu  sync.Mutex // guards wbuf
	wbuf []byte
}

var (
	_ net.PacketConn = (*packetConn)(nil)
	_ net.Conn       = connected{}
)

// listenPacket opens a socket on ap; with a peer it is a connected one. Port 0 asks the runner for a free port.
func (l *Lab) listenPacket(ctx context.Context, ap, peer netip.AddrPort) (*packetConn, error) {
	p, err := l.openPacket(ap, peer)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	req := wire.Request{Op: wire.Listen, Node: l.node, Net: "udp", Addr: ap.String(), At: p.at.String()}
	if peer.IsValid() {
		req.Peer = peer.String()
	}
	control, _, answer, err := l.ask(ctx, req)
	if err != nil {
		_ = p.socket.Close()
		return nil, err
	}
	p.control = control
	if err = answer.Err("bind"); err == nil {
		if p.via, err = netip.ParseAddrPort(answer.Via); err != nil {
			err = fmt.Errorf("read the runner's address: %w", err)
		}
	}
	p.local = answer.Local
	if err == nil {
		err = l.addPacket(p)
	}
	if err != nil {
		return nil, errors.Join(err, control.Close(), p.socket.Close())
	}
	return p, nil
}

func (l *Lab) openPacket(local, peer netip.AddrPort) (*packetConn, error) {
	socket, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(l.bind, 0)))
	if err != nil {
		return nil, err
	}
	at := socket.LocalAddr().(*net.UDPAddr).AddrPort()
	return &packetConn{lab: l, local: local, peer: peer, socket: socket, at: netip.AddrPortFrom(at.Addr().Unmap(), at.Port())}, nil
}

func (l *Lab) addPacket(p *packetConn) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.packets[p.local] != nil {
		return os.NewSyscallError("bind", syscall.EADDRINUSE)
	}
	l.packets[p.local], l.socks[p.at] = p, p
	return nil
}

// dialPacket makes a connected socket. Towards a socket of this process it needs no runner.
func (l *Lab) dialPacket(ctx context.Context, peer netip.AddrPort) (net.Conn, error) {
	from, err := l.source(peer.Addr())
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	own := l.packets[peer] != nil
	l.mu.Unlock()
	if !own {
		p, err := l.listenPacket(ctx, netip.AddrPortFrom(from, 0), peer)
		if err != nil {
			return nil, err
		}
		return connected{p}, nil
	}
	p, err := l.openPacket(netip.AddrPort{}, peer)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	p.local, err = l.ownPort(from)
	if err == nil {
		l.packets[p.local], l.socks[p.at] = p, p
	}
	l.mu.Unlock()
	if err != nil {
		_ = p.socket.Close()
		return nil, err
	}
	return connected{p}, nil
}

// ReadFrom reads one datagram; what does not fit into b is lost, as it is on a host.
func (p *packetConn) ReadFrom(b []byte) (int, net.Addr, error) {
	n, from, err := p.read(b)
	if err != nil {
		return 0, nil, err
	}
	return n, net.UDPAddrFromAddrPort(from), nil
}

func (p *packetConn) read(b []byte) (int, netip.AddrPort, error) {
	p.rmu.Lock()
	defer p.rmu.Unlock()
	if need := len(b) + wire.MaxHeader; len(p.rbuf) < need {
		p.rbuf = make([]byte, need)
	}
	for {
		n, from, err := p.socket.ReadFromUDPAddrPort(p.rbuf)
		if err != nil {
			return 0, netip.AddrPort{}, p.failed("read", err)
		}
		from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		kind, peer, payload, err := wire.ParseDatagram(p.rbuf[:n])
		if err != nil || !p.trusts(from, peer) {
			continue
		}
		if kind != wire.KindData {
			if !p.peer.IsValid() {
				continue // only a connected socket hears of it, as on a host
			}
			errno := syscall.ECONNREFUSED
			if kind == wire.KindUnreachable {
				errno = syscall.EHOSTUNREACH
			}
			return 0, peer, p.failed("read", os.NewSyscallError("read", errno))
		}
		return copy(b, payload), peer, nil
	}
}

// trusts says whether a datagram from that socket of the host may claim that peer.
func (p *packetConn) trusts(from, peer netip.AddrPort) bool {
	if p.peer.IsValid() && p.peer != peer {
		return false
	}
	if from == p.via {
		return true
	}
	p.lab.mu.Lock()
	defer p.lab.mu.Unlock()
	sender := p.lab.socks[from]
	return sender != nil && sender.local == peer
}

// WriteTo sends one datagram. It may be lost on the way without a word.
func (p *packetConn) WriteTo(b []byte, addr net.Addr) (int, error) {
	to, err := addrPort(addr)
	if err != nil {
		return 0, p.failed("write", err)
	}
	return p.write(b, to)
}

func (p *packetConn) write(b []byte, to netip.AddrPort) (int, error) {
	if len(b) > maxDatagram {
		return 0, p.failed("write", os.NewSyscallError("sendto", syscall.EMSGSIZE))
	}
	p.lab.mu.Lock()
	own := p.lab.packets[to]
	p.lab.mu.Unlock()
	p.wmu.Lock()
	defer p.wmu.Unlock()
	var target netip.AddrPort
	switch {
	case own != nil:
		target = own.at
		p.wbuf = wire.AppendHeader(p.wbuf[:0], wire.KindData, p.local)
	case p.via.IsValid():
		target = p.via
		p.wbuf = wire.AppendHeader(p.wbuf[:0], wire.KindData, to)
	default: // the listener of this process that we were connected to has gone
		return 0, p.failed("write", os.NewSyscallError("write", syscall.ECONNREFUSED))
	}
	p.wbuf = append(p.wbuf, b...)
	if _, err := p.socket.WriteToUDPAddrPort(p.wbuf, target); err != nil {
		return 0, p.failed("write", err)
	}
	return len(b), nil
}

func (p *packetConn) failed(op string, err error) error {
	if inner, ok := errors.AsType[*net.OpError](err); ok {
		err = inner.Err
	}
	return wire.OpError(op, "udp", p.local, p.peer, err)
}

// Close gives the address back.
func (p *packetConn) Close() error {
	p.once.Do(func() {
		p.lab.mu.Lock()
		delete(p.lab.packets, p.local)
		delete(p.lab.socks, p.at)
		p.lab.mu.Unlock()
		p.err = p.socket.Close()
		if p.control != nil {
			p.err = errors.Join(p.err, p.control.Close())
		}
	})
	return p.err
}

// LocalAddr is the address in the topology.
func (p *packetConn) LocalAddr() net.Addr                { return net.UDPAddrFromAddrPort(p.local) }
func (p *packetConn) SetDeadline(t time.Time) error      { return p.socket.SetDeadline(t) }
func (p *packetConn) SetReadDeadline(t time.Time) error  { return p.socket.SetReadDeadline(t) }
func (p *packetConn) SetWriteDeadline(t time.Time) error { return p.socket.SetWriteDeadline(t) }

// connected is a datagram socket with one peer. It stays a net.PacketConn, so that a DNS library takes it for UDP.
type connected struct{ *packetConn }

// Read reads one datagram of the peer; ECONNREFUSED when nobody listens there.
func (c connected) Read(b []byte) (int, error) {
	n, _, err := c.read(b)
	return n, err
}

// Write sends one datagram to the peer.
func (c connected) Write(b []byte) (int, error) { return c.write(b, c.peer) }

// RemoteAddr is the peer.
func (c connected) RemoteAddr() net.Addr { return net.UDPAddrFromAddrPort(c.peer) }

func addrPort(a net.Addr) (netip.AddrPort, error) {
	if u, ok := a.(*net.UDPAddr); ok {
		ap := u.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port()), nil
	}
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return ap, fmt.Errorf("address %v: %w", a, err)
	}
	return netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port()), nil
}
