package local

import (
	"fmt"
	"net/netip"

	"github.com/catchment-net/catchment/topology"
)

// bgpPort is where every speaker of a lab listens, each on an address of its own; it needs no rights.
const bgpPort = 1790

// plan gives every speaker of the lab an address of its block, in file order.
type plan struct {
	runner  netip.Addr
	routers map[string]netip.Addr // by network
	nodes   map[string]netip.Addr // by node
}

func makePlan(b *block, t *topology.Topology) (*plan, error) {
	nodes := t.Nodes()
	if need := 1 + len(t.Internet.Networks) + len(nodes); need > blockHosts {
		return nil, fmt.Errorf("lab %q wants %d addresses (its networks and nodes, and one for the runner); the local runner has %d a lab", t.Name, need, blockHosts)
	}
	p := &plan{runner: b.addr(1), routers: map[string]netip.Addr{}, nodes: map[string]netip.Addr{}}
	next := 2
	for _, n := range t.Internet.Networks {
		p.routers[n.Name] = b.addr(next)
		next++
	}
	for _, n := range nodes {
		p.nodes[n.Name] = b.addr(next)
		next++
	}
	return p, nil
}
