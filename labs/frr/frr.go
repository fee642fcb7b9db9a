// Package frr writes the configuration of a network's router that is FRR. It starts nothing: a runner starts FRR, in a
// namespace or in a container.
//
//	layout.Machine ──► frr.conf ──► zebra, bgpd, bfdd ── BGP ──► labs/collector
package frr

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/catchment-net/catchment/labs/layout"
	"github.com/catchment-net/catchment/topology"
)

// Options says how a router's configuration is written. Machine is required.
type Options struct {
	Machine *layout.Machine
	// Collector is the address of the neighbour that hears everything and says nothing; the zero Addr means none.
	Collector netip.Addr
	// CollectorDials says that the collector connects; else the router does.
	CollectorDials bool
}

// printer takes lines.
type printer struct{ strings.Builder }

func (p *printer) line(format string, args ...any) { fmt.Fprintf(p, format+"\n", args...) }

// Conf is a whole frr.conf, for a router that gives its machine its addresses and routes itself.
func Conf(o Options) string {
	var p printer
	p.head(o.Machine)
	p.line("service integrated-vtysh-config\nip forwarding\nipv6 forwarding\n!")
	p.kernel(o.Machine)
	p.profiles(o.Machine)
	newRouter(o).write(&p)
	p.line("end")
	return p.String()
}

// ZebraConf is the part of zebra alone, for a machine whose addresses and routes are somebody else's work.
func ZebraConf(o Options) string {
	var p printer
	p.head(o.Machine)
	p.line("ip forwarding\nipv6 forwarding\nend")
	return p.String()
}

// BGPConf is the part of bgpd alone.
func BGPConf(o Options) string {
	var p printer
	p.head(o.Machine)
	newRouter(o).write(&p)
	p.line("end")
	return p.String()
}

// BFDConf is the part of bfdd alone; "" for a machine none of whose paths is watched.
func BFDConf(o Options) string {
	if !Watched(o.Machine) {
		return ""
	}
	var p printer
	p.head(o.Machine)
	p.profiles(o.Machine)
	p.line("end")
	return p.String()
}

// Watched reports whether a machine needs bfdd.
func Watched(m *layout.Machine) bool {
	return slices.ContainsFunc(m.Interfaces, func(i *layout.Interface) bool { return i.BFD != 0 })
}

// profiles writes each interval that is in use, once. FRR counts in milliseconds.
func (p *printer) profiles(m *layout.Machine) {
	var written []time.Duration
	for _, i := range m.Interfaces {
		if i.BFD == 0 || slices.Contains(written, i.BFD) {
			continue
		}
		if written == nil {
			p.line("bfd")
		}
		written = append(written, i.BFD)
		every := i.BFD.Milliseconds()
		p.line(" profile %s\n  detect-multiplier 3\n  transmit-interval %d\n  receive-interval %d\n exit", profile(i.BFD), every, every)
	}
	if written != nil {
		p.line("exit\n!")
	}
}

func profile(every time.Duration) string { return fmt.Sprintf("every-%d-ms", every.Milliseconds()) }

func (p *printer) head(m *layout.Machine) {
	p.line("! %s, AS %d. Written from the lab's topology.yaml; edit that instead.", m.Name, m.ASN)
	p.line("frr defaults datacenter")
	p.line("hostname %s", m.Name)
}

// kernel is what the machine is given besides BGP's routes.
func (p *printer) kernel(m *layout.Machine) {
	p.line("interface lo")
	for _, a := range m.Own {
		p.line(" %s address %s", ip(a), netip.PrefixFrom(a, a.BitLen()))
	}
	p.line("exit\n!")
	for _, i := range m.Interfaces {
		p.line("interface %s\n description %s", i.Name, i.Peer.Machine.Name)
		for _, a := range i.Addrs() {
			p.line(" %s address %s", ip(a.Addr()), a)
		}
		p.line("exit\n!")
	}
	for _, n := range m.Prefixes { // what no machine holds ends here instead of going in circles
		p.line("%s route %s blackhole 250", ip(n.Addr()), n)
	}
	for _, h := range m.Hosts() {
		p.line("%s route %s %s", ip(h.Via), h.Prefix, h.Via)
	}
	p.line("!")
}

func ip(a netip.Addr) string {
	if a.Is4() {
		return "ip"
	}
	return "ipv6"
}

// places ranks the POPs that a router is linked with by the least router id among their nodes, from 1: the tie breaker
// that our own routers use.
func places(m *layout.Machine) map[*topology.Node]int {
	least := map[*topology.POP]netip.Addr{}
	var pops []*topology.POP
	for _, i := range m.Interfaces {
		n := i.Peer.Machine.Node
		if n == nil {
			continue
		}
		if id, seen := least[n.POP]; !seen || n.RouterID.Less(id) {
			least[n.POP] = n.RouterID
		}
		if !slices.Contains(pops, n.POP) {
			pops = append(pops, n.POP)
		}
	}
	slices.SortFunc(pops, func(a, b *topology.POP) int { return least[a].Compare(least[b]) })
	ranks := map[*topology.Node]int{}
	for rank, p := range pops {
		for _, n := range p.Nodes {
			ranks[n] = rank + 1
		}
	}
	return ranks
}
