package router

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"
)

// A cable joins the router's speaker to a neighbour over a real interface:
//
//	speaker 127.0.0.2:179 ◄── 127.0.1.3 (the neighbour, to the speaker) ══ cable ══ 169.254.0.6 ──► 169.254.0.7:179
//
// gobgp waits one to two seconds before it dials and cannot be told that a link has gone. A cable dials at once and again
// every 25 ms, and hangs up as soon as its interface has lost its carrier or BFD has
// found the path dead. The far end sees an ordinary BGP session.
type cable struct {
	name          string
	iface         string
	local, remote netip.Addr     // on the wire
	inside        netip.Addr     // what the speaker knows the neighbour by
	speaker       netip.AddrPort // the speaker's listener
	dials         bool
	log           *slog.Logger

	mu   sync.Mutex // guards the following
	now  [2]net.Conn
	bare bool // the interface has no carrier
	lost bool // BFD has found the path dead
}

// The timing of a cable.
const (
	cableRetry = 25 * time.Millisecond // between two attempts to connect
	cableDial  = time.Second           // for one attempt
)

// run joins until ctx is done.
func (c *cable) run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, c.hangUp)
	defer stop()
	var accepted chan net.Conn
	if !c.dials {
		var lc net.ListenConfig
		l, err := lc.Listen(ctx, "tcp", netip.AddrPortFrom(c.local, bgpPort).String())
		if err != nil {
			return err
		}
		defer l.Close()
		accepted = make(chan net.Conn)
		defer context.AfterFunc(ctx, func() { l.Close() })()
		go c.accept(ctx, l, accepted)
	}
	for ctx.Err() == nil {
		far := c.reach(ctx, accepted)
		if far == nil {
			continue
		}
		near, err := dial(ctx, c.inside, c.speaker)
		if err != nil {
			far.Close()
			pause(ctx, cableRetry)
			continue
		}
		c.join(far, near)
		pause(ctx, cableRetry)
	}
	return nil
}

// accept takes connections from the neighbour; a new one replaces the one that stands, which its other end has given up.
func (c *cable) accept(ctx context.Context, l net.Listener, to chan<- net.Conn) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		from, ok := conn.RemoteAddr().(*net.TCPAddr)
		if !ok || from.AddrPort().Addr().Unmap() != c.remote {
			conn.Close()
			continue
		}
		c.hangUp()
		select {
		case to <- conn:
		case <-ctx.Done():
			conn.Close()
			return
		}
	}
}

// reach waits for a connection to the neighbour; nil after a failed attempt.
func (c *cable) reach(ctx context.Context, accepted <-chan net.Conn) net.Conn {
	if !c.dials {
		select {
		case conn := <-accepted:
			return conn
		case <-ctx.Done():
			return nil
		}
	}
	c.mu.Lock()
	dead := c.bare || c.lost
	c.mu.Unlock()
	if !dead {
		if conn, err := dial(ctx, c.local, netip.AddrPortFrom(c.remote, bgpPort)); err == nil {
			return conn
		}
	}
	pause(ctx, cableRetry)
	return nil
}

func dial(ctx context.Context, from netip.Addr, to netip.AddrPort) (net.Conn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: from.AsSlice()}, Timeout: cableDial}
	return d.DialContext(ctx, "tcp", to.String())
}

// join carries both directions until either ends.
func (c *cable) join(far, near net.Conn) {
	c.mu.Lock()
	if c.bare || c.lost {
		c.mu.Unlock()
		far.Close()
		near.Close()
		return
	}
	c.now = [2]net.Conn{far, near}
	c.mu.Unlock()
	var both sync.WaitGroup
	for _, pair := range [][2]net.Conn{{far, near}, {near, far}} {
		both.Go(func() {
			_, err := io.Copy(pair[0], pair[1])
			c.log.Debug("session's connection ended", "peer", c.name, "error", err)
			far.Close()
			near.Close()
		})
	}
	both.Wait()
}

// hangUp ends the connection that stands.
func (c *cable) hangUp() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.now {
		if conn != nil {
			conn.Close()
		}
	}
	c.now = [2]net.Conn{}
}

// carrier notes whether the interface has one.
func (c *cable) carrier(up bool) {
	c.mu.Lock()
	lost := !up && !c.bare
	c.bare = !up
	c.mu.Unlock()
	if lost {
		c.hangUp()
	}
}

// path notes whether BFD trusts the path.
func (c *cable) path(trusted bool) {
	c.mu.Lock()
	lost := !trusted && !c.lost
	c.lost = !trusted
	c.mu.Unlock()
	if lost {
		c.hangUp()
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
