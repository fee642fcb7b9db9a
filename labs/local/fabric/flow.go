package fabric

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/catchment-net/catchment/internal/underlay/wire"
)

// orphanLimit is how long a flow lives on after one of its ends has closed it altogether (Linux: tcp_fin_timeout is 60 s;
// ours is shorter since a frozen node would gather them).
const orphanLimit = 30 * time.Second

// flow is one TCP connection: a stream in each direction, and the places where they end.
type flow struct {
	f        *Fabric
	src, dst *place
	from, to netip.AddrPort
	out      *stream // src to dst
	back     *stream // dst to src

	mu      sync.Mutex // guards the following
	ended   int        // streams that have come to their end
	moving  bool       // a reset is due since the address is now reached elsewhere
	broken  bool       // it was reset
	timers  []*time.Timer
	onReset []func()
	over    bool
}

// newFlow registers a flow whose paths are good.
func (f *Fabric) newFlow(src, dst *place, from, to netip.AddrPort) (*flow, error) {
	fl := &flow{f: f, src: src, dst: dst, from: from, to: to, out: newStream(f.o.Now, f.o.Rand), back: newStream(f.o.Now, f.o.Rand)}
	fl.out.onEnd, fl.back.onEnd = fl.streamEnded, fl.streamEnded
	f.mu.Lock()
	switch {
	case f.closed:
		f.mu.Unlock()
		return nil, errClosed
	case len(f.flows) >= maxFlows:
		f.mu.Unlock()
		return nil, os.NewSyscallError("connect", syscall.ENOBUFS)
	}
	f.flows[fl] = struct{}{}
	f.mu.Unlock()
	fl.reroute() // after it is registered, so that no change of routing is missed
	return fl, nil
}

// reroute makes the flow follow the routes as they are now. When the address is now reached at another node, that one
// gets what is written from now on, knows no such connection and resets it one round trip later.
func (fl *flow) reroute() {
	port := fl.to.Port()
	ahead, back := fl.f.carries(port, fl.f.route(fl.src, fl.to.Addr())), fl.f.carries(port, fl.f.route(fl.dst, fl.from.Addr()))
	if ahead.Good() && ahead.Dest != fl.dst.name {
		fl.out.lose()
		fl.moveAway(ahead.Delay + back.Delay)
		return
	}
	fl.out.follow(ahead)
	fl.back.follow(back)
}

func (fl *flow) moveAway(after time.Duration) {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	if fl.moving || fl.over {
		return
	}
	fl.moving = true
	fl.timers = append(fl.timers, time.AfterFunc(after, fl.reset))
}

// reset ends the flow at once; both ends see a reset.
func (fl *flow) reset() {
	fl.mu.Lock()
	fl.broken = true
	do := fl.onReset
	fl.onReset = nil
	fl.mu.Unlock()
	fl.out.fail(errReset)
	fl.back.fail(errReset)
	for _, fn := range do {
		fn()
	}
}

// whenReset has fn called once if the flow is reset, at once if it already was.
func (fl *flow) whenReset(fn func()) {
	fl.mu.Lock()
	broken := fl.broken
	if !broken {
		fl.onReset = append(fl.onReset, fn)
	}
	fl.mu.Unlock()
	if broken {
		fn()
	}
}

// orphan ends the flow for good if its other end does not close it in time.
func (fl *flow) orphan() {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	if !fl.over {
		fl.timers = append(fl.timers, time.AfterFunc(orphanLimit, fl.reset))
	}
}

// streamEnded is called once for each stream, with its lock held.
func (fl *flow) streamEnded() {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	fl.ended++
	if fl.ended < 2 {
		return
	}
	fl.over = true
	for _, t := range fl.timers {
		t.Stop()
	}
	fl.timers = nil
	fl.f.mu.Lock()
	delete(fl.f.flows, fl)
	fl.f.mu.Unlock()
}

// pump joins a node's connection to the flow: what the node writes goes into `into`, what comes out of `from` goes to the
// node. It returns when both directions have ended. It closes c.
func (fl *flow) pump(c *wire.Conn, into, from *stream) {
	fl.whenReset(c.Abort)
	said := make(chan struct{}) // closed when the node writes no more
	var reader sync.WaitGroup
	reader.Go(func() { fl.pumpIn(c, into, from, said) })
	fl.pumpOut(c, into, from)
	<-said
	_ = c.Close()
	reader.Wait()
}

// pumpIn carries what a node writes.
func (fl *flow) pumpIn(c *wire.Conn, into, from *stream, said chan struct{}) {
	fin := false
	for {
		b, err := c.ReadFrame()
		switch {
		case err == nil && into.put(b, nil) == nil:
			continue
		case errors.Is(err, io.EOF):
			into.finish(io.EOF)
			close(said)
			fin = true
			continue
		case fin: // behind the FIN: the node has closed its end altogether, or we have
			fl.orphan()
			return
		}
		c.Abort() // the node has gone, or the other end has
		into.finish(errReset)
		from.stop()
		close(said)
		return
	}
}

// pumpOut carries what a node is to read.
func (fl *flow) pumpOut(c *wire.Conn, into, from *stream) {
	for {
		b, err := from.take()
		if err == nil {
			if _, err = c.Write(b); err == nil {
				continue
			}
			from.stop()
		}
		if errors.Is(err, io.EOF) {
			_ = c.CloseWrite()
			return
		}
		c.Abort()
		into.finish(errReset)
		return
	}
}

// sleep waits for d or the end of ctx.
func (f *Fabric) sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-f.done:
		return errClosed
	}
}
