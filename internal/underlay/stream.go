package underlay

import (
	"bufio"
	"context"
	"crypto/rand"
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

const (
	preambleTimeout = 5 * time.Second // for the first bytes of an accepted connection
	maxPending      = 1024            // accepted connections whose preamble or Accept is awaited; further ones wait in the kernel
)

// labListener accepts on a unix socket of its own; the runner knows where, as long as the control connection is open.
type labListener struct {
	lab     *Lab
	addr    netip.AddrPort
	at      string
	token   []byte
	socket  net.Listener
	control net.Conn

	ready   chan *wire.Conn
	pending chan struct{} // one element a connection that waits
	closed  chan struct{}
	once    sync.Once
	workers sync.WaitGroup

	mu       sync.Mutex            // guards greeting
	greeting map[net.Conn]struct{} // connections whose preamble is awaited; nil after Close
}

func (l *Lab) listen(ctx context.Context, ap netip.AddrPort) (*labListener, error) {
	if l.hasStream(ap) {
		return nil, os.NewSyscallError("bind", syscall.EADDRINUSE)
	}
	token := make([]byte, wire.TokenSize)
	if _, err := rand.Read(token); err != nil {
		return nil, fmt.Errorf("make a token: %w", err)
	}
	// The kernel chooses a name in the abstract namespace: no file, gone with the process.
	socket, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix"})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	at := socket.Addr().String()
	control, _, answer, err := l.ask(ctx, wire.Request{Op: wire.Listen, Node: l.node, Net: "tcp", Addr: ap.String(), At: at, Token: token})
	if err == nil {
		if err = answer.Err("bind"); err != nil {
			_ = control.Close()
		}
	}
	if err != nil {
		_ = socket.Close()
		return nil, err
	}
	ln := &labListener{
		lab: l, addr: answer.Local, at: at, token: token, socket: socket, control: control,
		ready: make(chan *wire.Conn), pending: make(chan struct{}, maxPending), closed: make(chan struct{}),
		greeting: map[net.Conn]struct{}{},
	}
	l.mu.Lock()
	l.streams[ln.addr] = ln
	l.mu.Unlock()
	ln.workers.Go(ln.accept)
	return ln, nil
}

func (l *Lab) hasStream(ap netip.AddrPort) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.streams[ap] != nil
}

// accept takes connections off the kernel until Close.
func (ln *labListener) accept() {
	for {
		c, err := ln.socket.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			select { // out of descriptors: leave the kernel's queue alone for a moment
			case <-ln.closed:
				return
			case <-time.After(10 * time.Millisecond):
			}
			continue
		}
		select {
		case ln.pending <- struct{}{}:
			ln.workers.Go(func() { ln.greet(c) })
		case <-ln.closed:
			_ = c.Close()
			return
		}
	}
}

// greet reads one connection's preamble, so that a slow peer keeps nobody else from being accepted.
func (ln *labListener) greet(c net.Conn) {
	defer func() { <-ln.pending }()
	if !ln.await(c) {
		_ = c.Close()
		return
	}
	_ = c.SetReadDeadline(time.Now().Add(preambleTimeout))
	r := bufio.NewReaderSize(c, wire.MaxLine)
	src, dst, err := wire.ReadPreamble(r, ln.token)
	ln.mu.Lock()
	delete(ln.greeting, c)
	ln.mu.Unlock()
	if err != nil {
		_ = c.Close()
		return
	}
	_ = c.SetReadDeadline(time.Time{})
	conn := wire.NewConn(c, r, dst, src)
	select {
	case ln.ready <- conn:
	case <-ln.closed:
		conn.Abort()
	}
}

func (ln *labListener) await(c net.Conn) bool {
	ln.mu.Lock()
	defer ln.mu.Unlock()
	if ln.greeting == nil {
		return false
	}
	ln.greeting[c] = struct{}{}
	return true
}

// Accept returns the next connection; net.ErrClosed after Close.
func (ln *labListener) Accept() (net.Conn, error) {
	select {
	case c := <-ln.ready:
		return c, nil
	case <-ln.closed:
		return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: ln.Addr(), Err: net.ErrClosed}
	}
}

// Close ends the listener; connections that were not accepted yet are reset.
func (ln *labListener) Close() error {
	err := error(&net.OpError{Op: "close", Net: "tcp", Addr: ln.Addr(), Err: net.ErrClosed})
	ln.once.Do(func() {
		ln.lab.mu.Lock()
		delete(ln.lab.streams, ln.addr)
		ln.lab.mu.Unlock()
		close(ln.closed)
		ln.mu.Lock()
		for c := range ln.greeting {
			_ = c.Close()
		}
		ln.greeting = nil
		ln.mu.Unlock()
		err = errors.Join(ln.control.Close(), ln.socket.Close())
		ln.workers.Wait()
	})
	return err
}

// Addr is the address in the topology.
func (ln *labListener) Addr() net.Addr { return net.TCPAddrFromAddrPort(ln.addr) }

// dialStream connects to ap, or through the runner to a name when ap is not valid.
func (l *Lab) dialStream(ctx context.Context, ap netip.AddrPort, address string) (net.Conn, error) {
	l.mu.Lock()
	own := l.streams[ap]
	l.mu.Unlock()
	if own != nil {
		return l.dialOwn(ctx, own)
	}
	c, r, answer, err := l.ask(ctx, wire.Request{Op: wire.Dial, Node: l.node, Dst: address})
	if err != nil {
		return nil, wire.OpError("dial", "tcp", netip.AddrPort{}, ap, err)
	}
	if err := answer.Err("connect"); err != nil {
		_ = c.Close()
		return nil, wire.OpError("dial", "tcp", answer.Local, ap, err)
	}
	return wire.NewConn(c, r, answer.Local, answer.Remote), nil
}

// dialOwn connects to a listener of this process without the runner.
func (l *Lab) dialOwn(ctx context.Context, ln *labListener) (net.Conn, error) {
	fail := func(err error) (net.Conn, error) {
		return nil, wire.OpError("dial", "tcp", netip.AddrPort{}, ln.addr, err)
	}
	from, err := l.source(ln.addr.Addr())
	if err != nil {
		return fail(err)
	}
	l.mu.Lock()
	src, err := l.ownPort(from)
	l.mu.Unlock()
	if err != nil {
		return fail(err)
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", ln.at)
	if err != nil {
		if op, ok := errors.AsType[*net.OpError](err); ok {
			err = op.Err
		}
		return fail(err)
	}
	if _, err := c.Write(wire.AppendPreamble(nil, ln.token, src, ln.addr)); err != nil {
		_ = c.Close()
		return fail(os.NewSyscallError("connect", syscall.ECONNREFUSED))
	}
	return wire.NewConn(c, bufio.NewReaderSize(c, wire.MaxLine), src, ln.addr), nil
}
