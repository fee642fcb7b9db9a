package containerlab

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/catchment-net/catchment/containerlab/edge"
	"github.com/catchment-net/catchment/labs/layout"
	"github.com/catchment-net/catchment/topology"
)

// The roles of a container: what a group of the topology file, a label and an icon are made of.
type role string

const (
	transit role = "transit" // a network that others buy from
	client  role = "client"  // a network with users
	network role = "network" // another network
	pop     role = "pop"
	beside  role = "edge" // what hangs on a network whose router is FRR
)

// level is a role's height in a graph: containerlab sorts the groups 1 to 10.
func (r role) level() string {
	return map[role]string{transit: "9", network: "7", pop: "5", client: "2", beside: "1"}[r]
}

// icon is a role's picture in TopoViewer.
func (r role) icon() string {
	return map[role]string{transit: "pe", network: "pe", pop: "server", client: "router", beside: "client"}[r]
}

// container is one node of the topology file.
type container struct {
	name    string
	role    role
	frr     bool
	machine *layout.Machine
	beside  *container // whose network namespace it shares; nil for its own
	mgmt    netip.Addr // the zero Addr for one beside another
	at      topology.Place
	plays   bool // what hangs on its network: origins, name servers of others, resolvers
}

// maxContainers have an address each in the management network, from firstHost on.
const (
	firstHost     = 10
	maxContainers = 254 - firstHost
)

// containers lists the lab's, in the order of the layout, each router that is FRR followed by the one that plays what
// hangs on its network.
func containers(p *layout.Plan, o *Options, mgmt netip.Prefix) ([]*container, error) {
	var all []*container
	base := mgmt.Addr().As4()
	for i, m := range p.Machines {
		if i >= maxContainers {
			return nil, fmt.Errorf("lab %q has %d machines; %v has addresses for %d", p.Topology.Name, len(p.Machines), mgmt, maxContainers)
		}
		base[3] = byte(firstHost + i)
		c := &container{name: m.Name, machine: m, mgmt: netip.AddrFrom4(base), role: pop}
		if m.Node != nil {
			c.at = m.Node.POP.At
		} else {
			c.at, c.role = m.Network.At, roleOf(p.Topology, m.Network)
			c.frr = o.Router == FRR || o.Router == "" && m.Software == FRR
		}
		all = append(all, c)
		plays := m.Network != nil && !edge.Empty(edge.Of(p.Topology, m.Name))
		if !c.frr {
			c.plays = plays
		} else if plays && !o.Driven {
			name := m.Name + edgeSuffix
			if p.Machine(name) != nil {
				return nil, fmt.Errorf("what hangs on %q runs in a container %q, and there is a machine of that name; rename it", m.Name, name)
			}
			all = append(all, &container{name: name, machine: m, role: beside, beside: c, at: c.at, plays: true})
		}
	}
	return all, nil
}

// edgeSuffix makes the name of the container beside a network's router.
const edgeSuffix = "-edge"

func roleOf(t *topology.Topology, n *topology.Network) role {
	if n.Users > 0 {
		return client
	}
	sells := func(l *topology.Link) bool { return l.Relation == topology.Transit && l.B == n.Name }
	if slices.ContainsFunc(t.Internet.Links, sells) {
		return transit
	}
	return network
}
