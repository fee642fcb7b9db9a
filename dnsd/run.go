package dnsd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
)

// bindTries is how often a port that the kernel chose for TCP is tried for UDP, where somebody else may have it.
const bindTries = 8

// socket is one address, over both transports.
type socket struct {
	addr    netip.Addr // as asked for
	anycast bool
	tcp     net.Listener
	udp     []net.PacketConn
}

func (k *socket) close() {
	if k.tcp != nil {
		k.tcp.Close()
	}
	for _, c := range k.udp {
		c.Close()
	}
}

// Run opens all sockets, calls Options.Ready and serves until ctx is done, which means stop now. An address that cannot
// be opened, or a socket that fails later, ends it with an error that names the address.
func (s *Server) Run(ctx context.Context) error {
	addrs, unicast, err := s.start()
	if err != nil {
		return err
	}
	var sockets []*socket
	defer func() {
		for _, k := range sockets {
			k.close()
		}
	}()
	var real []string
	for _, a := range addrs {
		k, err := s.open(ctx, a)
		if err != nil {
			return err
		}
		k.anycast = !unicast[k.addr]
		sockets = append(sockets, k)
		real = append(real, k.tcp.Addr().String())
	}
	return s.serve(ctx, sockets, real)
}

// start settles which addresses to listen on.
func (s *Server) start() (addrs []string, unicast map[netip.Addr]bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running != nil {
		return nil, nil, errors.New("dnsd runs already")
	}
	addrs = s.o.Listen
	if now := s.state.Load(); now != nil {
		unicast = now.config.unicast
		if addrs == nil {
			addrs = now.config.listen
		}
	}
	if len(addrs) == 0 {
		return nil, nil, errors.New("dnsd has nothing to listen on; want addresses, or a topology with this node in it")
	}
	s.running = slices.Clone(addrs)
	return addrs, unicast, nil
}

func (s *Server) serve(ctx context.Context, sockets []*socket, real []string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	conns := newConns(s.metrics)
	var all sync.WaitGroup
	run := func(serve func() error) {
		all.Go(func() {
			if err := serve(); err != nil && ctx.Err() == nil {
				cancel(err)
			}
		})
	}
	if s.log != nil {
		all.Go(func() { s.log.run(ctx, s.metrics.popNo.name) })
	}
	for _, k := range sockets {
		for _, c := range k.udp {
			run(func() error { return s.serveSocket(ctx, k, c) })
		}
		run(func() error { return s.serveTCP(ctx, k, conns) })
	}
	s.o.Logger.Info("dnsd listens", "addresses", real)
	s.event("ready", "all sockets listen")
	if s.o.Ready != nil {
		s.o.Ready(real)
	}
	<-ctx.Done()
	for _, k := range sockets {
		k.close()
	}
	conns.close()
	all.Wait()
	s.event("stopped", context.Cause(ctx).Error())
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) && !errors.Is(cause, context.DeadlineExceeded) {
		return cause
	}
	return nil
}

// open listens on one address over TCP and UDP, on the same port.
func (s *Server) open(ctx context.Context, address string) (*socket, error) {
	want, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, fmt.Errorf("dnsd: listen address %q: want IP:port: %w", address, err)
	}
	for try := 1; ; try++ {
		k := &socket{addr: want.Addr()}
		if k.tcp, err = s.o.Net.Listen(ctx, "tcp", address); err != nil {
			return nil, fmt.Errorf("dnsd: listen on tcp %q: %w", address, err)
		}
		udp := address
		if want.Port() == 0 {
			udp = netip.AddrPortFrom(want.Addr(), portOf(k.tcp.Addr())).String()
		}
		if k.udp, err = s.listenUDP(ctx, udp); err == nil {
			return k, nil
		}
		k.close()
		if want.Port() != 0 || try == bindTries {
			return nil, fmt.Errorf("dnsd: listen on udp %q: %w", udp, err)
		}
	}
}

func portOf(a net.Addr) uint16 {
	_, text, err := net.SplitHostPort(a.String())
	if err != nil {
		return 0
	}
	port, _ := strconv.ParseUint(text, 10, 16)
	return uint16(port)
}

// addrOf is the IP address of a peer, without IPv4 mapped into IPv6 and without a zone.
func addrOf(a net.Addr) netip.Addr {
	var ap netip.AddrPort
	switch a := a.(type) {
	case *net.UDPAddr:
		ap = a.AddrPort()
	case *net.TCPAddr:
		ap = a.AddrPort()
	case nil:
	default:
		ap, _ = netip.ParseAddrPort(a.String())
	}
	return ap.Addr().Unmap().WithZone("")
}
