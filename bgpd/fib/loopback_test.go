//go:build linux

package fib

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// onLo lists the addresses of lo but its own.
func onLo(t *testing.T) string {
	t.Helper()
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	all, err := lo.Addrs()
	if err != nil {
		t.Fatal(err)
	}
	var words []string
	for _, a := range all {
		if p := netip.MustParsePrefix(a.String()); !p.Addr().IsLoopback() {
			words = append(words, p.String())
		}
	}
	slices.Sort(words)
	return strings.Join(words, " ")
}

func TestLoopbackKeepsWhatIsNotItsOwn(t *testing.T) {
	isolated(t, func() {
		four, six, there := netip.MustParseAddr("192.0.2.53"), netip.MustParseAddr("2001:db8:53::53"), netip.MustParseAddr("192.0.2.80")
		before, err := OpenLoopback()
		if err != nil {
			t.Fatal(err)
		}
		defer before.Close()
		if err := before.Add(there); err != nil {
			t.Fatal(err)
		}
		l, err := OpenLoopback()
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		for _, step := range []struct {
			do   func(netip.Addr) error
			addr netip.Addr
			want string
		}{
			{l.Add, four, "192.0.2.53/32 192.0.2.80/32"},
			{l.Add, six, "192.0.2.53/32 192.0.2.80/32 2001:db8:53::53/128"},
			{l.Add, six, "192.0.2.53/32 192.0.2.80/32 2001:db8:53::53/128"},
			{l.Add, there, "192.0.2.53/32 192.0.2.80/32 2001:db8:53::53/128"},
			{l.Remove, there, "192.0.2.53/32 192.0.2.80/32 2001:db8:53::53/128"}, // an administrator's
			{l.Remove, four, "192.0.2.80/32 2001:db8:53::53/128"},
			{l.Remove, four, "192.0.2.80/32 2001:db8:53::53/128"},
			{l.Add, four, "192.0.2.53/32 192.0.2.80/32 2001:db8:53::53/128"},
			{before.Remove, there, "192.0.2.53/32 2001:db8:53::53/128"},
			{l.Remove, six, "192.0.2.53/32"},
		} {
			if err := step.do(step.addr); err != nil {
				t.Error(err)
			}
			if got := onLo(t); got != step.want {
				t.Errorf("%v: lo has %q, want %q", step.addr, got, step.want)
			}
		}
	})
}
