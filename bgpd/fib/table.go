//go:build linux

// Package fib puts a speaker's best paths into the kernel's routing table and watches the links that they use.
//
//	speaker ── a prefix has changed ──► Sync ── its paths ──► next hops ──► kernel (protocol "bgp", 186)
//	kernel ── a link lost or got its carrier ──► Sync ──► the session over it ends at once · routes are put back
package fib

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Table is the part of the kernel's main routing table that is ours, in the network namespace of the thread that opened
// it. It is safe for concurrent use.
type Table struct {
	h      *netlink.Handle
	source []netip.Addr // what packets of this host that follow our routes come from, at most one of each family
}

// protocol marks our routes (rtnetlink(7), RTPROT_BGP), so that what a predecessor left can be told from others'.
const protocol = unix.RTPROT_BGP

// Open takes over the routes of the present network namespace and removes what a predecessor left. The sources, at most
// one of each family, are what this host's own packets come from that follow our routes, unless their socket says
// otherwise; without any it is the address of the link, which may mean nothing to whom they go to.
func Open(source ...netip.Addr) (*Table, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open routing table: %w", err)
	}
	t := &Table{h: h, source: source}
	left, err := t.list()
	if err != nil {
		h.Close()
		return nil, err
	}
	for _, r := range left {
		if err := h.RouteDel(&r); err != nil && !errors.Is(err, unix.ESRCH) {
			h.Close()
			return nil, fmt.Errorf("remove route to %q that a predecessor left: %w", r.Dst, err)
		}
	}
	return t, nil
}

// Close gives up the table; the routes stay.
func (t *Table) Close() { t.h.Close() }

func (t *Table) list() ([]netlink.Route, error) {
	var all []netlink.Route
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		routes, err := t.h.RouteListFiltered(family, &netlink.Route{Protocol: protocol}, netlink.RT_FILTER_PROTOCOL)
		if err != nil {
			return nil, fmt.Errorf("list routes: %w", err)
		}
		all = append(all, routes...)
	}
	return all, nil
}

// Routes are our routes with their next hops, sorted.
func (t *Table) Routes() (map[netip.Prefix][]netip.Addr, error) {
	list, err := t.list()
	if err != nil {
		return nil, err
	}
	all := map[netip.Prefix][]netip.Addr{}
	for _, r := range list {
		prefix := prefixOf(&r)
		hops := all[prefix]
		if hop, ok := netip.AddrFromSlice(r.Gw); ok {
			hops = append(hops, hop.Unmap())
		}
		for _, m := range r.MultiPath {
			if hop, ok := netip.AddrFromSlice(m.Gw); ok {
				hops = append(hops, hop.Unmap())
			}
		}
		slices.SortFunc(hops, netip.Addr.Compare)
		all[prefix] = hops
	}
	return all, nil
}

func prefixOf(r *netlink.Route) netip.Prefix {
	if r.Dst == nil {
		if r.Family == unix.AF_INET6 {
			return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
		}
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	addr, _ := netip.AddrFromSlice(r.Dst.IP)
	ones, _ := r.Dst.Mask.Size()
	return netip.PrefixFrom(addr.Unmap(), ones)
}

// ErrUnreachable says that no next hop is on a link that is up: the route cannot be put in place now.
var ErrUnreachable = errors.New("no next hop can be reached")

// Set makes the route to a prefix lead to the next hops, in equal parts. Without hops there is no route.
func (t *Table) Set(prefix netip.Prefix, hops []netip.Addr) error {
	r := &netlink.Route{Dst: ipNet(prefix), Protocol: protocol, Family: familyOf(prefix.Addr())}
	if len(hops) == 0 {
		if err := t.h.RouteDel(r); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("remove route to %q: %w", prefix, err)
		}
		return nil
	}
	for _, a := range t.source {
		if a.Is4() == prefix.Addr().Is4() {
			r.Src = a.AsSlice()
		}
	}
	if len(hops) == 1 {
		r.Gw = hops[0].AsSlice()
	} else {
		for _, hop := range hops {
			r.MultiPath = append(r.MultiPath, &netlink.NexthopInfo{Gw: hop.AsSlice()})
		}
	}
	err := t.h.RouteReplace(r)
	if errors.Is(err, unix.ENETUNREACH) || errors.Is(err, unix.EHOSTUNREACH) || errors.Is(err, unix.ENETDOWN) || errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("set route to %q by %v: %w (%w)", prefix, hops, ErrUnreachable, err)
	}
	if err != nil {
		return fmt.Errorf("set route to %q by %v: %w", prefix, hops, err)
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func familyOf(a netip.Addr) int {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}
