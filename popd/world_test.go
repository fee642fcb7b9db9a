package popd_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/catchment-net/catchment/internal/underlay"
	"github.com/catchment-net/catchment/popd"
	"github.com/catchment-net/catchment/site"
	"github.com/catchment-net/catchment/topology"
)

// limit bounds every wait of these tests.
const limit = 10 * time.Second

// mapNet carries topology addresses over loopback: what listens gets a port of the host, and a dial finds it.
type mapNet struct {
	mu sync.Mutex
	at map[string]string
}

func newMapNet() *mapNet { return &mapNet{at: map[string]string{}} }

func (m *mapNet) set(addr, real string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.at[addr] = real
}

func (m *mapNet) find(addr string) (string, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	real, ok := m.at[addr]
	return real, ok
}

func (m *mapNet) Listen(ctx context.Context, network, address string) (net.Listener, error) {
	l, err := underlay.Host{}.Listen(ctx, network, "127.0.0.1:0")
	if err == nil {
		m.set(address, l.Addr().String())
	}
	return l, err
}

func (m *mapNet) ListenPacket(context.Context, string, string) (net.PacketConn, error) {
	return nil, fmt.Errorf("popd opens no datagram sockets")
}

func (m *mapNet) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	real, ok := m.find(address)
	if !ok {
		return nil, fmt.Errorf("no route to %q", address)
	}
	return underlay.Host{}.DialContext(ctx, network, real)
}

// clock is a wall clock that a test can move on.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) }

// date is a date field so long from now. It is rounded up to a second: rounded down, it would make what comes look up to
// a second old.
func (c *clock) date(from time.Duration) string {
	return c.now().Add(from + time.Second - 1).Truncate(time.Second).UTC().Format(http.TimeFormat)
}

func (c *clock) forward(d time.Duration) { c.ahead.Add(int64(d)) }

// world is a network with an origin and caches.
type world struct {
	t      *testing.T
	net    *mapNet
	clock  *clock
	topo   *topology.Topology
	site   *site.Site
	others []*site.Site // more sites, served by nodes that start later
	asked  atomic.Int64 // requests that the origin got
	origin atomic.Pointer[http.HandlerFunc]
}

// newWorld has an origin that runs handler, one site (www.shop.example) and the POPs ams (a shield), fra and nyc.
func newWorld(t *testing.T, handler http.HandlerFunc) *world {
	t.Helper()
	w := &world{t: t, net: newMapNet(), clock: &clock{}}
	w.answers(handler)
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.asked.Add(1)
		rw.Header().Set("Date", w.clock.date(0))
		(*w.origin.Load())(rw, r)
	}))
	t.Cleanup(srv.Close)
	w.net.set("origin.shop.example:80", srv.Listener.Addr().String())
	w.topo = &topology.Topology{Name: "test", ASN: 64500, Anycast: topology.Anycast{Web: []netip.Addr{netip.MustParseAddr("192.0.2.80")}}}
	for i, name := range []string{"ams", "fra", "nyc"} {
		p := &topology.POP{Name: name, Index: i, Shield: name == "ams"}
		p.Nodes = []*topology.Node{{Name: name + "1", POP: p, Addrs: []netip.Addr{netip.AddrFrom4([4]byte{203, 0, 113, byte(16*i + 1)})}}}
		w.topo.POPs = append(w.topo.POPs, p)
	}
	w.site = &site.Site{
		Name: "shop", Hosts: []*site.Host{{Name: "www.shop.example"}},
		Origins: []site.Origin{{URL: mustURL(t, "http://origin.shop.example"), Weight: 1}},
		Cache: site.Cache{
			Key:   site.Key{DropQuery: []string{"utm_*"}},
			Rules: []site.Rule{{Path: "/cart/*", Never: true}, {Path: "/static/*", TTL: time.Hour}},
		},
	}
	return w
}

// answers has the origin answer with h from now on.
func (w *world) answers(h http.HandlerFunc) { w.origin.Store(&h) }

