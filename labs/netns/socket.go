//go:build linux

package netns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/catchment-net/catchment/internal/underlay"
)

// within opens sockets inside a machine's namespace. Only the making of a socket holds a thread there; waiting does not.
type within struct {
	ns    *namespace
	local []netip.Addr // what outgoing connections come from, at most one of each family
}

var _ underlay.Net = (*within)(nil)

// Listen listens inside the namespace.
func (w *within) Listen(ctx context.Context, network, address string) (l net.Listener, err error) {
	err = w.ns.do(func() error {
		l, err = underlay.Host{}.Listen(ctx, network, address)
		return err
	})
	return l, err
}

// ListenPacket opens a datagram socket inside the namespace.
func (w *within) ListenPacket(ctx context.Context, network, address string) (pc net.PacketConn, err error) {
	err = w.ns.do(func() error {
		pc, err = underlay.Host{}.ListenPacket(ctx, network, address)
		return err
	})
	return pc, err
}

// DialContext connects from the local address of the target's family.
func (w *within) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	to = netip.AddrPortFrom(to.Addr().Unmap(), to.Port())
	kind := unix.SOCK_STREAM
	if strings.HasPrefix(network, "udp") {
		kind = unix.SOCK_DGRAM
	}
	c, err := w.dial(ctx, kind, to)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Addr: net.TCPAddrFromAddrPort(to), Err: err}
	}
	return c, nil
}

func (w *within) dial(ctx context.Context, kind int, to netip.AddrPort) (net.Conn, error) {
	family := unix.AF_INET6
	if to.Addr().Is4() {
		family = unix.AF_INET
	}
	fd := -1
	err := w.ns.do(func() (err error) {
		fd, err = unix.Socket(family, kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		return os.NewSyscallError("socket", err)
	})
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), "socket")
	defer file.Close()
	for _, a := range w.local {
		if a.Is4() != to.Addr().Is4() {
			continue
		}
		// Leave the port to connect, which shares one among connections to different servers: else 28232 connections,
		// finished ones for another minute included, are all that an address has (ip(7)).
		if err := unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1); err != nil {
			return nil, os.NewSyscallError("setsockopt", err)
		}
		if err := unix.Bind(fd, sockaddr(netip.AddrPortFrom(a, 0))); err != nil {
			return nil, os.NewSyscallError("bind", err)
		}
	}
	if err := connect(ctx, file, fd, to); err != nil {
		return nil, err
	}
	return net.FileConn(file)
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}

// connect waits without a thread until the connection stands, is refused, or ctx ends.
func connect(ctx context.Context, file *os.File, fd int, to netip.AddrPort) error {
	err := unix.Connect(fd, sockaddr(to))
	if err == nil {
		return nil
	}
	if !errors.Is(err, unix.EINPROGRESS) {
		return os.NewSyscallError("connect", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = file.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var result error
	err = raw.Write(func(uintptr) bool {
		if _, err := unix.Getpeername(fd); err == nil {
			return true
		}
		code, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
		switch {
		case err != nil:
			result = os.NewSyscallError("getsockopt", err)
		case code == 0:
			return false
		default:
			result = os.NewSyscallError("connect", unix.Errno(code))
		}
		return true
	})
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	if err := errors.Join(err, result); err != nil {
		return err
	}
	if !stop() { // the deadline has struck, or is about to
		return fmt.Errorf("connect to %s: %w", to, ctx.Err())
	}
	return nil
}
