// Package layout derives from a topology the machines and cables of a lab that has real ones: which machine there is, how
// its interfaces and addresses are called, who speaks BGP to whom. Runners in network namespaces and in containers build
// the same layout, so that what an engineer learns in one holds in the other.
//
//	ams1 eth1 ─── 169.254.0.0/31, fdca:c47c:1ab::/127 ─── eth1 arc
//
// A machine is one node of a POP, or the router of a network with the network's clients and origins on it. Link
// addresses lie in 169.254.0.0/16 and fdca:c47c:1ab::/64, which no topology can use or is likely to.
package layout

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/catchment-net/catchment/topology"
)

// Plan is a lab's machines and wires. It is immutable.
type Plan struct {
	Topology *topology.Topology
	Machines []*Machine // the nodes in file order, then the networks
	Wires    []*Wire    // in the order of the topology's links, one for each node where a POP has several
}

// Machine is one host of the lab.
type Machine struct {
	Name     string            // of the node or the network
	Node     *topology.Node    // nil for a network's router
	Network  *topology.Network // nil for a node
	ASN      uint32
	RouterID netip.Addr
	Software string // of a network's router: "ours", "frr" or "bird"; "" for a node

	// Own are the addresses on the loopback interface: a node's unicast ones and the anycast ones; the first host of
	// a network's prefixes, and those of its origins, name servers and resolvers.
	Own []netip.Addr
	// Clients are those of Own that a network's clients come from.
	Clients []netip.Addr
	// Prefixes are what a network's router originates.
	Prefixes []netip.Prefix
	// Interfaces are eth1, eth2, … in the order of the wires.
	Interfaces []*Interface
}

// Interface is one end of a wire.
type Interface struct {
	Name    string // eth1, …
	Machine *Machine
	Wire    *Wire
	V4, V6  netip.Addr // a /31 and a /127 with the other end's
	Peer    *Interface

	Relation Relation      // what the machine at the other end is to this one
	Prepend  int           // how often this end adds its ASN towards the other
	BFD      time.Duration // both ends watch the path between V4 and the peer's; 0 means that nobody does
	Default  bool          // this end announces a default route to the other: it sells a POP transit, or is all that the POP has
}

// Relation says what a neighbour is to a machine.
type Relation string

// The relations.
const (
	Customer Relation = "customer"
	Peer     Relation = "peer"
	Provider Relation = "provider"
	Internal Relation = "internal" // another router of the same AS: they speak iBGP
)

// Wire is one cable.
type Wire struct {
	Index int
	Link  *topology.Link // the properties are the link's; several wires share one where a POP has several nodes
	A, B  *Interface     // on the link's end A and B
}

// maxWires is how many /31 there are in 169.254.0.0/16, less the last.
const maxWires = 1<<15 - 1

// New derives the plan. The error says what does not fit.
func New(t *topology.Topology) (*Plan, error) {
	p := &Plan{Topology: t}
	for _, n := range t.Nodes() {
		p.Machines = append(p.Machines, &Machine{
			Name: n.Name, Node: n, ASN: t.ASN, RouterID: n.RouterID, Own: slices.Concat(n.Addrs, t.Anycast.DNS, t.Anycast.Web),
		})
	}
	for i, n := range t.Internet.Networks {
		m := &Machine{Name: n.Name, Network: n, ASN: n.ASN, RouterID: routerID(i), Software: n.Router, Clients: firstHosts(n.Prefixes), Prefixes: slices.Clone(n.Prefixes)}
		m.Own = slices.Clone(m.Clients)
		for _, o := range t.Internet.Origins {
			if o.In == n {
				m.Own = append(m.Own, o.Addrs...)
				m.Prefixes = append(m.Prefixes, o.Prefixes...)
			}
		}
		for _, s := range t.Internet.NameServers {
			if s.In == n {
				m.Own = append(m.Own, s.Addrs...)
				m.Prefixes = append(m.Prefixes, s.Prefixes...)
			}
		}
		for _, r := range t.Internet.Resolvers {
			if r.In == n {
				m.Own = append(m.Own, r.Addrs...)
			}
		}
		p.Machines = append(p.Machines, m)
	}
	for _, l := range t.Internet.Links {
		for _, a := range p.ends(l.A) {
			for _, b := range p.ends(l.B) {
				p.wire(l, a, b)
			}
		}
	}
	for _, m := range p.Machines {
		m.wayOut()
	}
	if len(p.Wires) > maxWires {
		return nil, fmt.Errorf("lab %q has %d cables; 169.254.0.0/16 has addresses for %d", t.Name, len(p.Wires), maxWires)
	}
	return p, nil
}

