// Package upstream asks for what a cache does not have: the peer that keeps it, a shield POP, the next shield, then an
// origin.
//
//	edge ──mutual TLS :7950, Catchment-Tier: peer=NODE──► peer ──edge=NODE──► shield ──► origin
//	     ◄── 102 every 200 ms while it waits itself ────
//
// A shield that is silent is left for the next one long before an origin would be given up: its host may be frozen
// while its kernel still takes connections.
package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/textproto"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/catchment-net/catchment/internal/underlay"
	"github.com/catchment-net/catchment/popd/key"
	"github.com/catchment-net/catchment/site"
	"github.com/catchment-net/catchment/topology"
)

// Options configures a Client. All durations and limits must be set.
type Options struct {
	Node                 string
	Net                  underlay.Net
	ClientTLS, OriginTLS *tls.Config
	Insecure             bool          // plain HTTP between nodes if ClientTLS is nil
	Connect              time.Duration // to open a connection
	FirstByte            time.Duration // an origin's, from the end of the request to the header
	Silence              time.Duration // a shield's, without a sign of life
	Stall                time.Duration // of a body
	MaxHeaderBytes       int64
	Now                  func() time.Time
}

// Client asks shields and origins. Its methods are safe for concurrent use.
type Client struct {
	o        Options
	shields  *http.Transport
	origins  *http.Transport
	nodes    atomic.Pointer[map[string][]netip.Addr]
	requests atomic.Uint64 // counts choices among weighted origins
}

// Request is what to ask for.
type Request struct {
	Method  string
	URL     key.URL // scheme and host are the client's
	Target  string  // path and query to send; empty means those of URL
	Header  http.Header
	Body    io.Reader      // nil if there is none
	Length  int64          // of Body in bytes, -1 if unknown
	Rules   string         // RulesField for nodes
	Peer    *topology.Node // asked before the shields; nil: nobody
	Shields []*topology.Node
	Origins []site.Origin
	// Early, if set, takes the interim answers that an upstream sends of itself (1xx except 100 and 101, and except a
	// shield's signs of life). It must not block: those that find no room are lost.
	Early chan<- Early
	// Wish is the Cache-Control field for shields: what the client wishes of stored answers. No origin sees it, for it
	// is no part of the key.
	Wish string
	// OriginHost sends the origin's own name as Host instead of the client's.
	OriginHost bool
}

var errSilent = errors.New("no sign of life")

// New checks the options. It opens no connection.
func New(o Options) (*Client, error) {
	if o.Node == "" || o.Net == nil || o.Connect <= 0 || o.FirstByte <= 0 || o.Silence <= 0 || o.Stall <= 0 || o.Now == nil {
		return nil, fmt.Errorf("upstream of node %q: name, network, clock and time limits must be set", o.Node)
	}
	c := &Client{o: o}
	c.shields = c.transport(c.dialNode)
	// A shield may itself try several origins; what ends a dead one sooner is its silence.
	c.shields.ResponseHeaderTimeout = 4 * (o.Connect + o.FirstByte)
	if o.ClientTLS != nil {
		c.shields.TLSClientConfig = o.ClientTLS.Clone()
		c.shields.TLSClientConfig.MinVersion = tls.VersionTLS13
		c.shields.ForceAttemptHTTP2 = true // one connection to each shield, whatever becomes of single requests
		// Nobody closes such a connection when its peer is gone, for single requests that are given up do not: without
		// pings all requests would go into it until TCP gives up, minutes after the path is back.
		c.shields.HTTP2 = &http.HTTP2Config{SendPingTimeout: o.Silence, PingTimeout: o.Silence}
	}
	c.origins = c.transport(c.dialOrigin)
	c.origins.ResponseHeaderTimeout = o.FirstByte
	c.origins.TLSClientConfig = o.OriginTLS.Clone()
	return c, nil
}

