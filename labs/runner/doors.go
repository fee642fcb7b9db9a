package runner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/catchment-net/catchment/internal/underlay"
)

const (
	accessTimeout = 10 * time.Second // to set a connection up for a person
	accessIdle    = 30 * time.Second // after which a person's datagram socket is forgotten
	maxAccess     = 1024             // connections, or datagram peers, at one access port
)

// openTCP lets people in: what connects to l is connected to dst as if it sat in that network. It blocks until ctx is
// done or l is closed, and closes l.
func openTCP(ctx context.Context, n underlay.Net, l net.Listener, dst netip.AddrPort) error {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	var guests sync.WaitGroup
	defer guests.Wait()
	defer cancel()
	places := make(chan struct{}, maxAccess)
	for {
		c, err := l.Accept()
		if err != nil {
			_ = l.Close()
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return nil
			}
			return fmt.Errorf("accept at the access port %q: %w", l.Addr(), err)
		}
		select {
		case places <- struct{}{}:
		default:
			_ = c.Close()
			continue
		}
		guests.Go(func() {
			defer func() { <-places }()
			guest(ctx, n, c, dst)
		})
	}
}

// guest carries one connection of a person.
func guest(ctx context.Context, n underlay.Net, c net.Conn, dst netip.AddrPort) {
	defer c.Close()
	setUp, cancel := context.WithTimeout(ctx, accessTimeout)
	far, err := n.DialContext(setUp, "tcp", dst.String())
	cancel()
	if err != nil {
		abort(c)
		return
	}
	defer far.Close()
	stop := context.AfterFunc(ctx, func() {
		_ = c.Close()
		_ = far.Close()
	})
	defer stop()
	var back sync.WaitGroup
	back.Go(func() { relayHalf(c, far) })
	relayHalf(far, c)
	back.Wait()
}

// relayHalf copies one direction with its half close; a broken one ends both.
func relayHalf(dst, src net.Conn) {
	_, err := io.Copy(dst, src)
	if err == nil {
		if half, ok := dst.(interface{ CloseWrite() error }); ok {
			err = half.CloseWrite()
		}
	}
	if err != nil {
		abort(dst)
		abort(src)
	}
}

// openUDP does for datagrams what openTCP does for connections: each local peer gets a socket of its own in the
// network. It blocks until ctx is done or pc is closed, and closes pc.
func openUDP(ctx context.Context, n underlay.Net, pc net.PacketConn, dst netip.AddrPort) error {
	a := &accessUDP{pc: pc, peers: map[string]net.Conn{}}
	ctx, cancel := context.WithCancel(ctx)
	defer a.guests.Wait()
	defer cancel()
	stop := context.AfterFunc(ctx, a.close)
	defer stop()
	buf := make([]byte, 1<<16)
	for {
		size, from, err := pc.ReadFrom(buf)
		if err != nil {
			a.close()
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return nil
			}
			return fmt.Errorf("read at the access port %q: %w", pc.LocalAddr(), err)
		}
		if c := a.peer(ctx, n, from, dst); c != nil {
			_ = c.SetReadDeadline(time.Now().Add(accessIdle))
			_, _ = c.Write(buf[:size])
		}
	}
}

type accessUDP struct {
	pc     net.PacketConn
	guests sync.WaitGroup

	mu    sync.Mutex // guards the following
	peers map[string]net.Conn
	ended bool
}

// peer is the socket of a local peer; nil when there are too many.
func (a *accessUDP) peer(ctx context.Context, n underlay.Net, from net.Addr, dst netip.AddrPort) net.Conn {
	a.mu.Lock()
	defer a.mu.Unlock()
	name := from.String()
	if c := a.peers[name]; c != nil {
		return c
	}
	if a.ended || len(a.peers) >= maxAccess {
		return nil
	}
	c, err := n.DialContext(ctx, "udp", dst.String())
	if err != nil {
		return nil
	}
	a.peers[name] = c
	a.guests.Go(func() {
		a.answer(c, from)
		_ = c.Close()
		a.mu.Lock()
		delete(a.peers, name)
		a.mu.Unlock()
	})
	return c
}

// answer carries what comes back, until the socket has been idle for long or is closed.
func (a *accessUDP) answer(c net.Conn, to net.Addr) {
	buf := make([]byte, 1<<16)
	for {
		n, err := c.Read(buf)
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() || errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			_, _ = a.pc.WriteTo(buf[:n], to)
		}
	}
}

func (a *accessUDP) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ended = true
	_ = a.pc.Close()
	for _, c := range a.peers {
		_ = c.Close()
	}
}

// abort closes a connection with a reset, so that the other end knows that it is broken.
func abort(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	_ = c.Close()
}
