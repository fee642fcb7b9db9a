package router

import (
	"net/netip"

	"github.com/catchment-net/catchment/labs"
	"github.com/catchment-net/catchment/labs/layout"
)

// SurroundingsOf are a node's neighbours over its cables.
func SurroundingsOf(m *layout.Machine) *labs.Surroundings {
	s := &labs.Surroundings{Kernel: true}
	for _, i := range m.Interfaces {
		far := i.Peer.Machine
		s.BGPListen = append(s.BGPListen, netip.AddrPortFrom(i.V4, bgpPort))
		s.Neighbors = append(s.Neighbors, labs.NeighborOnHost{
			Name: far.Name, Address: i.Peer.V4, ASN: far.ASN, Local: i.V4, Local6: i.V6, Relation: string(i.Relation), Prepend: i.Prepend, BFD: i.BFD,
		})
	}
	return s
}
