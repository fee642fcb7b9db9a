package fabric

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/catchment-net/catchment/internal/underlay/wire"
)

// requestTimeout is how long a node may take to send its request once it has connected.
const requestTimeout = 5 * time.Second

func noNetwork() error { return os.NewSyscallError("connect", syscall.ENETUNREACH) }

// serveNodes takes the connections of nodes until the socket is closed (package wire has the picture).
func (f *Fabric) serveNodes(socket net.Listener) {
	for {
		c, err := socket.Accept()
		if err != nil {
			if f.isClosing(err) {
				return
			}
			f.log.Warn("accept of a node failed", "error", err)
			select {
			case <-f.done:
				return
			case <-time.After(10 * time.Millisecond):
			}
			continue
		}
		if !f.hold(c) {
			_ = c.Close()
			continue
		}
		if !f.start(func() { f.serveNode(c) }) {
			_ = c.Close()
		}
	}
}

func (f *Fabric) isClosing(err error) bool { return errors.Is(err, net.ErrClosed) }

// hold notes a connection, so that it is closed when the fabric ends.
func (f *Fabric) hold(c net.Conn) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed || len(f.conns) >= maxControls {
		return false
	}
	f.conns[c] = struct{}{}
	return true
}

func (f *Fabric) letGo(c net.Conn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.conns, c)
}

func (f *Fabric) serveNode(c net.Conn) {
	defer f.letGo(c)
	defer c.Close()
	_ = c.SetReadDeadline(time.Now().Add(requestTimeout))
	r := bufio.NewReaderSize(c, wire.MaxLine)
	var req wire.Request
	if err := wire.ReadLine(r, &req); err != nil {
		if !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
			f.refuse(c, fmt.Errorf("request: %w", err))
		}
		return
	}
	_ = c.SetReadDeadline(time.Time{})
	p := f.graph.places[req.Node]
	if p == nil || p.node == nil {
		f.refuse(c, fmt.Errorf("no node %q in the topology", req.Node))
		return
	}
	switch req.Op {
	case wire.Hello:
		_ = wire.WriteLine(c, wire.Answer{OK: true, Addrs: p.addrs})
	case wire.Dial:
		f.serveDial(c, r, p, req)
	case wire.Listen:
		f.serveListen(c, r, p, req)
	default:
		f.refuse(c, fmt.Errorf("no operation %q", req.Op))
	}
}

func (f *Fabric) refuse(c net.Conn, err error) { _ = wire.WriteLine(c, wire.Refuse(err)) }

// serveDial sets a node's connection up and carries it to its end.
func (f *Fabric) serveDial(c net.Conn, r *bufio.Reader, p *place, req wire.Request) {
	to, err := f.resolve(req.Dst)
	if err != nil {
		f.refuse(c, err)
		return
	}
	ctx, stop := whileOpen(c, r)
	fl, _, err := f.dialAny(ctx, p, to)
	if !stop() { // the node does not want it any more
		if err == nil {
			fl.reset()
		}
		return
	}
	if err != nil {
		f.refuse(c, err)
		return
	}
	if err := wire.WriteLine(c, wire.Answer{OK: true, Local: fl.from, Remote: fl.to}); err != nil {
		fl.reset()
		return
	}
	fl.pump(wire.NewConn(c, r, fl.from, fl.to), fl.out, fl.back)
}

// whileOpen watches a connection on which nothing is expected. The context ends when the other end goes; stop ends the
// watch and reports whether the other end was still there.
func whileOpen(c net.Conn, r *bufio.Reader) (ctx context.Context, stop func() bool) {
	ctx, cancel := context.WithCancel(context.Background())
	watched := make(chan bool)
	go func() {
		_, err := r.Peek(1)
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			cancel()
			watched <- false
			return
		}
		watched <- true
	}()
	return ctx, func() bool {
		_ = c.SetReadDeadline(time.Unix(1, 0))
		open := <-watched
		_ = c.SetReadDeadline(time.Time{})
		cancel()
		return open
	}
}

// serveListen registers a node's socket for as long as the connection stays open.
func (f *Fabric) serveListen(c net.Conn, r *bufio.Reader, p *place, req wire.Request) {
	s, err := nodeSocket(c, p, req)
	if err == nil {
		err = f.bind(s)
	}
	if err != nil {
		f.refuse(c, err)
		return
	}
	defer f.unbind(s)
	if err := wire.WriteLine(c, wire.Answer{OK: true, Local: s.key.addr, Via: f.via.String()}); err != nil {
		return
	}
	_, _ = r.Peek(1) // until the node closes it or dies
}

func nodeSocket(c net.Conn, p *place, req wire.Request) (*socket, error) {
	addr, err := netip.ParseAddrPort(req.Addr)
	if err != nil {
		return nil, fmt.Errorf("listen at %q: %w", req.Addr, err)
	}
	addr = netip.AddrPortFrom(addr.Addr().Unmap().WithZone(""), addr.Port())
	s := &socket{key: socketKey{p, req.Net, addr}, control: c}
	switch req.Net {
	case "tcp":
		if len(req.Token) != wire.TokenSize || !strings.HasPrefix(req.At, "@") {
			return nil, fmt.Errorf("listen at %q: want a token of %d bytes and an abstract unix socket", req.Addr, wire.TokenSize)
		}
		s.at, s.token = req.At, req.Token
	case "udp":
		if s.udp, err = netip.ParseAddrPort(req.At); err != nil || !s.udp.Addr().IsLoopback() {
			return nil, fmt.Errorf("listen at %q: want a socket on loopback, not %q", req.Addr, req.At)
		}
		if req.Peer != "" {
			if s.peer, err = netip.ParseAddrPort(req.Peer); err != nil {
				return nil, fmt.Errorf("listen at %q: peer: %w", req.Addr, err)
			}
		}
	default:
		return nil, fmt.Errorf("listen on network %q: want tcp or udp", req.Net)
	}
	return s, nil
}
