package underlay

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/catchment-net/catchment/internal/underlay/wire"
)

// LabOptions configures a Lab. Socket and Node are required.
type LabOptions struct {
	Socket string     // the runner's unix socket
	Node   string     // the node whose addresses these are
	Bind   netip.Addr // where the node receives datagrams on the host; the zero value means 127.0.0.1
}

// Lab is the network of one node of a local lab. Its addresses are the topology's; each connection and datagram goes
// through the lab's runner, which carries it along the links that its routers prefer:
//
//	popd ── Lab ══ unix socket ══ runner ── links, delays, routes ── runner ══ unix socket ══ Lab ── popd
//	                                 └── client or origin in the runner
//
// What a process sends to a listener of its own goes there directly: it works even while the runner is busy.
// Loopback addresses and other networks than tcp and udp mean the host's own. Package wire has the protocol.
//
// A Lab is safe for concurrent use. It holds nothing open by itself.
type Lab struct {
	socket, node string
	bind         netip.Addr
	unicast      []netip.Addr

	mu      sync.Mutex // guards the following; never held across a system call
	streams map[netip.AddrPort]*labListener
	packets map[netip.AddrPort]*packetConn
	socks   map[netip.AddrPort]*packetConn // by address on the host
	next    uint16                         // the ephemeral port last given within this process
}

var _ Net = (*Lab)(nil)

// The ephemeral ports that a process gives for its own use. The runner gives those above (RFC 6335 §6), so that the two
// never meet.
const (
	firstOwnPort = 32768
	lastOwnPort  = 49151
)

// askTimeout bounds the runner's answer to hello and listen. A dial waits as long as its context.
const askTimeout = 5 * time.Second

// NewLab asks the runner for the node's addresses. It fails when the runner does not answer within 5 s or does not know
// the node.
func NewLab(o LabOptions) (*Lab, error) {
	if o.Socket == "" || o.Node == "" {
		return nil, fmt.Errorf("lab network with socket %q and node %q: want both", o.Socket, o.Node)
	}
	if !o.Bind.IsValid() {
		o.Bind = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	l := &Lab{
		socket: o.Socket, node: o.Node, bind: o.Bind,
		streams: map[netip.AddrPort]*labListener{}, packets: map[netip.AddrPort]*packetConn{}, socks: map[netip.AddrPort]*packetConn{},
	}
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	c, _, answer, err := l.ask(ctx, wire.Request{Op: wire.Hello, Node: o.Node})
	if err != nil {
		return nil, fmt.Errorf("ask the lab's runner at %q for node %q: %w", o.Socket, o.Node, err)
	}
	_ = c.Close()
	if err := answer.Err("hello"); err != nil {
		return nil, fmt.Errorf("ask the lab's runner at %q for node %q: %w", o.Socket, o.Node, err)
	}
	l.unicast = answer.Addrs
	return l, nil
}

// Addrs are the node's unicast addresses: what its outgoing connections come from.
func (l *Lab) Addrs() []netip.Addr { return append([]netip.Addr(nil), l.unicast...) }

// Listen listens on an address of the node, or on an anycast one. An address that is in use in this node or is not the
// node's fails as it does on a host (EADDRINUSE, EADDRNOTAVAIL).
func (l *Lab) Listen(ctx context.Context, network, address string) (net.Listener, error) {
	ap, onHost, err := l.place(network, "tcp", address)
	if err != nil {
		return nil, &net.OpError{Op: "listen", Net: network, Err: err}
	}
	if onHost {
		return Host{}.Listen(ctx, network, address)
	}
	ln, err := l.listen(ctx, ap)
	if err != nil {
		return nil, wire.OpError("listen", network, netip.AddrPort{}, ap, err)
	}
	return ln, nil
}

// ListenPacket opens a datagram socket on an address of the node, or on an anycast one.
func (l *Lab) ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error) {
	ap, onHost, err := l.place(network, "udp", address)
	if err != nil {
		return nil, &net.OpError{Op: "listen", Net: network, Err: err}
	}
	if onHost {
		return Host{}.ListenPacket(ctx, network, address)
	}
	pc, err := l.listenPacket(ctx, ap, netip.AddrPort{})
	if err != nil {
		return nil, wire.OpError("listen", network, netip.AddrPort{}, ap, err)
	}
	return pc, nil
}

