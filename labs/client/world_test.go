package client

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/catchment-net/catchment/labs"
	"github.com/catchment-net/catchment/labs/origin"
	"github.com/catchment-net/catchment/topology"
)

// world is an in-memory network: what answers at an address is a function. It implements underlay.Net for a client.
type world struct {
	mu   sync.Mutex // guards the following
	tcp  map[string]func(net.Conn)
	udp  map[string]func(net.Conn)
	dead map[string]error // dialing it gives this error; nil: it stays silent
	seen []string         // dialed addresses, in order
	wg   sync.WaitGroup
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{tcp: map[string]func(net.Conn){}, udp: map[string]func(net.Conn){}, dead: map[string]error{}}
	t.Cleanup(w.wg.Wait)
	return w
}

func (w *world) Listen(context.Context, string, string) (net.Listener, error) {
	return nil, errors.New("a client does not listen")
}

func (w *world) ListenPacket(context.Context, string, string) (net.PacketConn, error) {
	return nil, errors.New("a client does not listen")
}

func (w *world) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	w.mu.Lock()
	w.seen = append(w.seen, network+" "+address)
	err, dead := w.dead[address]
	serve := w.tcp[address]
	if network == "udp" {
		serve = w.udp[address]
	}
	w.mu.Unlock()
	switch {
	case dead && err != nil:
		return nil, err
	case dead:
		<-ctx.Done()
		return nil, ctx.Err()
	case serve == nil && network == "tcp":
		return nil, syscall.ECONNREFUSED
	}
	near, far := net.Pipe()
	w.wg.Go(func() {
		defer far.Close()
		if serve == nil {
			_, _ = io.Copy(io.Discard, far) // nobody listens to a datagram
			return
		}
		serve(far)
	})
	return near, nil
}

// web serves HTTP at an address, one request per connection, as a POP's node.
func (w *world) web(address string, h http.Handler) {
	w.tcp[address] = func(c net.Conn) {
		l := &oneConn{conn: c, closed: make(chan struct{})}
		srv := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute, ConnState: func(_ net.Conn, s http.ConnState) {
			if s == http.StateClosed {
				l.Close()
			}
		}}
		_ = srv.Serve(l)
	}
}

// oneConn is a listener of one connection; its second Accept returns when the first has been closed.
type oneConn struct {
	conn   net.Conn
	given  atomic.Bool
	once   sync.Once
	closed chan struct{}
}

func (l *oneConn) Accept() (net.Conn, error) {
	if !l.given.Swap(true) {
		return l.conn, nil
	}
	<-l.closed
	return nil, net.ErrClosed
}

func (l *oneConn) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *oneConn) Addr() net.Addr { return l.conn.LocalAddr() }

// nameServer answers DNS at an address by reply, over both transports; nil is silence.
func (w *world) nameServer(address string, reply func(q *dns.Msg, tcp bool) *dns.Msg) {
	w.udp[address] = func(c net.Conn) {
		for {
			buf := make([]byte, 4096)
			n, err := c.Read(buf)
			if err != nil {
				return
			}
			q := new(dns.Msg)
			if q.Unpack(buf[:n]) != nil {
				continue
			}
			if m := reply(q, false); m != nil {
				text, err := m.Pack()
				if err != nil {
					continue
				}
				w.wg.Go(func() { _, _ = c.Write(text) }) // the asker may still be sending its next question
			}
		}
	}
	w.tcp[address] = func(c net.Conn) {
		conn := &dns.Conn{Conn: streamOnly{c}}
		q, err := conn.ReadMsg()
		if err != nil {
			return
		}
		if m := reply(q, true); m != nil {
			_ = conn.WriteMsg(m)
		}
	}
}

// streamOnly hides what would make the DNS library take a pipe for a datagram socket.
type streamOnly struct{ net.Conn }

// zone answers every name with the addresses, the TTL in seconds and an NSID.
func zone(ttl uint32, nsid string, addrs ...string) func(*dns.Msg, bool) *dns.Msg {
	return func(q *dns.Msg, _ bool) *dns.Msg {
		m := new(dns.Msg)
		m.SetReply(q)
		m.SetEdns0(1232, false)
		m.IsEdns0().Option = append(m.IsEdns0().Option, &dns.EDNS0_NSID{Code: dns.EDNS0NSID, Nsid: nsid})
		for _, text := range addrs {
			a := netip.MustParseAddr(text)
			h := dns.RR_Header{Name: q.Question[0].Name, Class: dns.ClassINET, Ttl: ttl}
			switch {
			case a.Is4() && q.Question[0].Qtype == dns.TypeA:
				h.Rrtype = dns.TypeA
				m.Answer = append(m.Answer, &dns.A{Hdr: h, A: a.AsSlice()})
			case a.Is6() && q.Question[0].Qtype == dns.TypeAAAA:
				h.Rrtype = dns.TypeAAAA
				m.Answer = append(m.Answer, &dns.AAAA{Hdr: h, AAAA: a.AsSlice()})
			}
		}
		return m
	}
}

// pop is the origin behind a node that names itself.
func pop(tb testing.TB, node string) http.Handler {
	tb.Helper()
	o, err := origin.New(origin.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Status", `nyc1; hit; ttl=2; detail="a, b; c"`)
		w.Header().Add("Cache-Status", node+"; fwd=uri-miss")
		o.ServeHTTP(w, r)
	})
}

func testTopology() *topology.Topology {
	t := &topology.Topology{}
	for i, name := range []string{"ams", "nyc"} {
		p := &topology.POP{Name: name, Index: i}
		p.Unicast = []netip.Prefix{
			netip.MustParsePrefix([]string{"203.0.113.0/28", "203.0.113.16/28"}[i]),
			netip.MustParsePrefix([]string{"2001:db8:a1::/48", "2001:db8:a2::/48"}[i]),
		}
		p.Nodes = []*topology.Node{{Name: name + "1", POP: p}}
		t.POPs = append(t.POPs, p)
	}
	return t
}

const (
	ns1 = "192.0.2.53:53"
	ns2 = "203.0.113.17:53"
	v6  = "[2001:db8:a1::1]:80"
	v4  = "203.0.113.1:80"
)

func newClient(tb testing.TB, w *world, alter func(*Options)) *Client {
	tb.Helper()
	began := time.Now()
	o := Options{
		Topology: testTopology(), Net: w, Verify: origin.Verify,
		Network: &topology.Network{Name: "berlin", Prefixes: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/27"), netip.MustParsePrefix("2001:db8:c1::/48")}},
		Servers: []netip.AddrPort{netip.AddrPortFrom(netip.MustParseAddr("192.0.2.53"), 0), netip.MustParseAddrPort(ns2)},
		Mono:    func() int64 { return int64(time.Since(began)) + int64(time.Hour) },
	}
	if alter != nil {
		alter(&o)
	}
	c, err := New(o)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

func www() labs.Load { return labs.Load{Name: "www", URL: "http://www.shop.example/", Rate: 20} }
