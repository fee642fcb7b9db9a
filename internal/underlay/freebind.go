//go:build linux

package underlay

import (
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
		level, option := unix.SOL_IP, unix.IP_FREEBIND
		if a, err := netip.ParseAddrPort(address); err == nil && !a.Addr().Unmap().Is4() {
			level, option = unix.SOL_IPV6, unix.IPV6_FREEBIND
		}
		var failed error
		if err := c.Control(func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), level, option, 1) }); err != nil {
			return err
		}
		return os.NewSyscallError("setsockopt IP_FREEBIND", failed)
	}}
}
