//go:build linux

package fib

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/catchment-net/catchment/bgpd/speaker"
	"github.com/catchment-net/catchment/internal/testns"
)

// isolated runs fn in a process of its own, in an empty network namespace with two interfaces, v0 and v1, that are each
// other's ends: 169.254.0.0/31, 169.254.0.2/31 and fdca::/127 on v0. Nobody needs rights for it.
func isolated(t *testing.T, fn func()) {
	t.Helper()
	if !testns.Inside(t) {
		return
	}
	if err := wire(); err != nil {
		t.Fatal(err)
	}
	fn()
}

func wire() error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "v0"
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "v1"}); err != nil {
		return fmt.Errorf("make links: %w", err)
	}
	for _, name := range []string{"lo", "v1", "v0"} {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		if name == "v0" {
			for _, a := range []netip.Prefix{netip.MustParsePrefix("169.254.0.0/31"), netip.MustParsePrefix("169.254.0.2/31"), netip.MustParsePrefix("fdca::/127")} {
				addr := &netlink.Addr{IPNet: &net.IPNet{IP: a.Addr().AsSlice(), Mask: net.CIDRMask(a.Bits(), a.Addr().BitLen())}}
				if a.Addr().Is6() {
					addr.Flags = unix.IFA_F_NODAD
				}
				if err := netlink.AddrAdd(l, addr); err != nil {
					return err
				}
			}
		}
		if err := netlink.LinkSetUp(l); err != nil {
			return err
		}
	}
	return nil
}

func TestTableSetsReplacesAndRemoves(t *testing.T) {
	isolated(t, func() {
		table, err := Open()
		if err != nil {
			t.Error(err)
			return
		}
		defer table.Close()
		four, six, all := netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8:53::/48"), netip.MustParsePrefix("0.0.0.0/0")
		a, b, c := netip.MustParseAddr("169.254.0.1"), netip.MustParseAddr("169.254.0.3"), netip.MustParseAddr("fdca::1")
		steps := []struct {
			prefix netip.Prefix
			hops   []netip.Addr
			want   string
		}{
			{four, []netip.Addr{a}, "192.0.2.0/24 [169.254.0.1]"},
			{four, []netip.Addr{a, b}, "192.0.2.0/24 [169.254.0.1 169.254.0.3]"},
			{six, []netip.Addr{c}, "192.0.2.0/24 [169.254.0.1 169.254.0.3] 2001:db8:53::/48 [fdca::1]"},
			{four, []netip.Addr{b}, "192.0.2.0/24 [169.254.0.3] 2001:db8:53::/48 [fdca::1]"},
			{four, nil, "2001:db8:53::/48 [fdca::1]"},
			{four, nil, "2001:db8:53::/48 [fdca::1]"},
			{all, []netip.Addr{a}, "0.0.0.0/0 [169.254.0.1] 2001:db8:53::/48 [fdca::1]"},
		}
		for _, s := range steps {
			if err := table.Set(s.prefix, s.hops); err != nil {
				t.Error(err)
			}
			if got := show(t, table); got != s.want {
				t.Errorf("%s by %v: %s, want %s", s.prefix, s.hops, got, s.want)
			}
		}
		if err := table.Set(four, []netip.Addr{netip.MustParseAddr("203.0.113.9")}); !errors.Is(err, ErrUnreachable) {
			t.Errorf("a next hop on no link: %v", err)
		}
		again, err := Open()
		if err != nil {
			t.Error(err)
			return
		}
		defer again.Close()
		if got := show(t, again); got != "" {
			t.Errorf("a successor finds %s", got)
		}
	})
}

func show(t *testing.T, table *Table) string {
	t.Helper()
	routes, err := table.Routes()
	if err != nil {
		t.Error(err)
	}
	var words []string
	for p, hops := range routes {
		words = append(words, fmt.Sprint(p, " ", hops))
	}
	slices.Sort(words)
	return strings.Join(words, " ")
}

// A link that loses its carrier takes its routes along and is reported; they are back soon after it is.
func TestSyncFollowsPathsAndLinks(t *testing.T) {
	isolated(t, func() {
		prefix, hop := netip.MustParsePrefix("192.0.2.0/24"), netip.MustParseAddr("169.254.0.1")
		var mu sync.Mutex // guards the following
		paths := []speaker.Best{}
		links := map[string]bool{}
		s, err := New(Options{
			Paths: func(netip.Prefix) ([]speaker.Best, error) {
				mu.Lock()
				defer mu.Unlock()
				return paths, nil
			},
			OnLink: func(l Link) {
				mu.Lock()
				defer mu.Unlock()
				links[l.Name] = l.Up
			},
			Static: map[netip.Prefix]netip.Addr{netip.MustParsePrefix("203.0.113.1/32"): hop},
		})
		if err != nil {
			t.Error(err)
			return
		}
		table, err := Open()
		if err != nil {
			t.Error(err)
			return
		}
		defer table.Close()
		here, err := netlink.LinkByName("v1")
		if err != nil {
			t.Error(err)
			return
		}
		handle, err := netlink.NewHandle()
		if err != nil {
			t.Error(err)
			return
		}
		defer handle.Close()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go drive(t, s, table, handle, here, prefix, hop, func(p []speaker.Best) {
			mu.Lock()
			paths = p
			mu.Unlock()
			s.Changed(prefix)
		}, func(name string) bool {
			mu.Lock()
			defer mu.Unlock()
			return links[name]
		}, cancel)
		if err := s.Run(ctx); err != nil {
			t.Error(err)
		}
		if got := show(t, table); got != "" {
			t.Errorf("left behind: %s", got)
		}
	})
}

// drive changes paths and links and looks at the routes; it ends the run when it is done.
func drive(t *testing.T, s *Sync, table *Table, h *netlink.Handle, far netlink.Link, prefix netip.Prefix, hop netip.Addr,
	set func([]speaker.Best), up func(string) bool, end func(),
) {
	t.Helper()
	defer end()
	const static = "203.0.113.1/32 [169.254.0.1]"
	both := "192.0.2.0/24 [169.254.0.1] " + static
	within := func(what string, ok func() bool) bool {
		for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Errorf("%s: not within 10 s; routes are %s", what, show(t, table))
				return false
			}
		}
		return true
	}
	shows := func(want string) func() bool { return func() bool { return show(t, table) == want } }
	best := speaker.Best{Prefix: prefix, Selected: true, From: hop, NextHop: hop, ASPath: []uint32{64500}}
	ok := within("the fixed route", shows(static))
	set([]speaker.Best{best})
	ok = ok && within("a path", shows(both)) && within("the link is up", func() bool { return up("v0") })
	if err := h.LinkSetDown(far); err != nil {
		t.Error(err)
	}
	ok = ok && within("the carrier is lost", func() bool { return !up("v0") })
	if err := h.LinkSetUp(far); err != nil {
		t.Error(err)
	}
	ok = ok && within("everything is back", func() bool { return up("v0") && show(t, table) == both })
	set(nil)
	_ = ok && within("no path", shows(static))
}
