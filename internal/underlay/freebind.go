//go:build linux

package underlay

import (
	"context"
	"net"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// listenConfig opens sockets, with Freebind on addresses that are not there yet (ip(7) IP_FREEBIND, ipv6(7)).
func (h Host) listenConfig() net.ListenConfig {
	if !h.Freebind {
		return net.ListenConfig{}
	}
	return net.ListenConfig{Control: func(_, address string, c syscall.RawConn) error {
		return control(c, func(fd int) error { return freebind(fd, address) })
	}}
}

// ListenPackets opens n datagram sockets on one address, among which the kernel spreads the clients (socket(7)
// SO_REUSEPORT). With port 0 all get the one port that the first was given.
func (h Host) ListenPackets(ctx context.Context, network, address string, n int) ([]net.PacketConn, error) {
	lc := net.ListenConfig{Control: func(_, address string, c syscall.RawConn) error {
		return control(c, func(fd int) error {
			if h.Freebind {
				if err := freebind(fd, address); err != nil {
					return err
				}
			}
			return os.NewSyscallError("setsockopt SO_REUSEPORT", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1))
		})
	}}
	var all []net.PacketConn
	for range n {
		c, err := lc.ListenPacket(ctx, network, address)
		if err != nil {
			for _, open := range all {
				open.Close()
			}
			return nil, err
		}
		all = append(all, c)
		address = c.LocalAddr().String()
	}
	return all, nil
}

func control(c syscall.RawConn, f func(fd int) error) error {
	var failed error
	if err := c.Control(func(fd uintptr) { failed = f(int(fd)) }); err != nil {
		return err
	}
	return failed
}

func freebind(fd int, address string) error {
	level, option := unix.SOL_IP, unix.IP_FREEBIND
	if a, err := netip.ParseAddrPort(address); err == nil && !a.Addr().Unmap().Is4() {
		level, option = unix.SOL_IPV6, unix.IPV6_FREEBIND
	}
	return os.NewSyscallError("setsockopt IP_FREEBIND", unix.SetsockoptInt(fd, level, option, 1))
}
