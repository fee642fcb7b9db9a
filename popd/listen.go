package popd

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"

	"github.com/catchment-net/catchment/topology"
)

// anycastKey is the context key under which a listener says whether its address is a shared one.
type anycastKey struct{}

// internalKey is the context key of requests that came in from another node.
type internalKey struct{}

// addresses are where one configuration listens, as "IP:port".
type addresses struct {
	public, internal []string
	own              []netip.Addr // the node's unicast addresses
}

func (a addresses) equal(b addresses) bool {
	return slices.Equal(a.public, b.public) && slices.Equal(a.internal, b.internal)
}

// String is for messages.
func (a addresses) String() string { return fmt.Sprint(append(slices.Clone(a.public), a.internal...)) }

// isAnycast reports whether l, one of the listeners opened for a.public in order, serves a shared address.
func (a addresses) isAnycast(public []net.Listener, l net.Listener) bool {
	i := slices.Index(public, l)
	if i < 0 {
		return false
	}
	ap, err := netip.ParseAddrPort(a.public[i])
	return err != nil || !ourAddrs(a.own)[ap.Addr()]
}

// listening derives where the node listens; what Options name wins.
func listening(o Options, t *topology.Topology, n *topology.Node) addresses {
	a := addresses{public: o.Public, internal: o.Internal}
	if n == nil {
		return a
	}
	a.own = n.Addrs
	if a.public == nil {
		a.public = append(join(n.Addrs, topology.PortHTTP), join(t.Anycast.Web, topology.PortHTTP)...)
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

// listen opens all addresses or none.
func (s *Server) listen(ctx context.Context, a addresses) (public, internal []net.Listener, err error) {
	defer func() {
		if err != nil {
			for _, l := range append(public, internal...) {
				_ = l.Close() // nothing was served on it yet
			}
		}
	}()
	open := func(addr string) (net.Listener, error) {
		l, err := s.o.Net.Listen(ctx, "tcp", addr)
		if err != nil {
			return nil, fmt.Errorf("listen for HTTP on %q: %w", addr, err)
		}
		return l, nil
	}
	for _, addr := range a.public {
		l, err := open(addr)
		if err != nil {
			return public, internal, err
		}
		public = append(public, l)
	}
	for _, addr := range a.internal {
		l, err := open(addr)
		if err != nil {
			return public, internal, err
		}
		internal = append(internal, l)
	}
	return public, internal, nil
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
