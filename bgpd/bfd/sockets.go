//go:build linux

package bfd

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sockets are the UDP sockets of all sessions, as file descriptors: the loop waits for them in a system call of its own
// rather than in Go's poller, which would need another thread, of ordinary priority, to be woken.
type sockets struct {
	port  uint16
	event int // an eventfd that ends a wait
	heard []listener
	paths map[path]*sender
	in    incoming
	poll  []unix.PollFd
	until unix.Timespec
}

// listener is a receiving socket.
type listener struct {
	local netip.Addr // or the unspecified address of a family
	fd    int
	multi bool // at the port of multihop sessions
}

// sender is a path's sending socket.
type sender struct {
	fd    int
	port  uint16 // ours; it stays the same when the socket is opened again (RFC 5881 §4)
	tried time.Time
	err   error
}

// Our ports (RFC 5881 §4).
const (
	firstPort = 49152
	lastPort  = 65535
	portTries = 32
)

// classSelector6 is the traffic class of routing protocols (RFC 4594 §3.1): queues that are full of others' packets shall
// not hold ours up.
const classSelector6 = 0xc0

func openSockets(port uint16) (*sockets, error) {
	event, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("make an event to wait for: %w", err)
	}
	return &sockets{port: port, event: event, paths: map[path]*sender{}}, nil
}

func (s *sockets) close() {
	for p := range s.paths {
		s.forget(p)
	}
	for _, l := range s.heard {
		_ = unix.Close(l.fd)
	}
	_ = unix.Close(s.event)
}

// wake may be called from any goroutine until close.
func (s *sockets) wake() {
	var one [8]byte
	one[0] = 1
	_, _ = unix.Write(s.event, one[:]) // it fails only if many wakes are pending
}

func (s *sockets) Wait(until time.Time) {
	s.poll = append(s.poll[:0], unix.PollFd{Fd: int32(s.event), Events: unix.POLLIN})
	for _, l := range s.heard {
		s.poll = append(s.poll, unix.PollFd{Fd: int32(l.fd), Events: unix.POLLIN})
	}
	var timeout *unix.Timespec
	if !until.IsZero() {
		s.until = unix.NsecToTimespec(max(0, time.Until(until)).Nanoseconds())
		timeout = &s.until
	}
	if n, err := unix.Ppoll(s.poll, timeout, nil); err == nil && n > 0 && s.poll[0].Revents != 0 {
		var count [8]byte
		_, _ = unix.Read(s.event, count[:])
	}
}

// Receive allocates nothing, nor does Send: what a packet leaves behind has the collector stop the process now and then,
// for as long as its slowest thread takes to be scheduled.
func (s *sockets) Receive() (datagram, bool) {
	for _, l := range s.heard {
		n, err := s.in.receive(l.fd)
		for errors.Is(err, unix.EINTR) {
			n, err = s.in.receive(l.fd)
		}
		if err != nil {
			continue
		}
		d := datagram{payload: s.in.payload[:n], from: s.in.from(), multi: l.multi}
		d.ttl, d.at = control(s.in.control[:s.in.header.Controllen])
		return d, true
	}
	return datagram{}, false
}

// incoming is the memory that recvmsg fills.
type incoming struct {
	payload [2048]byte
	control [256]byte
	name    unix.RawSockaddrInet6
	vector  unix.Iovec
	header  unix.Msghdr
}

func (i *incoming) receive(fd int) (int, error) {
	i.vector.Base = &i.payload[0]
	i.vector.SetLen(len(i.payload))
	i.header = unix.Msghdr{Name: (*byte)(unsafe.Pointer(&i.name)), Namelen: unix.SizeofSockaddrInet6, Iov: &i.vector, Control: &i.control[0]}
	i.header.SetIovlen(1)
	i.header.SetControllen(len(i.control))
	n, _, errno := unix.Syscall(unix.SYS_RECVMSG, uintptr(fd), uintptr(unsafe.Pointer(&i.header)), unix.MSG_DONTWAIT)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

func (i *incoming) from() netip.Addr {
	switch i.name.Family {
	case unix.AF_INET:
		return netip.AddrFrom4((*unix.RawSockaddrInet4)(unsafe.Pointer(&i.name)).Addr)
	case unix.AF_INET6:
		return netip.AddrFrom16(i.name.Addr)
	}
	return netip.Addr{}
}

// control reads the TTL and the time of arrival. The kernel's time is of the wall clock: what counts is how long ago it was.
func control(oob []byte) (ttl int, at time.Time) {
	at = time.Now()
	for len(oob) >= unix.SizeofCmsghdr {
		header, data, rest, err := unix.ParseOneSocketControlMessage(oob)
		if err != nil {
			break
		}
		oob = rest
		kind := [2]int32{header.Level, header.Type}
		switch {
		case (kind == [2]int32{unix.IPPROTO_IP, unix.IP_TTL} || kind == [2]int32{unix.IPPROTO_IPV6, unix.IPV6_HOPLIMIT}) && len(data) >= 4:
			ttl = int(*(*int32)(unsafe.Pointer(&data[0])))
		case kind == [2]int32{unix.SOL_SOCKET, unix.SCM_TIMESTAMPNS} && len(data) >= int(unsafe.Sizeof(unix.Timespec{})):
			sec, nsec := (*unix.Timespec)(unsafe.Pointer(&data[0])).Unix()
			if age := at.Sub(time.Unix(sec, nsec)); age > 0 && age < maxAge {
				at = at.Add(-age)
			}
		}
	}
	return ttl, at
}

// maxAge bounds how long a packet may have waited for us; more is a wall clock that was set.
const maxAge = 10 * time.Second

func (s *sockets) sockaddr(a netip.Addr, port uint16) unix.Sockaddr {
	if a.Is4() {
		return &unix.SockaddrInet4{Port: int(port), Addr: a.As4()}
	}
	return &unix.SockaddrInet6{Port: int(port), Addr: a.As16()}
}

func (s *sockets) Send(p path, packet []byte) error {
	if packet == nil {
		s.forget(p)
		return nil
	}
	out := s.paths[p]
	if out == nil {
		out = &sender{fd: -1}
		s.paths[p] = out
	}
	if out.fd < 0 {
		if now := time.Now(); out.err == nil || now.Sub(out.tried) >= retry {
			out.tried = now
			out.err = s.open(p, out)
		}
		if out.err != nil {
			return out.err
		}
	}
	_, err := unix.Write(out.fd, packet)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.ECONNREFUSED): // the answer to an earlier packet, instead of sending this one
		_, _ = unix.Write(out.fd, packet)
		return fmt.Errorf("send to %s: %w", p.remote, errNobody)
	}
	_ = unix.Close(out.fd)
	out.fd, out.err, out.tried = -1, nil, time.Time{}
	return fmt.Errorf("send to %s: %w", p.remote, err)
}

