package probe

import (
	"context"
	"errors"
	"net"
	"syscall"
	"time"

	"github.com/catchment-net/catchment/internal/underlay"
)

// Target is what a Prober asks. Make one with HTTP, HTTPHost, DNS, DNSName, TCP or Exec.
type Target struct {
	name string
	ask  func(ctx context.Context, network underlay.Net, timeout time.Duration) error
}

// String is how messages call the target: "http://203.0.113.1/health".
func (t Target) String() string { return t.name }

// ownError is one of our own side: no route, or no address of that family. It says nothing about the target.
type ownError struct{ error }

func (e ownError) Unwrap() error { return e.error }

// dial connects to a target. Where it cannot, it tells our own side's faults from those of others: a router that has no
// route says the same of TCP as our own kernel does, so the kernel is asked once more, by a datagram socket, which
// looks a route up and sends nothing.
func dial(ctx context.Context, network underlay.Net, proto, address string) (net.Conn, error) {
	conn, err := network.DialContext(ctx, proto, address)
	if !unroutable(err) {
		return conn, err
	}
	probe, again := network.DialContext(ctx, "udp", address)
	if again == nil {
		probe.Close()
		return nil, err
	}
	if unroutable(again) {
		err = ownError{err}
	}
	return nil, err
}

func unroutable(err error) bool {
	return errors.Is(err, syscall.ENETUNREACH) || errors.Is(err, syscall.ENETDOWN) || errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EHOSTUNREACH)
}
