package local

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"strconv"
	"time"

	"github.com/catchment-net/catchment/topology"
)

// The access ports let a person be a user of a client network, with the tools at hand:
//
//	curl http://127.0.0.1:21000/           a browser in that city: resolves there, goes where its router leads
//	curl -x http://127.0.0.1:21000 URL     the same for any URL of a site
//	dig @127.0.0.1 -p 21001 NAME           a host in that city that asks the anycast name server

// openAccess opens two ports for each client: HTTP and DNS.
func (l *Lab) openAccess(ctx context.Context) error {
	for i, u := range l.users {
		if err := l.openHTTP(ctx, u, l.block.port(2*i)); err != nil {
			return err
		}
		if err := l.openDNS(ctx, u, l.block.port(2*i+1)); err != nil {
			return err
		}
	}
	return nil
}

// listenAccess opens the wanted port on 127.0.0.1, or a free one where somebody else has it.
func listenAccess(port int) (net.Listener, error) {
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))) //nolint:noctx // loopback listens at once
	if err != nil && port != 0 {
		return listenAccess(0)
	}
	if err != nil {
		return nil, fmt.Errorf("open access port: %w", err)
	}
	return l, nil
}

func (l *Lab) openHTTP(ctx context.Context, u *user, port int) error {
	listener, err := listenAccess(port)
	if err != nil {
		return err
	}
	u.http = listener.Addr().String()
	srv := &http.Server{Handler: l.browser(u), ReadHeaderTimeout: 5 * time.Second, ErrorLog: slog.NewLogLogger(l.o.Logger.Handler(), slog.LevelDebug)}
	l.parts.Go(func() {
		stop := context.AfterFunc(ctx, func() { srv.Close() })
		defer stop()
		if err := srv.Serve(listener); ctx.Err() == nil {
			l.ended("HTTP access of "+u.network.Name, err)
		}
	})
	return nil
}

// browser forwards requests as a browser in the client's network would send them.
func (l *Lab) browser(u *user) http.Handler {
	transport := &http.Transport{
		DisableCompression: true, DisableKeepAlives: true, Proxy: nil,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return u.dial(ctx, network, address)
		},
	}
	return &httputil.ReverseProxy{
		Transport: transport, FlushInterval: -1, ErrorLog: slog.NewLogLogger(l.o.Logger.Handler(), slog.LevelDebug),
		Rewrite: func(r *httputil.ProxyRequest) {
			host := r.In.Host
			if _, err := netip.ParseAddrPort(host); err == nil && len(l.Hosts()) > 0 {
				host = l.Hosts()[0] // the access port was asked by its own address: show the lab's first host
			}
			r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = "http", host, host
			if _, ok := r.In.Header["User-Agent"]; !ok {
				r.Out.Header["User-Agent"] = nil // as it came
			}
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			http.Error(w, fmt.Sprintf("%s could not reach %s: %v", u.network.Name, r.URL.Host, err), http.StatusBadGateway)
		},
	}
}

// dial resolves a name as the client does and tries each of its addresses.
func (u *user) dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		host, port = address, strconv.Itoa(topology.PortHTTP)
	}
	answer := u.client.Resolve(ctx, host)
	if answer.Err != nil {
		return nil, answer.Err
	}
	if len(answer.Addrs) == 0 {
		return nil, fmt.Errorf("%s has no address (%s)", host, answer.Rcode)
	}
	var errs []error
	for _, a := range answer.Addrs {
		conn, err := u.dialOne(ctx, network, net.JoinHostPort(a.String(), port))
		if err == nil {
			return conn, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// dialOne gives one address its time, so that a silent one leaves some for the others.
func (u *user) dialOne(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	return u.net.DialContext(ctx, network, address)
}

// openDNS forwards UDP and TCP of one port to the anycast name server, or to the first POP's where there is none.
func (l *Lab) openDNS(ctx context.Context, u *user, port int) error {
	var dst netip.Addr
	switch {
	case len(l.topo.Anycast.DNS) > 0:
		dst = l.topo.Anycast.DNS[0]
	default:
		dst = l.topo.POPs[0].Nodes[0].Addrs[0]
	}
	listener, err := listenAccess(port)
	if err != nil {
		return err
	}
	pc, err := net.ListenPacket("udp", listener.Addr().String()) //nolint:noctx // loopback listens at once
	if err != nil {
		listener.Close()
		return fmt.Errorf("open DNS access port: %w", err)
	}
	u.dns = listener.Addr().String()
	to := netip.AddrPortFrom(dst, topology.PortDNS)
	l.parts.Go(func() {
		l.ended("DNS access of "+u.network.Name, l.fabric.AccessTCP(ctx, u.network.Name, listener, to))
	})
	l.parts.Go(func() { l.ended("DNS access of "+u.network.Name, l.fabric.AccessUDP(ctx, u.network.Name, pc, to)) })
	return nil
}
