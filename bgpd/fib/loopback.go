//go:build linux

package fib

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Loopback puts service addresses on the interface lo of the present network namespace and takes away those that it has
// put there. What was there before is never touched. It is not safe for concurrent use.
type Loopback struct {
	h    *netlink.Handle
	lo   netlink.Link
	ours map[netip.Addr]bool
}

// OpenLoopback finds lo; it changes nothing.
func OpenLoopback() (*Loopback, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open the loopback interface: %w", err)
	}
	lo, err := h.LinkByName("lo")
	if err != nil {
		h.Close()
		return nil, fmt.Errorf("find the loopback interface: %w", err)
	}
	return &Loopback{h: h, lo: lo, ours: map[netip.Addr]bool{}}, nil
}

// Add makes sure that the address is there, as one host. IPv6 skips the search for duplicates: that a shared address is
// used elsewhere is what it is for.
func (l *Loopback) Add(a netip.Addr) error {
	err := l.h.AddrAdd(l.lo, loopbackAddr(a))
	switch {
	case errors.Is(err, unix.EEXIST):
		return nil
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("put %v on lo: %w (it needs CAP_NET_ADMIN)", a, err)
	case err != nil:
		return fmt.Errorf("put %v on lo: %w", a, err)
	}
	l.ours[a] = true
	return nil
}

// Remove takes the address away if it is ours.
func (l *Loopback) Remove(a netip.Addr) error {
	if !l.ours[a] {
		return nil
	}
	if err := l.h.AddrDel(l.lo, loopbackAddr(a)); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
		return fmt.Errorf("take %v from lo: %w", a, err)
	}
	delete(l.ours, a)
	return nil
}

// Close gives lo up; the addresses stay as they are.
func (l *Loopback) Close() { l.h.Close() }

func loopbackAddr(a netip.Addr) *netlink.Addr {
	addr := &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(a, a.BitLen()))}
	if a.Is6() {
		addr.Flags = unix.IFA_F_NODAD
	}
	return addr
}
