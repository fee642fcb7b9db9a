package runner

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/catchment-net/catchment/topology"
)

// The access ports let a person be a user of a client network, with the tools at hand:
//
//	curl http://127.0.0.1:21000/           a browser in that city: resolves there, goes where its router leads
//	curl -x http://127.0.0.1:21000 URL     the same for any URL of a site
//	dig @127.0.0.1 -p 21001 NAME           a host in that city that asks the anycast name server

// Doors are the two sockets of the host by which people reach one user.
type Doors struct {
	HTTP, DNS net.Listener
	DNSUDP    net.PacketConn // on the port of DNS
}

// OpenDoors opens the doors of n users on 127.0.0.1, two ports each from first on; a port that somebody else has, and
// every port if first is 0, is replaced by a free one.
func OpenDoors(n, first int) ([]Doors, error) {
	var all []Doors
	for i := range n {
		var d Doors
		var err error
		web, names := 0, 0
		if first > 0 {
			web, names = first+2*i, first+2*i+1
		}
		if d.HTTP, err = listenAccess(web); err != nil {
			return nil, err
		}
		if d.DNS, err = listenAccess(names); err != nil {
			return nil, err
		}
		if d.DNSUDP, err = net.ListenPacket("udp", d.DNS.Addr().String()); err != nil { //nolint:noctx // loopback listens at once
			return nil, fmt.Errorf("open DNS access port: %w", err)
		}
		all = append(all, d)
	}
	return all, nil
}

// Files are the doors' sockets, for another process to take over with TakeDoors. The caller closes them.
func Files(all []Doors) ([]*os.File, error) {
	var files []*os.File
	for _, d := range all {
		for _, socket := range []any{d.HTTP, d.DNS, d.DNSUDP} {
			f, err := socket.(interface{ File() (*os.File, error) }).File()
			if err != nil {
				return nil, fmt.Errorf("hand an access port on: %w", err)
			}
			files = append(files, f)
		}
	}
	return files, nil
}

// TakeDoors takes over what Files gave, and closes the files.
func TakeDoors(files []*os.File) ([]Doors, error) {
	var all []Doors
	for len(files) >= 3 {
		var d Doors
		var errs [3]error
		d.HTTP, errs[0] = net.FileListener(files[0])
		d.DNS, errs[1] = net.FileListener(files[1])
		d.DNSUDP, errs[2] = net.FilePacketConn(files[2])
		if err := errors.Join(errs[:]...); err != nil {
			return nil, fmt.Errorf("take over access ports: %w", err)
		}
		for _, f := range files[:3] {
			f.Close()
		}
		all, files = append(all, d), files[3:]
	}
	return all, nil
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

// AccessOptions is what lies behind the doors of a lab.
type AccessOptions struct {
	Topology *topology.Topology
	Hosts    []string // of all sites; the first one is what a door shows that is asked by its own address
	Logger   *slog.Logger
	Ended    func(what string, err error) // a door that closed by itself
}

// Let opens a user's doors for people: HTTP by a proxy that resolves and connects as a browser there would, DNS to the
// anycast name server, or to the first POP's where there is none. It returns at once; everything ends with ctx, and is
// counted in parts.
func (u *User) Let(ctx context.Context, d Doors, o AccessOptions, parts *sync.WaitGroup) {
	u.http, u.dns = d.HTTP.Addr().String(), d.DNS.Addr().String()
	srv := &http.Server{Handler: u.browser(&o), ReadHeaderTimeout: 5 * time.Second, ErrorLog: slog.NewLogLogger(o.Logger.Handler(), slog.LevelDebug)}
	parts.Go(func() {
		stop := context.AfterFunc(ctx, func() { srv.Close() })
		defer stop()
		if err := srv.Serve(d.HTTP); ctx.Err() == nil {
			o.Ended("HTTP access of "+u.Network.Name, err)
		}
	})
	var dst netip.Addr
	if len(o.Topology.Anycast.DNS) > 0 {
		dst = o.Topology.Anycast.DNS[0]
	} else {
		dst = o.Topology.POPs[0].Nodes[0].Addrs[0]
	}
	to := netip.AddrPortFrom(dst, topology.PortDNS)
	parts.Go(func() { o.Ended("DNS access of "+u.Network.Name, openTCP(ctx, u.Net, d.DNS, to)) })
	parts.Go(func() { o.Ended("DNS access of "+u.Network.Name, openUDP(ctx, u.Net, d.DNSUDP, to)) })
}

// browser forwards requests as a browser in the client's network would send them.
func (u *User) browser(o *AccessOptions) http.Handler {
	transport := &http.Transport{
		DisableCompression: true, DisableKeepAlives: true, Proxy: nil,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return u.dial(ctx, network, address)
		},
	}
	return &httputil.ReverseProxy{
		Transport: transport, FlushInterval: -1, ErrorLog: slog.NewLogLogger(o.Logger.Handler(), slog.LevelDebug),
		Rewrite: func(r *httputil.ProxyRequest) {
			host := r.In.Host
			if _, err := netip.ParseAddrPort(host); err == nil && len(o.Hosts) > 0 {
				host = o.Hosts[0] // the access port was asked by its own address: show the lab's first host
			}
			r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = "http", host, host
			if _, ok := r.In.Header["User-Agent"]; !ok {
				r.Out.Header["User-Agent"] = nil // as it came
			}
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			http.Error(w, fmt.Sprintf("%s could not reach %s: %v", u.Network.Name, r.URL.Host, err), http.StatusBadGateway)
		},
	}
}

// dial resolves a name as the client does and tries each of its addresses.
func (u *User) dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		host, port = address, strconv.Itoa(topology.PortHTTP)
	}
	answer := u.Client.Resolve(ctx, host)
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
func (u *User) dialOne(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	return u.Net.DialContext(ctx, network, address)
}
