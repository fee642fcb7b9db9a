package router

import (
	"net/netip"
	"testing"

	"pgregory.net/rapid"
)

func TestLookupTakesTheLongestPrefix(t *testing.T) {
	best := map[netip.Prefix]route{}
	for p, via := range map[string]string{
		"0.0.0.0/0": "default", "192.0.2.0/24": "arc", "192.0.2.128/25": "bolt", "198.51.100.0/24": "", "2001:db8:53::/48": "six",
	} {
		best[netip.MustParsePrefix(p)] = route{netip.MustParsePrefix(p), via}
	}
	table := newTable(best)
	for _, test := range []struct {
		addr, via, prefix string
	}{
		{"192.0.2.1", "arc", "192.0.2.0/24"},
		{"192.0.2.200", "bolt", "192.0.2.128/25"},
		{"198.51.100.7", "", "198.51.100.0/24"},
		{"203.0.113.9", "default", "0.0.0.0/0"},
		{"2001:db8:53::80", "six", "2001:db8:53::/48"},
	} {
		via, prefix, ok := table.lookup(netip.MustParseAddr(test.addr))
		if !ok || via != test.via || prefix.String() != test.prefix {
			t.Errorf("%s: got %q, %v, %v, want %q, %s", test.addr, via, prefix, ok, test.via, test.prefix)
		}
	}
	if via, prefix, ok := table.lookup(netip.MustParseAddr("2001:db8:54::1")); ok {
		t.Errorf("an address without a route leads to %q by %v", via, prefix)
	}
}

func TestLookupAgreesWithASearch(t *testing.T) {
	draw := func(t *rapid.T, name string) netip.Addr {
		size := rapid.SampledFrom([]int{4, 16}).Draw(t, name+" size")
		a, _ := netip.AddrFromSlice(rapid.SliceOfN(rapid.ByteRange(0, 3), size, size).Draw(t, name))
		return a.Unmap()
	}
	rapid.Check(t, func(t *rapid.T) {
		best := map[netip.Prefix]route{}
		for range rapid.IntRange(0, 12).Draw(t, "routes") {
			a := draw(t, "prefix")
			p, _ := a.Prefix(rapid.IntRange(0, a.BitLen()).Draw(t, "bits"))
			best[p] = route{p, p.String()}
		}
		addr := draw(t, "addr")
		var want netip.Prefix
		for p := range best {
			if p.Contains(addr) && (!want.IsValid() || p.Bits() > want.Bits()) {
				want = p
			}
		}
		via, got, ok := newTable(best).lookup(addr)
		if ok != want.IsValid() || got != want || ok && via != want.String() {
			t.Fatalf("%v: got %q, %v, %v, want %v", addr, via, got, ok, want)
		}
	})
}
