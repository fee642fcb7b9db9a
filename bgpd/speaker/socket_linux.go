package speaker

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// openSocket returns a descriptor of our own for one of the process's connections. gobgp hands none out; we find it among
// our descriptors. Close it soon: the connection lasts as long.
func openSocket(local, remote netip.AddrPort) (fd int, err error) {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return -1, fmt.Errorf("find the connection %v to %v: %w", local, remote, err)
	}
	for _, e := range entries {
		theirs, err := strconv.Atoi(e.Name())
		if err != nil || !connects(theirs, local, remote) {
			continue
		}
		ours, err := unix.FcntlInt(uintptr(theirs), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			continue
		}
		if connects(ours, local, remote) { // it may have become another one meanwhile
			return ours, nil
		}
		closeSocket(ours)
	}
	return -1, fmt.Errorf("the connection %v to %v is not among our descriptors", local, remote)
}

func closeSocket(fd int) { _ = unix.Close(fd) }

func connects(fd int, local, remote netip.AddrPort) bool {
	to, err := unix.Getpeername(fd)
	if err != nil || addrPort(to) != remote {
		return false
	}
	from, err := unix.Getsockname(fd)
	return err == nil && addrPort(from) == local
}

func addrPort(sa unix.Sockaddr) netip.AddrPort {
	switch a := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr).Unmap(), uint16(a.Port))
	}
	return netip.AddrPort{}
}

// cork has small writes wait for a full segment, for 200 ms at most (tcp(7)), or sends what waits.
func cork(fd int, on bool) {
	v := 0
	if on {
		v = 1
	}
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_CORK, v) // without it there are more segments, no more
}

var (
	errBusy = errors.New("the neighbour has not yet acknowledged what it was sent before")
	errTorn = errors.New("the kernel took a part of a message")
)

// idle reports whether a connection has acknowledged everything and has room for n octets.
func idle(fd, n int) bool {
	unacknowledged, err := unix.IoctlGetInt(fd, unix.SIOCOUTQ)
	if err != nil || unacknowledged > 0 {
		return false
	}
	room, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF)
	return err == nil && n <= room/bookkeeping
}

// bookkeeping is how many octets of a send buffer the kernel counts for each that we write, at most.
const bookkeeping = 4

// tell writes whole messages at once, between two of gobgp's. gobgp may be in the middle of a message only where a send
// buffer has run full, so nothing is written unless the neighbour has acknowledged all. Should the kernel nevertheless take
// a part, the session is ended: a neighbour forgets what it heard in a session, and the next one begins with the truth.
func tell(fd int, messages []byte) error {
	if len(messages) == 0 {
		return nil
	}
	if !idle(fd, len(messages)) {
		return errBusy
	}
	n, err := unix.SendmsgN(fd, messages, nil, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
	if err != nil {
		return fmt.Errorf("tell a neighbour of many withdrawals: %w", err)
	}
	cork(fd, false) // sent now, and not with what follows
	cork(fd, true)
	if n < len(messages) {
		return errors.Join(errTorn, unix.Shutdown(fd, unix.SHUT_RDWR))
	}
	return nil
}
