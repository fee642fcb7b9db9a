package popd

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"

	"github.com/catchment-net/catchment/popd/h1"
	"github.com/catchment-net/catchment/topology"
)

// anycastKey is the context key under which a listener says whether its address is a shared one.
type anycastKey struct{}

// internalKey is the context key of requests that came in from another node.
type internalKey struct{}

// addresses are where one configuration listens, as "IP:port".
type addresses struct {
	public, secure, internal []string
	own                      []netip.Addr // the node's unicast addresses
}

func (a addresses) equal(b addresses) bool {
	return slices.Equal(a.public, b.public) && slices.Equal(a.secure, b.secure) && slices.Equal(a.internal, b.internal)
}

// String is for messages.
func (a addresses) String() string { return fmt.Sprint(slices.Concat(a.public, a.secure, a.internal)) }

// isAnycast reports whether addr, one of public or secure, is a shared address.
func (a addresses) isAnycast(addr string) bool {
	ap, err := netip.ParseAddrPort(addr)
	return err != nil || !slices.Contains(a.own, ap.Addr())
}

// listening derives where the node listens; what Options name wins.
func listening(o Options, t *topology.Topology, n *topology.Node, secure bool) addresses {
	a := addresses{public: o.Public, secure: o.Secure, internal: o.Internal}
	if n == nil {
		return a
	}
	a.own = n.Addrs
	if a.public == nil {
		a.public = append(join(n.Addrs, topology.PortHTTP), join(t.Anycast.Web, topology.PortHTTP)...)
	}
	if a.secure == nil && secure {
		a.secure = append(join(n.Addrs, topology.PortHTTPS), join(t.Anycast.Web, topology.PortHTTPS)...)
	}
	if a.internal == nil {
		a.internal = join(n.Addrs, topology.PortInternal)
	}
	return a
}

func join(addrs []netip.Addr, port int) []string {
	var all []string
	for _, a := range addrs {
		all = append(all, net.JoinHostPort(a.String(), strconv.Itoa(port)))
	}
	return all
}

// socket is a listener with what is served on it.
type socket struct {
	net.Listener
	addr string // as it was asked for
	kind socketKind
}

type socketKind uint8

const (
	publicSocket socketKind = iota
	secureSocket
	internalSocket
)

// listen opens all addresses or none.
func (s *Server) listen(ctx context.Context, a addresses) (all []socket, err error) {
	defer func() {
		if err != nil {
			for _, l := range all {
				_ = l.Close() // nothing was served on it yet
			}
		}
	}()
	for kind, addrs := range [][]string{publicSocket: a.public, secureSocket: a.secure, internalSocket: a.internal} {
		for _, addr := range addrs {
			l, err := s.o.Net.Listen(ctx, "tcp", addr)
			if err != nil {
				return all, fmt.Errorf("listen for HTTP on %q: %w", addr, err)
			}
			all = append(all, socket{l, addr, socketKind(kind)})
		}
	}
	return all, nil
}

// bindings say what is served where.
func (s *Server) bindings(a addresses, all []socket) []h1.Binding {
	list := make([]h1.Binding, 0, len(all))
	for _, l := range all {
		b := h1.Binding{Listener: l.Listener}
		with := func(key, value any) func(context.Context) context.Context {
			return func(ctx context.Context) context.Context { return context.WithValue(ctx, key, value) }
		}
		if l.kind == internalSocket {
			b.Handler, b.With = http.HandlerFunc(s.internal), with(internalKey{}, true)
			if s.o.ServerTLS != nil {
				b.TLS = internalTLS(s.o.ServerTLS)
			}
		} else {
			anycast := a.isAnycast(l.addr)
			b.Handler, b.Hot, b.With = http.HandlerFunc(s.public), s.newHot(anycast), with(anycastKey{}, anycast)
		}
		if l.kind == secureSocket {
			b.TLS = s.certificates.config()
		}
		list = append(list, b)
	}
	return list
}

// internalTLS is mutual TLS 1.3, whatever the given configuration forgot to demand. Nodes speak HTTP/2 (RFC 9113): a
// request that is given up costs a stream, not the connection whose handshake took two trips round the world.
func internalTLS(given *tls.Config) *tls.Config {
	c := given.Clone()
	c.MinVersion = tls.VersionTLS13
	c.ClientAuth = tls.RequireAndVerifyClientCert
	c.NextProtos = []string{"h2", "http/1.1"}
	return c
}