// routerID is that of network i, from 10.0.0.0/8: a BGP identifier is a number and no address that anything reaches
// (RFC 6286).
func routerID(i int) netip.Addr {
	i++
	return netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
}

// ends are the machines at a link's end.
func (p *Plan) ends(name string) []*Machine {
	var all []*Machine
	for _, m := range p.Machines {
		if m.Network != nil && m.Name == name || m.Node != nil && m.Node.POP.Name == name {
			all = append(all, m)
		}
	}
	return all
}

func (p *Plan) wire(l *topology.Link, a, b *Machine) {
	w := &Wire{Index: len(p.Wires), Link: l}
	w.A, w.B = a.plug(w, 0), b.plug(w, 1)
	w.A.Peer, w.B.Peer = w.B, w.A
	w.A.Relation, w.B.Relation = Peer, Peer
	if l.Relation == topology.Transit {
		w.A.Relation, w.B.Relation = Provider, Customer
		w.B.Default = a.Node != nil
	}
	if a.ASN == b.ASN {
		w.A.Relation, w.B.Relation = Internal, Internal
	}
	w.A.Prepend = l.Prepend
	w.A.BFD, w.B.BFD = l.BFD, l.BFD
	p.Wires = append(p.Wires, w)
}

// wayOut has the peers of a node announce a default route to it where nobody sells it transit. Without one it could not
// reach the other POPs: it refuses their prefixes, whose paths hold its own ASN.
func (m *Machine) wayOut() {
	if m.Node == nil || slices.ContainsFunc(m.Interfaces, func(i *Interface) bool { return i.Relation == Provider }) {
		return
	}
	for _, i := range m.Interfaces {
		i.Peer.Default = true
	}
}

// plug adds an interface to a machine, with the address of one end of the wire.
func (m *Machine) plug(w *Wire, end int) *Interface {
	n := 2*w.Index + end
	six := [16]byte{0: 0xfd, 1: 0xca, 2: 0xc4, 3: 0x7c, 4: 0x01, 5: 0xab, 14: byte(n >> 8), 15: byte(n)}
	i := &Interface{
		Name: fmt.Sprintf("eth%d", len(m.Interfaces)+1), Machine: m, Wire: w,
		V4: netip.AddrFrom4([4]byte{169, 254, byte(n >> 8), byte(n)}), V6: netip.AddrFrom16(six),
	}
	m.Interfaces = append(m.Interfaces, i)
	return i
}

// firstHosts are host 1 of the first prefix of each family: where a network's clients are.
func firstHosts(prefixes []netip.Prefix) []netip.Addr {
	var four, six netip.Addr
	for _, p := range prefixes {
		a := p.Masked().Addr()
		if p.Bits() < a.BitLen() {
			a = a.Next()
		}
		if a.Is4() && !four.IsValid() {
			four = a
		}
		if a.Is6() && !six.IsValid() {
			six = a
		}
	}
	return slices.DeleteFunc([]netip.Addr{four, six}, func(a netip.Addr) bool { return !a.IsValid() })
}

// Route makes all networks' routers the given software, whatever the topology says. Call it before anybody else has the
// plan.
func (p *Plan) Route(software string) {
	for _, m := range p.Machines {
		if m.Network != nil {
			m.Software = software
		}
	}
}

// Machine returns the machine of that name, or nil.
func (p *Plan) Machine(name string) *Machine {
	for _, m := range p.Machines {
		if m.Name == name {
			return m
		}
	}
	return nil
}

// OfLink are the wires of a link.
func (p *Plan) OfLink(l *topology.Link) []*Wire {
	return slices.DeleteFunc(slices.Clone(p.Wires), func(w *Wire) bool { return w.Link != l })
}

// Hosts are the host routes that a machine needs beside BGP's: each node's own addresses over its wire, so that the nodes
// of one POP are told apart where the POP's prefix alone would lead to any of them.
func (m *Machine) Hosts() []Host {
	var all []Host
	for _, i := range m.Interfaces {
		if n := i.Peer.Machine.Node; n != nil {
			for _, a := range n.Addrs {
				all = append(all, Host{Prefix: netip.PrefixFrom(a, a.BitLen()), Via: i.Peer.addr(a.Is4())})
			}
		}
	}
	return all
}

// Host is a static route to one host.
type Host struct {
	Prefix netip.Prefix
	Via    netip.Addr
}

func (i *Interface) addr(four bool) netip.Addr {
	if four {
		return i.V4
	}
	return i.V6
}

// Addrs are the interface's addresses with their lengths.
func (i *Interface) Addrs() []netip.Prefix {
	return []netip.Prefix{netip.PrefixFrom(i.V4, 31), netip.PrefixFrom(i.V6, 127)}
}
