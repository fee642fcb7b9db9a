package announce

import (
	"net/netip"
	"testing"

	"github.com/catchment-net/catchment/health"
)

// BenchmarkDecide1000 is a decision on 1000 prefixes, each with an address of a service, as a speaker from flags makes it
// and as a node of a fleet does.
func BenchmarkDecide1000(b *testing.B) {
	for _, alone := range []bool{true, false} {
		name := "fleet"
		if alone {
			name = "alone"
		}
		b.Run(name, func(b *testing.B) {
			topo := network()
			topo.Anycast.Prefixes, topo.Anycast.DNS, topo.Anycast.Web = nil, nil, nil
			for i := range 1000 {
				p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 0}), 24)
				topo.Anycast.Prefixes = append(topo.Anycast.Prefixes, p)
				topo.Anycast.Web = append(topo.Anycast.Web, p.Addr())
			}
			in := Input{Topology: topo, Node: topo.Node("ams1"), View: fleet(topo, epoch), Now: epoch, Ledger: settled(topo, "ams1"), Alone: alone}
			alter(in.View, "ams1", func(n *health.NodeView) { n.Services = both(health.Down, health.Soft) })
			for b.Loop() {
				Decide(in)
			}
		})
	}
}
