package dnsd

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// serveTCP accepts connections and serves each until it is idle for too long (RFC 7766).
func (s *Server) serveTCP(ctx context.Context, k *socket, conns *conns) error {
	var all sync.WaitGroup
	defer all.Wait()
	for {
		c, err := k.tcp.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				c.Close()
			}
			return nil
		case errors.Is(err, net.ErrClosed), errors.Is(err, io.EOF):
			return fmt.Errorf("dnsd: tcp %v: %w", k.addr, err)
		case err != nil: // out of descriptors, or a client that left early
			s.o.Logger.Debug("tcp accept failed", "address", k.addr, "error", err)
			select {
			case <-ctx.Done():
			case <-time.After(pauseAfterError):
			}
			continue
		}
		t := conns.add(c, s.o.Now())
		all.Go(func() {
			defer conns.remove(t)
			s.serveConn(t, asker{addr: addrOf(c.RemoteAddr()), tcp: true, anycast: k.anycast})
		})
	}
}

// serveConn answers the queries of one connection in their order. Answers to queries that came together leave
// together. A whole query must arrive within IdleTimeout, so that a client who drips bytes holds no connection longer.
func (s *Server) serveConn(t *tcpConn, from asker) {
	in, out := bufio.NewReader(t.Conn), bufio.NewWriter(t.Conn)
	w := s.newWorker(s.tcp)
	var packet, answer []byte
	for range MaxPipelined {
		if t.SetReadDeadline(time.Now().Add(IdleTimeout)) != nil { // closed already
			return
		}
		var err error
		if packet, err = readFramed(in, packet); err != nil {
			break
		}
		w.now = s.o.Now()
		t.used.Store(w.now.UnixNano())
		if answer = w.one(packet, answer[:0], from); answer == nil { // no query at all: there is no sense in going on
			break
		}
		if t.SetWriteDeadline(time.Now().Add(WriteTimeout)) != nil || writeFramed(out, answer) != nil {
			return
		}
		if in.Buffered() == 0 && out.Flush() != nil {
			return
		}
	}
	if t.SetWriteDeadline(time.Now().Add(WriteTimeout)) == nil {
		_ = out.Flush() // the connection ends here in any case
	}
}

// readFramed reads one message behind its two bytes of length (RFC 1035 §4.2.2), into buf if it is large enough.
func readFramed(in *bufio.Reader, buf []byte) ([]byte, error) {
	var size [2]byte
	if _, err := io.ReadFull(in, size[:]); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint16(size[:]))
	if cap(buf) < n {
		buf = make([]byte, n)
	}
	_, err := io.ReadFull(in, buf[:n])
	return buf[:n], err
}

func writeFramed(out *bufio.Writer, packet []byte) error {
	if _, err := out.Write(binary.BigEndian.AppendUint16(nil, uint16(len(packet)))); err != nil {
		return err
	}
	_, err := out.Write(packet)
	return err
}

// tcpConn is one connection with the time of its last query.
type tcpConn struct {
	net.Conn
	used atomic.Int64 // nanoseconds since 1970
}

// conns are the open connections of all sockets, at most MaxConns.
type conns struct {
	m *metrics

	mu     sync.Mutex // guards open and closed; held to look at MaxConns entries at most
	open   map[*tcpConn]struct{}
	closed bool
}

func newConns(m *metrics) *conns { return &conns{m: m, open: map[*tcpConn]struct{}{}} }

// add takes a connection in; if there is no room, the one that asked least recently is closed.
func (cs *conns) add(c net.Conn, now time.Time) *tcpConn {
	t := &tcpConn{Conn: c}
	t.used.Store(now.UnixNano())
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.closed {
		c.Close()
		return t
	}
	if len(cs.open) >= MaxConns {
		oldest := t
		for other := range cs.open {
			if other.used.Load() < oldest.used.Load() {
				oldest = other
			}
		}
		oldest.Close()
		delete(cs.open, oldest)
		cs.m.evicted.Inc()
		if oldest == t {
			return t
		}
	}
	cs.open[t] = struct{}{}
	cs.m.conns.Set(float64(len(cs.open)))
	return t
}

func (cs *conns) remove(t *tcpConn) {
	t.Close()
	cs.mu.Lock()
	defer cs.mu.Unlock()
	delete(cs.open, t)
	cs.m.conns.Set(float64(len(cs.open)))
}

func (cs *conns) close() {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.closed = true
	for t := range cs.open {
		t.Close()
	}
}
