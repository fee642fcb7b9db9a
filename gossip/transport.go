package gossip

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/catchment-net/catchment/internal/underlay"
)

// portTries is how often a free port is looked for that both datagrams and streams can have.
const portTries = 10

// retryAccept is how long the listeners rest after an error that is not their end (out of descriptors, say).
const retryAccept = 20 * time.Millisecond

// transport lets memberlist use an underlay.Net. All sockets are opened here.
type transport struct {
	net     underlay.Net
	addr    netip.AddrPort // where it really listens
	packets net.PacketConn
	streams net.Listener
	log     *slog.Logger

	in     chan *memberlist.Packet
	conns  chan net.Conn
	ctx    context.Context //nolint:containedctx // the transport's life, which memberlist's calls do not carry
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

var _ memberlist.NodeAwareTransport = (*transport)(nil)

// listen opens both sockets of a pool at one address.
func listen(ctx context.Context, n underlay.Net, bind netip.AddrPort, log *slog.Logger) (*transport, error) {
	t := &transport{net: n, log: log, in: make(chan *memberlist.Packet), conns: make(chan net.Conn)}
	var err error
	for range portTries {
		if err = t.open(ctx, bind); err == nil || bind.Port() != 0 {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	t.ctx, t.cancel = context.WithCancel(context.WithoutCancel(ctx))
	t.wg.Go(t.readPackets)
	t.wg.Go(t.accept)
	return t, nil
}

func (t *transport) open(ctx context.Context, bind netip.AddrPort) error {
	streams, err := t.net.Listen(ctx, "tcp", bind.String())
	if err != nil {
		return fmt.Errorf("listen for gossip on tcp %q: %w", bind, err)
	}
	at, err := netip.ParseAddrPort(streams.Addr().String())
	if err != nil {
		streams.Close()
		return fmt.Errorf("listen for gossip on tcp %q: got address %q: %w", bind, streams.Addr(), err)
	}
	at = netip.AddrPortFrom(bind.Addr(), at.Port()) // a lab's real socket may be elsewhere
	packets, err := t.net.ListenPacket(ctx, "udp", at.String())
	if err != nil {
		streams.Close()
		return fmt.Errorf("listen for gossip on udp %q: %w", at, err)
	}
	t.addr, t.streams, t.packets = at, streams, packets
	return nil
}

func (t *transport) readPackets() {
	buf := make([]byte, maxPacket)
	for {
		n, from, err := t.packets.ReadFrom(buf)
		if err != nil {
			if !t.rest(err) {
				return
			}
			continue
		}
		p := &memberlist.Packet{Buf: append([]byte(nil), buf[:n]...), From: from, Timestamp: time.Now()}
		select {
		case t.in <- p:
		case <-t.ctx.Done():
			return
		}
	}
}

func (t *transport) accept() {
	for {
		conn, err := t.streams.Accept()
		if err != nil {
			if !t.rest(err) {
				return
			}
			continue
		}
		select {
		case t.conns <- conn:
		case <-t.ctx.Done():
			conn.Close()
			return
		}
	}
}

// rest waits a little after an error of a listener; false means that it is closed.
func (t *transport) rest(err error) bool {
	if errors.Is(err, net.ErrClosed) || t.ctx.Err() != nil {
		return false
	}
	t.log.Debug("gossip socket", "error", err)
	select {
	case <-t.ctx.Done():
		return false
	case <-time.After(retryAccept):
		return true
	}
}

// FinalAdvertiseAddr is where we listen, whatever was configured.
func (t *transport) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	return t.addr.Addr().Unmap().AsSlice(), int(t.addr.Port()), nil
}

// WriteToAddress sends a datagram and returns when that was.
func (t *transport) WriteToAddress(b []byte, a memberlist.Address) (time.Time, error) {
	to, err := netip.ParseAddrPort(a.Addr)
	if err != nil {
		return time.Time{}, fmt.Errorf("send gossip to %q: %w", a.Addr, err)
	}
	_, err = t.packets.WriteTo(b, net.UDPAddrFromAddrPort(to))
	return time.Now(), err
}

// WriteTo is WriteToAddress for a member whose name is not known.
func (t *transport) WriteTo(b []byte, addr string) (time.Time, error) {
	return t.WriteToAddress(b, memberlist.Address{Addr: addr})
}

// PacketCh is where datagrams come in.
func (t *transport) PacketCh() <-chan *memberlist.Packet { return t.in }

// DialAddressTimeout opens a stream to a member. It ends with the transport.
func (t *transport) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(t.ctx, timeout)
	defer cancel()
	return t.net.DialContext(ctx, "tcp", a.Addr)
}

// DialTimeout is DialAddressTimeout for a member whose name is not known.
func (t *transport) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	return t.DialAddressTimeout(memberlist.Address{Addr: addr}, timeout)
}

// StreamCh is where streams come in.
func (t *transport) StreamCh() <-chan net.Conn { return t.conns }

// Shutdown closes the sockets and waits for their readers.
func (t *transport) Shutdown() error {
	t.cancel()
	err := errors.Join(t.packets.Close(), t.streams.Close())
	t.wg.Wait()
	return err
}
