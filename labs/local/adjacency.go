package local

import (
	"net/netip"

	"github.com/catchment-net/catchment/labs"
	"github.com/catchment-net/catchment/labs/router"
	"github.com/catchment-net/catchment/topology"
)

// end is one speaker at one end of a link: a network's router, or one node of a POP.
type end struct {
	name string // of the router or the node
	asn  uint32
}

// ends lists the speakers at a link's end: a POP's nodes each hold a session of their own.
func ends(t *topology.Topology, name string) []end {
	if p := t.POP(name); p != nil {
		var all []end
		for _, n := range p.Nodes {
			all = append(all, end{n.Name, t.ASN})
		}
		return all
	}
	n := t.Network(name)
	return []end{{n.Name, n.ASN}}
}

// routerNeighbors derives what a network's router speaks to from the links that touch it.
func routerNeighbors(t *topology.Topology, p *plan, network string) []router.Neighbor {
	var all []router.Neighbor
	for _, l := range t.Internet.Links {
		var far string
		var relation router.Relation
		prepend := 0
		switch {
		case l.A == network && l.Relation == topology.Transit:
			far, relation, prepend = l.B, router.Provider, l.Prepend
		case l.B == network && l.Relation == topology.Transit:
			far, relation = l.A, router.Customer
		case l.A == network:
			far, relation, prepend = l.B, router.Peer, l.Prepend
		case l.B == network:
			far, relation = l.A, router.Peer
		default:
			continue
		}
		for _, e := range ends(t, far) {
			all = append(all, router.Neighbor{Name: e.name, ASN: e.asn, Addr: p.addr(e.name), Relation: relation, Prepend: prepend})
		}
	}
	return all
}

// nodeNeighbors derives the routers that a node speaks to.
func nodeNeighbors(t *topology.Topology, p *plan, node *topology.Node) []labs.NeighborOnHost {
	var all []labs.NeighborOnHost
	for _, l := range t.Internet.Links {
		var far string
		var prepend int
		switch node.POP.Name {
		case l.A:
			far, prepend = l.B, l.Prepend
		case l.B:
			far = l.A
		default:
			continue
		}
		for _, e := range ends(t, far) {
			all = append(all, labs.NeighborOnHost{Name: e.name, Address: p.addr(e.name), ASN: e.asn, Local: p.nodes[node.Name], Prepend: prepend})
		}
	}
	return all
}

// addr is the address of a router or a node on the host.
func (p *plan) addr(name string) netip.Addr {
	if a, ok := p.routers[name]; ok {
		return a
	}
	return p.nodes[name]
}
