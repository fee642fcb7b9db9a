package fabric

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"github.com/catchment-net/catchment/internal/underlay"
	"github.com/catchment-net/catchment/internal/underlay/wire"
)

// backlog is how many connections wait for Accept at a listener in this process; the SYN of a further one is lost.
const backlog = 1024

// host is the network as a client or an origin in this process has it.
type host struct {
	f *Fabric
	p *place
}

var _ underlay.Net = host{}

// Client is the network of a client in that network: its connections come from the first host of the network's first
// prefix of each family. It can listen there, too.
func (f *Fabric) Client(network string) (underlay.Net, error) {
	if f.graph.topo.Network(network) == nil {
		return nil, fmt.Errorf("no network %q in the topology", network)
	}
	return host{f, f.graph.places[network]}, nil
}

// Server is the network as an origin, a name server of others or a resolver has it: it listens there on its own
// addresses, and its connections come from them.
func (f *Fabric) Server(name string) (underlay.Net, error) {
	p := f.graph.places[name]
	if p == nil || !p.server {
		return nil, fmt.Errorf("no origin, name server or resolver %q in the topology", name)
	}
	return host{f, p}, nil
}

// Listen listens on an address of the place.
func (h host) Listen(_ context.Context, network, address string) (net.Listener, error) {
	ap, err := parseLocal(network, "tcp", address)
	if err != nil {
		return nil, &net.OpError{Op: "listen", Net: network, Err: err}
	}
	ln := &listener{s: &socket{key: socketKey{h.p, "tcp", ap}, backlog: make(chan *endConn, backlog)}, f: h.f}
	ln.s.end = ln.end
	if err := h.f.bind(ln.s); err != nil {
		return nil, wire.OpError("listen", network, netip.AddrPort{}, ap, err)
	}
	return ln, nil
}

// ListenPacket opens a datagram socket on an address of the place.
func (h host) ListenPacket(_ context.Context, network, address string) (net.PacketConn, error) {
	ap, err := parseLocal(network, "udp", address)
	if err != nil {
		return nil, &net.OpError{Op: "listen", Net: network, Err: err}
	}
	pc, err := h.f.openPacket(h.p, ap, netip.AddrPort{})
	if err != nil {
		return nil, wire.OpError("listen", network, netip.AddrPort{}, ap, err)
	}
	return pc, nil
}

// DialContext connects to "IP:port" or to "name:port" of an origin.
func (h host) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	to, err := h.f.resolve(address)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	switch {
	case strings.HasPrefix(network, "tcp"):
		fl, target, err := h.f.dialAny(ctx, h.p, to)
		if err != nil {
			return nil, wire.OpError("dial", network, netip.AddrPort{}, target, timeout(err))
		}
		return newEnd(fl, fl.from, fl.to, fl.out, fl.back), nil
	case strings.HasPrefix(network, "udp"):
		for _, target := range to {
			if from, ok := h.p.source(target.Addr()); ok {
				c, err := h.f.openPacket(h.p, netip.AddrPortFrom(from, 0), target)
				if err != nil {
					return nil, wire.OpError("dial", network, netip.AddrPort{}, target, err)
				}
				return connected{c}, nil
			}
		}
		return nil, wire.OpError("dial", network, netip.AddrPort{}, to[0], noNetwork())
	}
	return nil, &net.OpError{Op: "dial", Net: network, Err: net.UnknownNetworkError(network)}
}

// timeout makes of a context's end what package net makes of it.
func timeout(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return os.ErrDeadlineExceeded
	}
	return err
}

func parseLocal(network, want, address string) (netip.AddrPort, error) {
	if !strings.HasPrefix(network, want) {
		return netip.AddrPort{}, net.UnknownNetworkError(network)
	}
	hostText, portText, err := net.SplitHostPort(address)
	if err != nil {
		return netip.AddrPort{}, err
	}
	a, err := netip.ParseAddr(hostText)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("address %q: want an IP address of the topology", address)
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("address %q: want a port from 0 to 65535", address)
	}
	return netip.AddrPortFrom(a.Unmap().WithZone(""), uint16(port)), nil
}

// listener accepts flows in this process.
type listener struct {
	f *Fabric
	s *socket
}

// Accept returns the next connection; net.ErrClosed after Close.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.s.backlog:
		return c, nil
	case <-l.s.gone:
		return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: l.Addr(), Err: net.ErrClosed}
	}
}

// Close ends the listener; connections that were not accepted yet are reset.
func (l *listener) Close() error {
	l.s.close()
	return nil
}

// end is called once, by socket.close.
func (l *listener) end() {
	l.f.unbind(l.s)
	for {
		select {
		case c := <-l.s.backlog:
			c.fl.reset()
		default:
			return
		}
	}
}

// Addr is the address in the topology.
func (l *listener) Addr() net.Addr { return net.TCPAddrFromAddrPort(l.s.key.addr) }
