package underlay

import (
	"fmt"
	"net/netip"
	"os"
	"syscall"
)

// bind gives a socket that is about to connect the local address of its target's family.
func (h Host) bind(_, address string, c syscall.RawConn) error {
	target, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("read address %q: %w", address, err)
	}
	for _, a := range h.Local {
		if a.Is4() != target.Addr().Unmap().Is4() || a.IsLoopback() != target.Addr().IsLoopback() {
			continue
		}
		var bound error
		if err := c.Control(func(fd uintptr) { bound = syscall.Bind(int(fd), sockaddr(a)) }); err != nil {
			return err
		}
		return os.NewSyscallError("bind", bound)
	}
	return nil
}

func sockaddr(a netip.Addr) syscall.Sockaddr {
	if a.Is4() {
		return &syscall.SockaddrInet4{Addr: a.As4()}
	}
	return &syscall.SockaddrInet6{Addr: a.As16()}
}
