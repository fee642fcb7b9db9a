package steer

import (
	"fmt"
	"net/netip"

	"github.com/miekg/dns"

	"github.com/catchment-net/catchment/health"
	"github.com/catchment-net/catchment/site"
	"github.com/catchment-net/catchment/topology"
)

// candidate is a POP or a target that a host may be steered to.
type candidate struct {
	name    string
	at      topology.Place
	placed  bool     // at is known
	regions []string // continents or countries that it is meant for
	weight  float64  // above 0

	pop   *topology.POP // nil for a target
	addrs []netip.Addr  // of a target
	cname string        // of a target, with its final dot
}

func (p *Policy) addPOPs(pops []*topology.POP) {
	equal := false // without a capacity for each, all weigh the same
	for _, pop := range pops {
		equal = equal || pop.Capacity <= 0
	}
	for _, pop := range pops {
		c := candidate{name: pop.Name, at: pop.At, placed: true, pop: pop, weight: pop.Capacity}
		if equal {
			c.weight = 1
		}
		p.list = append(p.list, c)
	}
}

// addTargets takes the host's own targets. One of weight 0 is taken out, whatever the way of steering.
func (p *Policy) addTargets() error {
	for _, t := range p.host.Targets {
		if t.Weight == 0 {
			continue
		}
		c := candidate{name: t.Name, regions: t.Regions, weight: float64(t.Weight), addrs: t.Addresses}
		if t.CNAME != "" {
			c.cname = dns.CanonicalName(t.CNAME)
		}
		if t.At != "" {
			if c.at, c.placed = topology.City(t.At); !c.placed {
				return fmt.Errorf("host %q: target %q is at %q, which is no city we know; want an IATA code", p.host.Name, t.Name, t.At)
			}
		}
		p.list = append(p.list, c)
	}
	if len(p.list) == 0 {
		return fmt.Errorf("host %q: every target has weight 0; want one above", p.host.Name)
	}
	return nil
}

// HasCNAME reports whether some clients get a CNAME, which must not stand at the top of a zone.
func (p *Policy) HasCNAME() bool {
	for _, c := range p.list {
		if c.cname != "" {
			return true
		}
	}
	return false
}

// Host is the host that the policy was compiled from.
func (p *Policy) Host() *site.Host { return p.host }

// can reports whether the candidate has an answer for the family, whatever its health.
func (c *candidate) can(family int) bool {
	if c.cname != "" {
		return true
	}
	if c.pop == nil {
		return len(ofFamily(c.addrs, family)) > 0
	}
	for _, n := range c.pop.Nodes {
		if len(ofFamily(n.Addrs, family)) > 0 {
			return true
		}
	}
	return false
}

// answer gives the addresses of a target, or those of a POP's nodes that take clients: the ones that say so themselves,
// else the ones of which nothing bad is known, else all.
func (c *candidate) answer(family int, v *health.View) ([]netip.Addr, string) {
	if c.pop == nil {
		if c.cname != "" {
			return nil, c.cname
		}
		return ofFamily(c.addrs, family), ""
	}
	var heard, usable, all []netip.Addr
	for _, n := range c.pop.Nodes {
		a := ofFamily(n.Addrs, family)
		all = append(all, a...)
		if !nodeUsable(v, n.Name) {
			continue
		}
		usable = append(usable, a...)
		if nodeHeard(v, n.Name) {
			heard = append(heard, a...)
		}
	}
	switch {
	case len(heard) > 0:
		return heard, ""
	case len(usable) > 0:
		return usable, ""
	}
	return all, ""
}

// nodeUsable reports whether a node takes web clients; one of which nothing is known does.
func nodeUsable(v *health.View, node string) bool {
	if v == nil || keepsDead() {
		return true
	}
	n := v.Nodes[node]
	return !n.Draining && n.Services[health.Web].State.Usable()
}

// nodeHeard reports whether a node's own word on its web service counts. One that is dead says nothing any more, while
// its last word was that it is well.
func nodeHeard(v *health.View, node string) bool {
	if v == nil || keepsDead() {
		return true
	}
	n := v.Nodes[node]
	return n.Heard && n.Services[health.Web].State != health.Unknown
}

// state is what health says of the candidate's web service. Of a customer's own targets it says nothing yet.
func (c *candidate) state(v *health.View) health.State {
	if c.pop == nil {
		return health.Unknown
	}
	return v.State(c.name, health.Web)
}

func (c *candidate) usable(v *health.View) bool {
	return c.state(v).Usable() || keepsDead()
}

// Own reports whether the host steers among targets of the customer's own, not among our POPs.
func (p *Policy) Own() bool { return len(p.host.Targets) > 0 }