func mustURL(t *testing.T, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// node runs the cache of a node until the test ends.
func (w *world) node(name string, change func(*popd.Options)) *popd.Server {
	w.t.Helper()
	o := popd.Options{Node: name, Net: w.net, Insecure: true, Memory: 8 << 20, Now: w.clock.now}
	if change != nil {
		change(&o)
	}
	ready := make(chan struct{})
	o.Ready = func([]string) { close(ready) }
	s, err := popd.New(o)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := s.Apply(popd.Config{Topology: w.topo, Sites: append([]*site.Site{w.site}, w.others...)}); err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	w.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("run %s: %v", name, err)
		}
	})
	select {
	case <-ready:
	case err := <-done:
		w.t.Fatalf("run %s: %v", name, err)
	}
	return s
}

// shield runs ams1 alone; its anycast address is where get goes.
func (w *world) shield() *popd.Server { return w.node("ams1", nil) }

// reply is an answer as a client saw it.
type reply struct {
	status int
	header http.Header
	body   string
	closes bool  // the server said that it closes the connection
	err    error // of the body
}

// last is the last member of Cache-Status.
func (r reply) last() string {
	members := strings.Split(strings.Join(r.header["Cache-Status"], ", "), ", ")
	return members[len(members)-1]
}

// interim is an interim answer.
type interim struct {
	status int
	header http.Header
}

// rfcReply is an answer and the interim ones before it.
type rfcReply struct {
	reply
	interim []interim
}

func (w *world) ask(addr, method, target string, lines []string) (rfcReply, error) {
	var out rfcReply
	real, ok := w.net.find(addr)
	if !ok {
		return out, fmt.Errorf("nothing listens on %q", addr)
	}
	c, err := net.Dial("tcp", real)
	if err != nil {
		return out, err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(limit)); err != nil {
		return out, err
	}
	version, host, body := "HTTP/1.1", "Host: www.shop.example\r\n", ""
	text := ""
	for _, l := range lines {
		switch {
		case strings.HasPrefix(l, "body: "):
			body = strings.TrimPrefix(l, "body: ")
			l = "Content-Length: " + strconv.Itoa(len(body))
		case strings.HasPrefix(l, "version: "):
			version = strings.TrimPrefix(l, "version: ")
			continue
		case strings.HasPrefix(l, "Host:"):
			host = ""
		}
		text += l + "\r\n"
	}
	if _, err := io.WriteString(c, method+" "+target+" "+version+"\r\n"+host+text+"\r\n"+body); err != nil {
		return out, err
	}
	br := bufio.NewReader(c)
	for {
		resp, err := http.ReadResponse(br, &http.Request{Method: method})
		if err != nil {
			return out, err
		}
		if resp.StatusCode < 200 {
			_ = resp.Body.Close() // it has none
			out.interim = append(out.interim, interim{resp.StatusCode, resp.Header})
			continue
		}
		all, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close() // it was read to its end
		out.reply = reply{resp.StatusCode, resp.Header, string(all), resp.Close, err}
		return out, nil
	}
}

// do sends one request on a connection of its own and leaves interim answers out. Header lines are "Name: value".
func (w *world) do(method, addr, target string, lines ...string) (reply, error) {
	r, err := w.ask(addr, method, target, lines)
	return r.reply, err
}

// exchange sends a whole request to the anycast address and reads the answer.
func (w *world) exchange(t *testing.T, method, text string) (*http.Response, string) {
	t.Helper()
	at, _ := w.net.find(web)
	c, err := net.Dial("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(limit)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: method})
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return resp, string(body)
}

// web is the anycast address of the node that was started last.
const web = "192.0.2.80:80"

func (w *world) get(target string, lines ...string) reply {
	w.t.Helper()
	r, err := w.do("GET", web, target, lines...)
	if err != nil {
		w.t.Fatalf("GET %s: %v", target, err)
	}
	return r
}

// wantAsked checks how many requests the origin got so far.
func (w *world) wantAsked(n int64) {
	w.t.Helper()
	if got := w.asked.Load(); got != n {
		w.t.Errorf("the origin was asked %d times, want %d", got, n)
	}
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("not within %v: %s", limit, what)
}

// answer makes an origin handler that sends these header lines and this body.
func answer(body string, lines ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for _, l := range lines {
			name, value, _ := strings.Cut(l, ": ")
			w.Header().Add(name, value)
		}
		_, _ = io.WriteString(w, body)
	}
}
