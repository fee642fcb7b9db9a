// Package underlay is how a node reaches the network: the host's own, or a lab's.
//
// Every daemon speaks in the topology's addresses (203.0.113.1:80). On a real host they are on its interfaces and Host
// uses them as they are. In a lab without rights no such address exists: Lab asks the lab's runner, which carries each
// connection and datagram along the links that its routers prefer at that moment (docs/decisions/002).
package underlay

import (
	"context"
	"net"
	"net/netip"
)

// Net opens the sockets of one node. Networks are "tcp" and "udp"; addresses are "IP:port" of the topology, for
// DialContext also "name:port". It is safe for concurrent use.
type Net interface {
	Listen(ctx context.Context, network, address string) (net.Listener, error)
	ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error)
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
}

// Host is the host's own network. The zero value is ready for use.
type Host struct {
	// Local are the addresses that outgoing connections come from, at most one of each family; a service address
	// shared by anycast must never be one, since the answer would reach another POP. Empty lets the kernel choose.
	Local []netip.Addr
	// Freebind allows to listen on addresses that the host does not have yet, as service addresses that come and go.
	Freebind bool
}

var _ Net = Host{}

// Listen listens on a stream socket of the host.
func (h Host) Listen(ctx context.Context, network, address string) (net.Listener, error) {
	lc := h.listenConfig()
	return lc.Listen(ctx, network, address)
}

// ListenPacket opens a datagram socket of the host.
func (h Host) ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error) {
	lc := h.listenConfig()
	return lc.ListenPacket(ctx, network, address)
}

// DialContext connects from the local address of the same family as the target, where there is one. A name's addresses
// are tried as net.Dialer does.
func (h Host) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	var d net.Dialer
	if target, err := netip.ParseAddrPort(address); err == nil {
		d.LocalAddr = h.localFor(network, target.Addr())
	} else if len(h.Local) > 0 {
		d.Control = h.bind // which family it will be is known only now
	}
	return d.DialContext(ctx, network, address)
}

func (h Host) localFor(network string, target netip.Addr) net.Addr {
	for _, a := range h.Local {
		if a.Is4() != target.Unmap().Is4() || target.IsLoopback() != a.IsLoopback() {
			continue
		}
		if network == "udp" {
			return net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, 0))
		}
		return net.TCPAddrFromAddrPort(netip.AddrPortFrom(a, 0))
	}
	return nil
}
