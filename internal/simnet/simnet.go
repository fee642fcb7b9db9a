// Package simnet is a network in memory for tests in virtual time: packets and streams with a delay and loss for each
// pair of addresses, and partitions. Each host of it is an underlay.Net.
//
// Nothing in it waits for real input or output, so that it works in the bubbles of testing/synctest. Streams lose
// nothing: while their path is cut they stand still, as TCP does, and go on when it heals.
package simnet

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/catchment-net/catchment/internal/underlay"
)

// The limits of a host.
const (
	maxPackets = 4096 // waiting at one socket; further ones are lost
	maxBacklog = 1024 // connections that nobody accepted yet
	firstPort  = 32768
)

// Link is what lies between two addresses, the same both ways.
type Link struct {
	Delay time.Duration // one way
	Loss  float64       // of packets, 0 to 1
}

// Network is a network in memory. It is safe for concurrent use.
type Network struct {
	mu      sync.Mutex // guards the following; held for a look-up
	rnd     *rand.Rand
	usual   Link
	links   map[[2]netip.Addr]Link
	cut     map[[2]netip.Addr]bool
	sides   map[netip.Addr]int // of a partition; nil when there is none
	healed  chan struct{}      // closed and replaced whenever paths change
	packets map[netip.AddrPort]*packetConn
	streams map[netip.AddrPort]*listener
	ports   uint16
}

// New returns a network without hosts, whose links are all usual. The seed decides which packets are lost.
func New(seed uint64, usual Link) *Network {
	return &Network{
		rnd: rand.New(rand.NewPCG(seed, seed)), usual: usual,
		links: map[[2]netip.Addr]Link{}, cut: map[[2]netip.Addr]bool{}, healed: make(chan struct{}),
		packets: map[netip.AddrPort]*packetConn{}, streams: map[netip.AddrPort]*listener{}, ports: firstPort,
	}
}

// Host returns the network as the host with that address sees it. It may listen on any address; what it dials comes
// from addr.
func (n *Network) Host(addr netip.Addr) underlay.Net { return host{n, addr} }

// SetLink sets what lies between two addresses.
func (n *Network) SetLink(a, b netip.Addr, l Link) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.links[pair(a, b)] = l
}

// Cut ends or restores the path between two addresses.
func (n *Network) Cut(a, b netip.Addr, on bool) {
	n.change(func() { n.cut[pair(a, b)] = on })
}

// Partition cuts the network into groups that do not reach one another. Addresses in no group form one more.
func (n *Network) Partition(groups ...[]netip.Addr) {
	n.change(func() {
		n.sides = map[netip.Addr]int{}
		for i, g := range groups {
			for _, a := range g {
				n.sides[a] = i + 1
			}
		}
	})
}

// Heal ends all cuts and the partition.
func (n *Network) Heal() {
	n.change(func() {
		n.sides = nil
		clear(n.cut)
	})
}

func (n *Network) change(fn func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	fn()
	close(n.healed)
	n.healed = make(chan struct{})
}

func pair(a, b netip.Addr) [2]netip.Addr {
	if b.Less(a) {
		a, b = b, a
	}
	return [2]netip.Addr{a, b}
}

// path is what lies between two addresses now; open is false when it is cut, and then changed tells when to ask again.
func (n *Network) path(a, b netip.Addr) (l Link, open bool, changed <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	l, ok := n.links[pair(a, b)]
	if !ok {
		l = n.usual
	}
	return l, !n.cut[pair(a, b)] && n.sides[a] == n.sides[b], n.healed
}

func (n *Network) lost(loss float64) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.rnd.Float64() < loss
}

// host is an underlay.Net.
type host struct {
	n    *Network
	addr netip.Addr
}

// port returns the address to listen on, with a free port if none is given. Called with the network's mu held.
func (h host) port(address string, taken func(netip.AddrPort) bool) (netip.AddrPort, error) {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return at, fmt.Errorf("listen on %q: %w", address, err)
	}
	if at.Port() != 0 {
		if taken(at) {
			return at, fmt.Errorf("listen on %q: %w", address, syscall.EADDRINUSE)
		}
		return at, nil
	}
	for range 1 << 15 {
		h.n.ports = max(h.n.ports+1, firstPort)
		if at = netip.AddrPortFrom(at.Addr(), h.n.ports); !taken(at) {
			return at, nil
		}
	}
	return at, fmt.Errorf("listen on %q: %w", address, syscall.EADDRINUSE)
}

func (h host) Listen(_ context.Context, _, address string) (net.Listener, error) {
	h.n.mu.Lock()
	defer h.n.mu.Unlock()
	at, err := h.port(address, func(a netip.AddrPort) bool { return h.n.streams[a] != nil })
	if err != nil {
		return nil, err
	}
	l := &listener{n: h.n, at: at, backlog: make(chan net.Conn, maxBacklog), closed: make(chan struct{})}
	h.n.streams[at] = l
	return l, nil
}

func (h host) ListenPacket(_ context.Context, _, address string) (net.PacketConn, error) {
	return h.openPacket(address)
}

func (h host) openPacket(address string) (*packetConn, error) {
	h.n.mu.Lock()
	defer h.n.mu.Unlock()
	at, err := h.port(address, func(a netip.AddrPort) bool { return h.n.packets[a] != nil })
	if err != nil {
		return nil, err
	}
	c := newPacketConn(h.n, at)
	h.n.packets[at] = c
	return c, nil
}

// DialContext connects. A stream to where nobody listens is refused after a round trip; one over a cut path waits.
func (h host) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, fmt.Errorf("dial %q: %w", address, err)
	}
	if network == "udp" {
		c, err := h.openPacket(netip.AddrPortFrom(h.addr, 0).String())
		if err != nil {
			return nil, err
		}
		return &connected{packetConn: c, to: to}, nil
	}
	if err := h.roundTrip(ctx, to.Addr()); err != nil {
		return nil, fmt.Errorf("dial %q: %w", address, err)
	}
	h.n.mu.Lock()
	target := h.n.streams[to]
	h.n.ports = max(h.n.ports+1, firstPort)
	from := netip.AddrPortFrom(h.addr, h.n.ports)
	h.n.mu.Unlock()
	if target == nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	}
	here, there := newStream(h.n, from, to)
	select {
	case target.backlog <- there:
		select {
		case <-target.closed: // it may have emptied its backlog just before
			there.Close()
		default:
		}
		return here, nil
	default:
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	}
}

// roundTrip waits until the path was open for a round trip.
func (h host) roundTrip(ctx context.Context, to netip.Addr) error {
	for {
		l, open, changed := h.n.path(h.addr, to)
		if !open {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-changed:
				continue
			}
		}
		t := time.NewTimer(2 * l.Delay)
		select {
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		case <-t.C:
			return nil
		}
	}
}

// listener accepts streams.
type listener struct {
	n       *Network
	at      netip.AddrPort
	backlog chan net.Conn
	once    sync.Once
	closed  chan struct{}
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case <-l.closed:
		return nil, net.ErrClosed
	case c := <-l.backlog:
		return c, nil
	}
}

func (l *listener) Close() error {
	l.once.Do(func() {
		l.n.mu.Lock()
		delete(l.n.streams, l.at)
		l.n.mu.Unlock()
		close(l.closed)
		for {
			select {
			case c := <-l.backlog:
				c.Close()
			default:
				return
			}
		}
	})
	return nil
}

func (l *listener) Addr() net.Addr { return net.TCPAddrFromAddrPort(l.at) }