// forget closes a path's socket. The listener stays: another session may hear by it, and it is one a local address.
func (s *sockets) forget(p path) {
	if out := s.paths[p]; out != nil && out.fd >= 0 {
		_ = unix.Close(out.fd)
	}
	delete(s.paths, p)
}

// open opens what a path needs: a socket to send, and unless there is one, a socket to hear.
func (s *sockets) open(p path, out *sender) error {
	if err := s.hear(p); err != nil {
		return err
	}
	fd, err := socket(p.remote)
	if err != nil {
		return fmt.Errorf("open a socket to %s: %w", p.remote, err)
	}
	local := s.hearAt(p)
	for range portTries {
		port := out.port
		if port == 0 {
			port = uint16(firstPort + rand.IntN(lastPort-firstPort+1)) //nolint:gosec // a port is no secret
		}
		if err = unix.Bind(fd, s.sockaddr(local, port)); err == nil {
			out.port = port
			break
		}
		out.port = 0
		if !errors.Is(err, unix.EADDRINUSE) {
			break
		}
	}
	if err == nil {
		err = unix.Connect(fd, s.sockaddr(p.remote, s.port))
	}
	if err != nil {
		_ = unix.Close(fd)
		return fmt.Errorf("send from %s to %s: %w", local, p.remote, err)
	}
	out.fd = fd
	return nil
}

// hearAt is the address that a path's neighbour is heard at: ours, or any of the family.
func (s *sockets) hearAt(p path) netip.Addr {
	switch {
	case p.local.IsValid():
		return p.local
	case p.remote.Is4():
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

func (s *sockets) hear(p path) error {
	local := s.hearAt(p)
	if slices.ContainsFunc(s.heard, func(l listener) bool { return l.local == local }) {
		return nil
	}
	fd, err := s.listen(netip.AddrPortFrom(local, s.port))
	if err != nil {
		return err
	}
	s.heard = append(s.heard, listener{local: local, fd: fd})
	if s.port != Port {
		return nil // a test's
	}
	if fd, err := s.listen(netip.AddrPortFrom(local, multihopPort)); err == nil { // else somebody speaks it here
		s.heard = append(s.heard, listener{local: local, fd: fd, multi: true})
	}
	return nil
}

func (s *sockets) listen(at netip.AddrPort) (int, error) {
	fd, err := socket(at.Addr())
	if err == nil {
		err = errors.Join(
			os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)),
			os.NewSyscallError("bind", unix.Bind(fd, s.sockaddr(at.Addr(), at.Port()))),
		)
		if err != nil {
			_ = unix.Close(fd)
		}
	}
	if err != nil {
		return -1, fmt.Errorf("listen for BFD on %s: %w", at, err)
	}
	return fd, nil
}

// socket opens a UDP socket whose packets carry the hop limit, and that is told that of those it hears.
func socket(a netip.Addr) (int, error) {
	family, level, options := unix.AF_INET, unix.IPPROTO_IP, []struct{ name, value int }{
		{unix.IP_TTL, hopLimit}, {unix.IP_RECVTTL, 1}, {unix.IP_TOS, classSelector6},
	}
	if a.Is6() {
		family, level = unix.AF_INET6, unix.IPPROTO_IPV6
		options = []struct{ name, value int }{
			{unix.IPV6_UNICAST_HOPS, hopLimit}, {unix.IPV6_RECVHOPLIMIT, 1}, {unix.IPV6_TCLASS, classSelector6}, {unix.IPV6_V6ONLY, 1},
		}
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	for _, o := range options {
		if err := unix.SetsockoptInt(fd, level, o.name, o.value); err != nil {
			_ = unix.Close(fd)
			return -1, os.NewSyscallError("setsockopt", err)
		}
	}
	return fd, nil
}
