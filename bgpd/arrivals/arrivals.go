//go:build linux

// Package arrivals tells when the last packet for our prefixes arrived, beside any service and whatever protocol it
// speaks: the kernel counts them for us, and no packet is copied.
//
// A drain asks it whether the clients have gone. It is opened for the drain alone, since a filter on every packet costs
// a busy machine something.
package arrivals

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Counter counts the packets that arrive for some prefixes. Its methods are safe for concurrent use.
type Counter struct {
	now func() time.Time

	mu   sync.Mutex // guards the following
	fd   int        // -1 once closed
	last time.Time
}

// maxPrefixes bounds the filter: the kernel takes 4096 instructions, and each prefix needs up to eight.
const maxPrefixes = 400

// Open begins to count. Packets that this host sends to itself do not count: those are probes. It needs CAP_NET_RAW.
func Open(prefixes []netip.Prefix, now func() time.Time) (*Counter, error) {
	if len(prefixes) == 0 || len(prefixes) > maxPrefixes {
		return nil, fmt.Errorf("count arrivals for %d prefixes: want 1 to %d", len(prefixes), maxPrefixes)
	}
	lo, err := loopback()
	if err != nil {
		return nil, err
	}
	raw, err := bpf.Assemble(filter(prefixes, lo))
	if err != nil {
		return nil, fmt.Errorf("count arrivals: assemble the filter: %w", err)
	}
	// Of protocol 0 the socket hears nothing until it is bound, when its filter stands.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("count arrivals: %w", os.NewSyscallError("socket", err))
	}
	program := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		program[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	err = os.NewSyscallError("setsockopt", unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}))
	if err == nil {
		err = os.NewSyscallError("bind", unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: everyProtocol()}))
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("count arrivals: %w", err)
	}
	return &Counter{now: now, fd: fd, last: now()}, nil
}

// everyProtocol is ETH_P_ALL in network byte order.
func everyProtocol() uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], unix.ETH_P_ALL)
	return binary.NativeEndian.Uint16(b[:])
}

// Last returns when a packet was last seen to have arrived, or when the counter was opened. It is as exact as it is asked
// often: packets are taken to have arrived when they are counted.
func (c *Counter) Last() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd < 0 {
		return c.last
	}
	// Reading the count sets it to zero. What did not fit into the socket's queue counts, too; nobody reads the queue.
	if s, err := unix.GetsockoptTpacketStats(c.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS); err != nil || s.Packets > 0 {
		c.last = c.now() // not to know is not silence
	}
	return c.last
}

// pollEvery is how exact Watch makes Last.
const pollEvery = 50 * time.Millisecond

// Watch asks often, so that Last is exact, until ctx is done. Then it closes the counter.
func (c *Counter) Watch(ctx context.Context) {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			c.mu.Lock()
			defer c.mu.Unlock()
			unix.Close(c.fd)
			c.fd = -1
			return
		case <-tick.C:
			c.Last()
		}
	}
}
