package steer

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/miekg/dns"

	"github.com/catchment-net/catchment/site"
	"github.com/catchment-net/catchment/topology"
)

// candidate is a POP or a target that a host may be steered to. Its number is the POP's index in the topology, or the
// target's place in the file: Health knows it by that.
type candidate struct {
	name   string
	where  Place
	weight float64 // 0: not used by this host
	seed   uint64  // of its name, for hashing

	addrs [families][]netip.Addr // of a target, or of all nodes of a POP
	cname string                 // of a target, with its final dot
}

// families are IPv4 and IPv6, in this order; index is the number of one of them (6, else 4) in arrays of both.
const families = 2

func index(family int) int {
	if family == 6 {
		return 1
	}
	return 0
}

// addPOPs makes a candidate of each POP, so that a POP's number is the same for all hosts; those that the host does not
// name have no weight.
func (p *Policy) addPOPs(t *topology.Topology) error {
	for _, share := range p.host.POPs {
		if t.POP(share.Name) == nil {
			return fmt.Errorf("host %q: steered to POP %q, which is not in the topology", p.host.Name, share.Name)
		}
	}
	weights := popWeights(p.host, t.POPs)
	for i, pop := range t.POPs {
		c := candidate{name: pop.Name, where: Place{At: pop.At, Placed: true}, weight: weights[i], seed: seedOf(pop.Name)}
		for _, n := range pop.Nodes {
			c.addAddrs(n.Addrs)
		}
		p.list = append(p.list, c)
	}
	return nil
}

// popWeights are the POPs' shares: those that the host names, else their capacities, and where one has none, all alike.
func popWeights(h *site.Host, pops []*topology.POP) []float64 {
	weights := make([]float64, len(pops))
	equal := slices.ContainsFunc(pops, func(p *topology.POP) bool { return p.Capacity <= 0 })
	for i, pop := range pops {
		if weights[i] = pop.Capacity; equal {
			weights[i] = 1
		}
		if h.POPs == nil {
			continue
		}
		n := slices.IndexFunc(h.POPs, func(s site.Share) bool { return s.Name == pop.Name })
		switch {
		case n < 0:
			weights[i] = 0
		case h.POPs[n].Weight >= 0:
			weights[i] = float64(h.POPs[n].Weight)
		}
	}
	return weights
}

// addTargets takes the host's own targets. One of weight 0 is taken out, whatever the way of steering.
func (p *Policy) addTargets() error {
	used := false
	for _, t := range p.host.Targets {
		c := candidate{name: t.Name, where: Place{Regions: t.Regions}, weight: float64(t.Weight), seed: seedOf(t.Name)}
		c.addAddrs(t.Addresses)
		if t.CNAME != "" {
			c.cname = dns.CanonicalName(t.CNAME)
		}
		if t.At != "" {
			if c.where.At, c.where.Placed = topology.City(t.At); !c.where.Placed {
				return fmt.Errorf("host %q: target %q is at %q, which is no city we know; want an IATA code", p.host.Name, t.Name, t.At)
			}
		}
		used = used || t.Weight > 0
		p.list = append(p.list, c)
		p.checks = append(p.checks, checksOf(p.host, t))
	}
	if !used {
		return fmt.Errorf("host %q: every target has weight 0; want one above", p.host.Name)
	}
	return nil
}

// checksOf are the names of a target's checks, by address; the zero Addr stands for a CNAME.
func checksOf(h *site.Host, t *site.Target) map[netip.Addr]string {
	if t.Probe == "" {
		return nil
	}
	ids := map[netip.Addr]string{}
	if t.CNAME != "" {
		ids[netip.Addr{}] = h.CheckID(t, netip.Addr{})
	}
	for _, a := range t.Addresses {
		ids[a] = h.CheckID(t, a)
	}
	return ids
}

func (c *candidate) addAddrs(addrs []netip.Addr) {
	for _, a := range addrs {
		f := 1
		if a.Is4() {
			f = 0
		}
		c.addrs[f] = append(c.addrs[f], a)
	}
}

// can reports whether the candidate has an answer for the family, whatever its health.
func (c *candidate) can(f int) bool { return c.weight > 0 && (c.cname != "" || len(c.addrs[f]) > 0) }

// HasCNAME reports whether some clients get a CNAME, which must not stand at the top of a zone.
func (p *Policy) HasCNAME() bool {
	return slices.ContainsFunc(p.list, func(c candidate) bool { return c.cname != "" && c.weight > 0 })
}

// Serves reports whether some candidate has an answer for the family: what is not answered then is so for a while only.
func (p *Policy) Serves(family int) bool { return p.able[index(family)] != mask{} }

// Host is the host that the policy was compiled from. It must not be changed.
func (p *Policy) Host() *site.Host { return p.host }

// TTL is that of the host's records, in seconds.
func (p *Policy) TTL() uint32 { return p.ttl }

// Own reports whether the host steers among targets of the customer's own, not among our POPs.
func (p *Policy) Own() bool { return len(p.host.Targets) > 0 }
