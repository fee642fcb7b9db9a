package wire

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
)

// The error codes of an Answer.
const (
	codeRefused      = "refused"       // nobody listens there
	codeUnreachable  = "unreachable"   // a router on the way has no route
	codeNoNetwork    = "no network"    // the node has no address of that family
	codeTimeout      = "timeout"       // no answer in time
	codeNoHost       = "no such host"  // no origin of that name
	codeInUse        = "in use"        // another listener has the address
	codeNotAvailable = "not available" // the address is not the node's
	codeLimit        = "limit"         // the runner's limit of flows or sockets is reached
	codeOther        = "error"         // Detail says what
)

var errnos = []struct {
	code  string
	errno syscall.Errno
}{
	{codeRefused, syscall.ECONNREFUSED},
	{codeUnreachable, syscall.EHOSTUNREACH},
	{codeNoNetwork, syscall.ENETUNREACH},
	{codeTimeout, syscall.ETIMEDOUT},
	{codeInUse, syscall.EADDRINUSE},
	{codeNotAvailable, syscall.EADDRNOTAVAIL},
	{codeLimit, syscall.ENOBUFS},
}

// Refuse makes the Answer that carries err.
func Refuse(err error) Answer {
	var dns *net.DNSError
	if errors.As(err, &dns) && dns.IsNotFound {
		return Answer{Error: codeNoHost, Detail: dns.Name}
	}
	for _, e := range errnos {
		if errors.Is(err, e.errno) {
			return Answer{Error: e.code}
		}
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) {
		return Answer{Error: codeTimeout}
	}
	return Answer{Error: codeOther, Detail: err.Error()}
}

// Err is what the host's own network would have reported: an error that errors.Is recognises as the syscall.Errno, a
// *net.DNSError, or nil when the Answer is good. call names the system call, "connect" or "bind".
func (a Answer) Err(call string) error {
	if a.OK {
		return nil
	}
	if a.Error == codeNoHost {
		return NoSuchHost(a.Detail)
	}
	for _, e := range errnos {
		if a.Error == e.code {
			return os.NewSyscallError(call, e.errno)
		}
	}
	if a.Detail == "" {
		return errors.New(call + ": " + a.Error)
	}
	return errors.New(call + ": " + a.Detail)
}

// NoSuchHost says that a lab has no origin of that name.
func NoSuchHost(name string) error {
	return &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
}

// OpError wraps err as package net does. The addresses may be the zero value.
func OpError(op, network string, local, remote netip.AddrPort, err error) error {
	e := &net.OpError{Op: op, Net: network, Err: err}
	if local.IsValid() {
		e.Source = Addr(network, local)
	}
	if remote.IsValid() {
		e.Addr = Addr(network, remote)
	}
	return e
}

// Addr is ap as a *net.TCPAddr or *net.UDPAddr.
func Addr(network string, ap netip.AddrPort) net.Addr {
	if len(network) >= 3 && network[:3] == "udp" {
		return net.UDPAddrFromAddrPort(ap)
	}
	return net.TCPAddrFromAddrPort(ap)
}