func (c *Client) transport(dial func(context.Context, string, string) (net.Conn, error)) *http.Transport {
	return &http.Transport{
		DialContext:            dial,
		DisableCompression:     true, // the bytes are passed on as they come
		TLSHandshakeTimeout:    c.o.Connect,
		MaxIdleConnsPerHost:    256,
		MaxIdleConns:           1024,
		IdleConnTimeout:        30 * time.Second,
		ExpectContinueTimeout:  time.Second,
		MaxResponseHeaderBytes: c.o.MaxHeaderBytes,
	}
}

// SetTopology tells where the nodes are. Connections to nodes of an older topology are closed when idle.
func (c *Client) SetTopology(t *topology.Topology) {
	nodes := map[string][]netip.Addr{}
	if t != nil {
		for _, n := range t.Nodes() {
			nodes[n.Name] = n.Addrs
		}
	}
	c.nodes.Store(&nodes)
	c.shields.CloseIdleConnections()
}

// CloseIdle closes all connections that are not in use.
func (c *Client) CloseIdle() {
	c.shields.CloseIdleConnections()
	c.origins.CloseIdleConnections()
}

func (c *Client) dialOrigin(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, c.o.Connect)
	defer cancel()
	return c.o.Net.DialContext(ctx, network, address)
}

// dialNode connects to a node by name, trying its addresses in order.
func (c *Client) dialNode(ctx context.Context, network, address string) (net.Conn, error) {
	name, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	var addrs []netip.Addr
	if nodes := c.nodes.Load(); nodes != nil {
		addrs = (*nodes)[name]
	}
	err = fmt.Errorf("node %q has no address", name)
	for _, a := range addrs {
		var conn net.Conn
		if conn, err = c.dialOrigin(ctx, network, net.JoinHostPort(a.String(), port)); err == nil {
			return conn, nil
		}
	}
	return nil, err
}

// Do asks the peer, the shields in order, then the origins by weight, and returns the first answer. What may not be repeated
// (any method but GET and HEAD) goes to the next one only if no byte of it was sent. The error is an *Error.
func (c *Client) Do(ctx context.Context, r Request) (*Answer, error) {
	repeatable := r.Method == http.MethodGet || r.Method == http.MethodHead
	var last error
	attempt := func(tier string, send func() (*http.Response, error)) (a *Answer, final bool) {
		start := c.o.Now()
		resp, err := send()
		if err == nil && tier != Origin && resp.StatusCode == http.StatusMisdirectedRequest && repeatable {
			_ = resp.Body.Close() // it has not heard of the site yet; the next one may
			err = errors.New("does not know the host")
		}
		if err == nil && resp.StatusCode == http.StatusSwitchingProtocols {
			_ = resp.Body.Close() // nobody asked for another protocol (RFC 9110 §7.8), and nobody could speak it
			err = errors.New("it switches protocols unasked")
		}
		if err == nil {
			err = wellFormed(resp)
		}
		if err == nil {
			end := c.o.Now()
			dated(resp.Header, end)
			return &Answer{Response: resp, Tier: tier, Age: ageOf(resp, tier), Rules: resp.Header.Get(RulesField), RequestTime: start, ResponseTime: end}, true
		}
		last = err
		var unsent unsentError
		return nil, ctx.Err() != nil || !repeatable && !errors.As(err, &unsent)
	}
	if r.Peer != nil {
		if a, final := attempt(Peer, func() (*http.Response, error) { return c.askNode(ctx, r, r.Peer, Peer) }); final {
			return a, c.failure(a, last)
		}
	}
	for _, n := range r.Shields {
		if a, final := attempt(Shield, func() (*http.Response, error) { return c.askNode(ctx, r, n, Shield) }); final {
			return a, c.failure(a, last)
		}
	}
	for _, o := range Order(r.Origins, c.requests.Add(1)) {
		if a, final := attempt(Origin, func() (*http.Response, error) { return c.askOrigin(ctx, r, o) }); final {
			return a, c.failure(a, last)
		}
	}
	if last == nil {
		last = errors.New("site has no origin")
	}
	return nil, c.failure(nil, last)
}

func (c *Client) failure(a *Answer, err error) error {
	if a != nil {
		return nil
	}
	var t interface{ Timeout() bool }
	timeout := errors.Is(err, errSilent) || errors.As(err, &t) && t.Timeout()
	return &Error{Timeout: timeout, Err: err}
}

