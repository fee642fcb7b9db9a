package fabric

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/catchment-net/catchment/internal/underlay/wire"
)

const (
	firstSYN      = time.Second            // before the second SYN (RFC 6298 §2.1); doubled each time
	maxSYN        = 7                      // as Linux's tcp_syn_retries 6: gives up after 127 s
	fallbackDelay = 300 * time.Millisecond // before IPv4 is tried beside a silent IPv6 (RFC 8305 §5, Go's own value)
)

// dial sets a flow up and hands its far end to the listener. It takes one round trip, as a handshake does. The error is
// the host's (ECONNREFUSED …), not wrapped yet.
func (f *Fabric) dial(ctx context.Context, src *place, from netip.Addr, to netip.AddrPort) (*flow, error) {
	f.mu.Lock()
	closed, port := f.closed, netip.AddrPort{}
	var err error
	if !closed {
		port, err = f.freePort(socketKey{src, "tcp", netip.AddrPortFrom(from, 0)})
	}
	f.mu.Unlock()
	if closed {
		return nil, errClosed
	}
	if err != nil {
		return nil, err
	}
	wait := firstSYN
	for range maxSYN {
		fl, err := f.syn(ctx, src, port, to)
		if !errors.Is(err, errLost) {
			return fl, err
		}
		if err := f.sleep(ctx, wait); err != nil {
			return nil, err
		}
		wait *= 2
	}
	return nil, os.NewSyscallError("connect", syscall.ETIMEDOUT)
}

// errLost says that a SYN or its answer was lost on the way.
var errLost = errors.New("lost on the way")

// syn tries one handshake.
func (f *Fabric) syn(ctx context.Context, src *place, from, to netip.AddrPort) (*flow, error) {
	ahead := f.carries(to.Port(), f.route(src, to.Addr()))
	now := f.o.Now()
	if ahead.NoPath != "" { // the last router says so
		if err := f.sleep(ctx, 2*ahead.lag(now, 0, f.o.Rand)); err != nil {
			return nil, err
		}
		return nil, os.NewSyscallError("connect", syscall.EHOSTUNREACH)
	}
	dst := f.graph.places[ahead.Dest]
	back := f.carries(to.Port(), f.route(dst, from.Addr()))
	if !ahead.Good() || !back.Good() || f.o.Rand() < ahead.Loss || f.o.Rand() < back.Loss {
		return nil, errLost
	}
	if err := f.sleep(ctx, ahead.lag(now, 0, f.o.Rand)+back.lag(now, 0, f.o.Rand)); err != nil {
		return nil, err
	}
	s := f.lookup(dst, "tcp", to)
	if s == nil {
		return nil, os.NewSyscallError("connect", syscall.ECONNREFUSED)
	}
	fl, err := f.newFlow(src, dst, from, to)
	if err != nil {
		return nil, err
	}
	if err := f.connect(ctx, s, fl); err != nil {
		fl.reset()
		if errors.Is(err, errFull) {
			return nil, errLost
		}
		return nil, err
	}
	return fl, nil
}

// resolve reads "IP:port" or the name and port of an origin.
func (f *Fabric) resolve(address string) ([]netip.AddrPort, error) {
	host, portText, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return nil, &net.AddrError{Err: "port is no number from 0 to 65535", Addr: address}
	}
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.AddrPort{netip.AddrPortFrom(a.Unmap().WithZone(""), uint16(port))}, nil
	}
	for _, o := range f.graph.topo.Internet.Origins {
		if sameName(o.Host, host) {
			return sixFirst(o.Addrs, uint16(port)), nil
		}
	}
	return nil, wire.NoSuchHost(host)
}

// sixFirst orders addresses as RFC 6724 does without further knowledge: IPv6 before IPv4.
func sixFirst(addrs []netip.Addr, port uint16) []netip.AddrPort {
	var six, four []netip.AddrPort
	for _, a := range addrs {
		if a.Is4() {
			four = append(four, netip.AddrPortFrom(a, port))
		} else {
			six = append(six, netip.AddrPortFrom(a, port))
		}
	}
	return append(six, four...)
}

// sameName compares DNS names: case and a final dot do not count.
func sameName(a, b string) bool {
	trim := func(s string) string {
		if n := len(s); n > 0 && s[n-1] == '.' {
			s = s[:n-1]
		}
		return s
	}
	a, b = trim(a), trim(b)
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		x, y := a[i], b[i]
		if 'A' <= x && x <= 'Z' {
			x += 'a' - 'A'
		}
		if 'A' <= y && y <= 'Z' {
			y += 'a' - 'A'
		}
		if x != y {
			return false
		}
	}
	return true
}

// dialAny connects to the first of several addresses that answers: the next one is tried as soon as one fails, and beside
// it after fallbackDelay (RFC 8305). The error is that of the first address.
func (f *Fabric) dialAny(ctx context.Context, src *place, to []netip.AddrPort) (*flow, netip.AddrPort, error) {
	if len(to) == 1 {
		fl, err := f.dialFrom(ctx, src, to[0])
		return fl, to[0], err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		fl  *flow
		to  netip.AddrPort
		err error
	}
	results := make(chan result)
	started, ended := 0, 0
	next := func() {
		if started < len(to) {
			target := to[started]
			started++
			go func() {
				fl, err := f.dialFrom(ctx, src, target)
				results <- result{fl, target, err}
			}()
		}
	}
	next()
	timer := time.NewTimer(fallbackDelay)
	defer timer.Stop()
	var won, failed result
	for ended < started {
		select {
		case <-timer.C:
			next()
			continue
		case r := <-results:
			ended++
			switch {
			case r.err == nil && won.fl == nil:
				won = r
				cancel()
			case r.err == nil:
				r.fl.reset()
			case won.fl == nil:
				if failed.err == nil || r.to == to[0] {
					failed = r
				}
				next()
			}
		}
	}
	if won.fl != nil {
		return won.fl, won.to, nil
	}
	return nil, failed.to, failed.err
}

// dialFrom connects from the place's own address of the target's family.
func (f *Fabric) dialFrom(ctx context.Context, src *place, to netip.AddrPort) (*flow, error) {
	from, ok := src.source(to.Addr())
	if !ok {
		return nil, os.NewSyscallError("connect", syscall.ENETUNREACH)
	}
	return f.dial(ctx, src, from, to)
}
