//go:build linux

package fib

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Link is an interface with its carrier and the subnets that are on it.
type Link struct {
	Name    string
	Up      bool // administratively up and with a carrier
	Subnets []netip.Prefix
}

// Watch calls fn with every link, and again whenever one changes, until ctx is done. Calls do not overlap.
func Watch(ctx context.Context, fn func(Link)) error {
	updates := make(chan netlink.LinkUpdate, 64)
	done := make(chan struct{})
	defer close(done)
	failed := make(chan error, 1)
	err := netlink.LinkSubscribeWithOptions(updates, done, netlink.LinkSubscribeOptions{
		ListExisting: true,
		ErrorCallback: func(err error) {
			select {
			case failed <- err:
			default:
			}
		},
	})
	if err != nil {
		return fmt.Errorf("watch links: %w", err)
	}
	subnets := map[int][]netip.Prefix{} // by interface: an address may be gone by the time its link is down
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-failed:
			return fmt.Errorf("watch links: %w", err)
		case u, ok := <-updates:
			if !ok {
				return fmt.Errorf("watch links: the kernel ended it")
			}
			if now := subnetsOf(u.Link); len(now) > 0 {
				subnets[u.Attrs().Index] = now
			}
			const all = unix.IFF_UP | unix.IFF_LOWER_UP | unix.IFF_RUNNING
			fn(Link{Name: u.Attrs().Name, Up: u.Header.Type == unix.RTM_NEWLINK && u.Flags&all == all, Subnets: subnets[u.Attrs().Index]})
		}
	}
}

func subnetsOf(l netlink.Link) []netip.Prefix {
	addrs, err := netlink.AddrList(l, netlink.FAMILY_ALL)
	if err != nil {
		return nil
	}
	var all []netip.Prefix
	for _, a := range addrs {
		if addr, ok := netip.AddrFromSlice(a.IP); ok {
			ones, _ := a.Mask.Size()
			all = append(all, netip.PrefixFrom(addr.Unmap(), ones).Masked())
		}
	}
	return all
}