func (c *Client) askOrigin(ctx context.Context, r Request, o site.Origin) (*http.Response, error) {
	host := r.URL.Host
	if r.OriginHost {
		host = o.URL.Host
	}
	req, err := newRequest(r, o.URL.Scheme, o.URL.Host, o.URL.EscapedPath(), host)
	if err != nil {
		return nil, err
	}
	resp, err := c.send(ctx, c.origins, req, 0, r.Early)
	if err != nil {
		return nil, fmt.Errorf("ask origin %q: %w", o.URL, err)
	}
	return resp, nil
}

// askNode asks a node, as an edge asks its shield or as a node asks a peer of its POP.
func (c *Client) askNode(ctx context.Context, r Request, n *topology.Node, tier string) (*http.Response, error) {
	scheme := "https"
	if c.o.ClientTLS == nil {
		if !c.o.Insecure {
			return nil, unsentError{fmt.Errorf("ask %s %q: no TLS keys", tier, n.Name)}
		}
		scheme = "http"
	}
	req, err := newRequest(r, scheme, net.JoinHostPort(n.Name, strconv.Itoa(topology.PortInternal)), "", r.URL.Host)
	if err != nil {
		return nil, err
	}
	req.Header = req.Header.Clone()
	req.Header.Set(TierField, tierValue(tier, c.o.Node))
	req.Header.Set(SchemeField, r.URL.Scheme)
	req.Header.Set(RulesField, r.Rules)
	if r.Wish != "" {
		req.Header.Set("Cache-Control", r.Wish)
	}
	quiet := c.o.Silence
	if r.Body != nil {
		quiet = 0 // it has nothing to say before it has read the body
	}
	resp, err := c.send(ctx, c.shields, req, quiet, r.Early)
	if err != nil {
		return nil, fmt.Errorf("ask %s %q: %w", tier, n.Name, err)
	}
	return resp, nil
}

// newRequest aims r at a host. The path goes out byte for byte as it stands in the target.
func newRequest(r Request, scheme, address, base, host string) (*http.Request, error) {
	target := r.Target
	if target == "" {
		target = r.URL.RequestURI()
	}
	u, err := url.ParseRequestURI(scheme + "://" + address + trimSlash(base) + target)
	if err != nil {
		return nil, fmt.Errorf("ask for %q: %w", target, err)
	}
	req := &http.Request{
		Method: r.Method, URL: u, Host: host, Header: r.Header,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}
	if r.Body != nil {
		req.Body, req.ContentLength = io.NopCloser(r.Body), r.Length
	}
	return req, nil
}

func trimSlash(path string) string {
	for len(path) > 0 && path[len(path)-1] == '/' {
		path = path[:len(path)-1]
	}
	return path
}

// send does one exchange. With quiet, it ends when no sign of life came for that long: a connection, the end of its
// handshake, a 1xx or the header. Each step starts the time anew, so that a far shield is not taken for a silent one.
func (c *Client) send(ctx context.Context, t *http.Transport, req *http.Request, quiet time.Duration, early chan<- Early) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	var connected atomic.Bool
	trace := &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected.Store(true) }}
	interim := forward(early)
	trace.Got1xxResponse = interim
	if quiet > 0 {
		watch := watchSilence(quiet, func() { cancel(errSilent) })
		defer watch.stop()
		trace.TLSHandshakeStart = watch.sign
		trace.GotConn = func(httptrace.GotConnInfo) {
			connected.Store(true)
			watch.sign()
		}
		trace.Got1xxResponse = func(status int, h textproto.MIMEHeader) error {
			watch.sign()
			if status == http.StatusProcessing {
				return nil
			}
			return interim(status, h)
		}
	}
	resp, err := t.RoundTrip(req.WithContext(httptrace.WithClientTrace(ctx, trace)))
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		cancel(nil)
		if !connected.Load() { // refused, silent, or a handshake that failed
			err = unsentError{err}
		}
		return nil, err
	}
	resp.Body = &watchedBody{body: resp.Body, cancel: cancel, stall: c.o.Stall}
	return resp, nil
}
