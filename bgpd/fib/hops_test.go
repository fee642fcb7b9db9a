package fib

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/catchment-net/catchment/bgpd/speaker"
)

func TestHops(t *testing.T) {
	path := func(hop string, edit ...func(*speaker.Best)) speaker.Best {
		b := speaker.Best{
			From: netip.MustParseAddr("198.18.0.1"), NextHop: netip.MustParseAddr(hop), LocalPref: 300, ASPath: []uint32{64500},
			LargeCommunities: [][3]uint32{{64500, 1, 2}},
		}
		for _, e := range edit {
			e(&b)
		}
		return b
	}
	best := func(b *speaker.Best) { b.Selected = true }
	for _, tt := range []struct {
		name  string
		paths []speaker.Best
		want  string
	}{
		{"no path", nil, ""},
		{"our own prefix", []speaker.Best{path("169.254.0.1", best, func(b *speaker.Best) { b.From = netip.Addr{} })}, ""},
		{"one path", []speaker.Best{path("169.254.0.1", best)}, "169.254.0.1"},
		{"two nodes of one POP", []speaker.Best{path("169.254.0.3", best), path("169.254.0.1")}, "169.254.0.1 169.254.0.3"},
		{"two POPs", []speaker.Best{path("169.254.0.1", best), path("169.254.0.3", func(b *speaker.Best) { b.LargeCommunities = [][3]uint32{{64500, 1, 3}} })}, "169.254.0.1"},
		{"no marks: never two", []speaker.Best{
			path("169.254.0.1", best, func(b *speaker.Best) { b.LargeCommunities = nil }), path("169.254.0.3", func(b *speaker.Best) { b.LargeCommunities = nil }),
		}, "169.254.0.1"},
		{"a longer path", []speaker.Best{path("169.254.0.1", best), path("169.254.0.3", func(b *speaker.Best) { b.ASPath = []uint32{64500, 64500} })}, "169.254.0.1"},
		{"a draining node", []speaker.Best{path("169.254.0.1", best), path("169.254.0.3", func(b *speaker.Best) { b.LocalPref = 1 })}, "169.254.0.1"},
		{"another MED", []speaker.Best{path("169.254.0.1", best), path("169.254.0.3", func(b *speaker.Best) { b.MED = 7 })}, "169.254.0.1"},
	} {
		var want []netip.Addr
		for s := range strings.FieldsSeq(tt.want) {
			want = append(want, netip.MustParseAddr(s))
		}
		if got := Hops(tt.paths); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", tt.name, got, want)
		}
	}
}
