package fib

import (
	"net/netip"
	"slices"

	"github.com/catchment-net/catchment/bgpd/speaker"
)

// Hops are the next hops of a prefix's route: the best path's, and those of the paths that are equal to it up to the
// neighbour's address and lead to the same place. None for a prefix of our own or without a path.
//
// Same place: the same AS path, and where the origin marks its POPs (large community ASN:1:INDEX), the same POP. So the
// nodes of one POP share its load (ECMP), and two POPs never do: a client lands at one of them.
func Hops(paths []speaker.Best) []netip.Addr {
	i := slices.IndexFunc(paths, func(p speaker.Best) bool { return p.Selected })
	if i < 0 || !paths[i].From.IsValid() {
		return nil
	}
	best := paths[i]
	hops := []netip.Addr{best.NextHop}
	for j, p := range paths {
		if j != i && p.From.IsValid() && p.LocalPref == best.LocalPref && p.MED == best.MED && slices.Equal(p.ASPath, best.ASPath) &&
			place(p) >= 0 && place(p) == place(best) {
			hops = append(hops, p.NextHop)
		}
	}
	slices.SortFunc(hops, netip.Addr.Compare)
	return slices.Compact(hops)
}

// place is the number of the POP that originated a path, or -1.
func place(p speaker.Best) int {
	if len(p.ASPath) == 0 {
		return -1
	}
	for _, c := range p.LargeCommunities {
		if c[0] == p.ASPath[len(p.ASPath)-1] && c[1] == 1 {
			return int(c[2])
		}
	}
	return -1
}