// DialContext connects from the node's unicast address of the target's family to "IP:port", or to "name:port" of an
// origin. Errors are those of a host: ECONNREFUSED, EHOSTUNREACH, ENETUNREACH, *net.DNSError; a target that swallows
// everything fails when ctx ends, or with ETIMEDOUT.
func (l *Lab) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	ip, ipErr := netip.ParseAddr(host)
	kind, err := family(network, ip)
	if err != nil || host == "localhost" || ip.IsLoopback() {
		return Host{}.DialContext(ctx, network, address)
	}
	switch {
	case kind == "tcp" && ipErr != nil:
		return l.dialStream(ctx, netip.AddrPort{}, address)
	case kind == "udp" && ipErr != nil:
		return nil, &net.OpError{Op: "dial", Net: network, Err: wire.NoSuchHost(host)}
	}
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	ap = netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port())
	if kind == "udp" {
		c, err := l.dialPacket(ctx, ap)
		if err != nil {
			return nil, wire.OpError("dial", network, netip.AddrPort{}, ap, err)
		}
		return c, nil
	}
	return l.dialStream(ctx, ap, ap.String())
}

// place reads a listening address. onHost is set for loopback addresses and for networks that no lab has.
func (l *Lab) place(network, want, address string) (ap netip.AddrPort, onHost bool, err error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return ap, network != "tcp" && network != "udp", nil //nolint:nilerr // the host reports it, or takes it: a unix socket has no port
	}
	ip, ipErr := netip.ParseAddr(host)
	kind, err := family(network, ip)
	if err != nil {
		return ap, true, nil //nolint:nilerr // not a network of the lab
	}
	if kind != want {
		return ap, false, net.UnknownNetworkError(network)
	}
	if host == "localhost" || ip.IsLoopback() {
		return ap, true, nil
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return ap, false, fmt.Errorf("port %q: want 0 to 65535", port)
	}
	if ipErr != nil || ip.IsUnspecified() {
		return ap, false, fmt.Errorf("address %q: a node of a lab listens on one address of its topology", address)
	}
	return netip.AddrPortFrom(ip.Unmap().WithZone(""), uint16(n)), false, nil
}

// family maps tcp4, udp6 and the like to tcp and udp, and refuses an address of the wrong family.
func family(network string, ip netip.Addr) (string, error) {
	switch network {
	case "tcp", "udp":
		return network, nil
	case "tcp4", "udp4", "tcp6", "udp6":
		if ip.IsValid() && (network[3] == '4') != ip.Unmap().Is4() {
			return "", net.UnknownNetworkError(network)
		}
		return network[:3], nil
	}
	return "", net.UnknownNetworkError(network)
}

// ask opens a connection to the runner and reads its answer. The connection stays open unless there is an error.
func (l *Lab) ask(ctx context.Context, req wire.Request) (net.Conn, *bufio.Reader, wire.Answer, error) {
	var answer wire.Answer
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", l.socket)
	if err != nil {
		return nil, nil, answer, err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	err = wire.WriteLine(c, req)
	r := bufio.NewReaderSize(c, wire.MaxLine)
	if err == nil {
		err = wire.ReadLine(r, &answer)
	}
	if !stop() { // ctx ended, and perhaps the deadline has already struck
		err = ctx.Err()
	}
	if err != nil {
		_ = c.Close()
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			err = os.ErrDeadlineExceeded
		}
		return nil, nil, answer, err
	}
	return c, r, answer, nil
}

// source is the node's unicast address of the family of target.
func (l *Lab) source(target netip.Addr) (netip.Addr, error) {
	for _, a := range l.unicast {
		if a.Is4() == target.Is4() {
			return a, nil
		}
	}
	return netip.Addr{}, os.NewSyscallError("connect", syscall.ENETUNREACH)
}

// ownPort gives the next ephemeral port for a flow that stays in this process. It is called with mu held.
func (l *Lab) ownPort(addr netip.Addr) (netip.AddrPort, error) {
	for range lastOwnPort - firstOwnPort + 1 {
		l.next++
		if l.next < firstOwnPort || l.next > lastOwnPort {
			l.next = firstOwnPort
		}
		ap := netip.AddrPortFrom(addr, l.next)
		if _, used := l.packets[ap]; !used {
			return ap, nil
		}
	}
	return netip.AddrPort{}, os.NewSyscallError("bind", syscall.EADDRINUSE)
}
