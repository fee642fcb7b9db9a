package steer

import (
	"net/netip"
	"slices"

	"github.com/catchment-net/catchment/health"
	"github.com/catchment-net/catchment/internal/fault"
	"github.com/catchment-net/catchment/topology"
)

// Health is what steering needs of a health.View, made once for each: who may be answered, with how much of his load and
// which of his addresses. It is immutable and safe for concurrent use.
type Health struct {
	view    *health.View
	pops    standing
	targets []*standing // by Policy.number of hosts with targets of their own; nil: all are well
	empty   bool        // planted: no answer while anything is down
}

// standing is the health of the candidates of a host, by their numbers.
type standing struct {
	usable  [families]mask
	partial mask     // usable, but not with their whole load
	shares  []uint16 // of the load that they can bear, of whole; valid where partial says so
	addrs   [families][][]netip.Addr
}

// Health makes the Health of a View, which may be nil: then all are well. If nothing has changed since old (nil: there is
// none), which must be of this Compiler, old itself comes back, so that what hangs on it stays.
func (c *Compiler) Health(v *health.View, old *Health) *Health {
	h := &Health{view: v, targets: make([]*standing, len(c.own))}
	if c.topo != nil {
		h.pops = popStanding(c.topo.POPs, v)
		h.empty = fault.Is(fault.AnswersEmpty) && h.pops.usable[0].len() < len(c.topo.POPs)
	}
	for i, p := range c.own {
		h.targets[i] = p.targetStanding(v)
	}
	if old != nil && h.same(old) {
		return old
	}
	return h
}

// View is what the Health was made of; when only times in it have changed since, an older one.
func (h *Health) View() *health.View { return h.view }

func (h *Health) same(o *Health) bool {
	return h.pops.same(&o.pops) && h.empty == o.empty && slices.EqualFunc(h.targets, o.targets, (*standing).same)
}

func (s *standing) same(o *standing) bool {
	if s == nil || o == nil {
		return s == o
	}
	equal := func(a, b [][]netip.Addr) bool { return slices.EqualFunc(a, b, slices.Equal[[]netip.Addr]) }
	return s.usable == o.usable && s.partial == o.partial && slices.Equal(s.shares, o.shares) && equal(s.addrs[0], o.addrs[0]) && equal(s.addrs[1], o.addrs[1])
}

// of is the standing of the policy's candidates; nil: all are well.
func (h *Health) of(p *Policy) *standing {
	switch {
	case h == nil:
		return nil
	case p.number < 0:
		return &h.pops
	case p.number < len(h.targets):
		return h.targets[p.number]
	}
	return nil
}

func popStanding(pops []*topology.POP, v *health.View) standing {
	s := standing{shares: make([]uint16, len(pops))}
	for f := range families {
		s.addrs[f] = make([][]netip.Addr, len(pops))
	}
	for i, pop := range pops {
		if v.Usable(pop.Name, health.Web) || keepsDead() {
			s.usable[0].set(uint16(i))
			s.usable[1].set(uint16(i))
		}
		if share := popShare(pop, v); share < whole {
			s.partial.set(uint16(i))
			s.shares[i] = share
		}
		nodes := answeringNodes(pop, v)
		for f := range families {
			s.addrs[f][i] = ofFamily(nodes, f)
		}
	}
	return s
}

// popShare is how much of its load a POP can bear. Only where its capacity is known does a lost node mean anything.
func popShare(pop *topology.POP, v *health.View) uint16 {
	if v == nil || pop.Capacity <= 0 || keepsDead() {
		return whole
	}
	state, known := v.POPs[pop.Name]
	if !known || !(state.Weight < 1) || state.Weight <= 0 { // nothing healthy is a matter of its state, not of its load
		return whole
	}
	return max(uint16(state.Weight*whole), 1)
}

// targetStanding is the health of a host's own targets; nil: nothing bad is known of any.
func (p *Policy) targetStanding(v *health.View) *standing {
	if v == nil || len(v.Targets) == 0 || len(p.checks) == 0 || keepsDead() {
		return nil
	}
	bad := false
	s := &standing{shares: make([]uint16, len(p.list))}
	for f := range families {
		s.addrs[f] = make([][]netip.Addr, len(p.list))
		for i := range p.list {
			c := &p.list[i]
			up := slices.DeleteFunc(slices.Clone(c.addrs[f]), func(a netip.Addr) bool { return isDown(v, p.checks[i][a]) })
			s.addrs[f][i] = up
			bad = bad || len(up) < len(c.addrs[f])
			switch down := c.cname != "" && isDown(v, p.checks[i][netip.Addr{}]); {
			case down:
				bad = true
			case c.cname != "" || len(up) > 0:
				s.usable[f].set(uint16(i))
			default: // an address that may work beats none
				s.addrs[f][i] = c.addrs[f]
			}
		}
	}
	if !bad {
		return nil
	}
	return s
}

func isDown(v *health.View, check string) bool {
	_, down := v.Targets[check]
	return check != "" && down
}

// answeringNodes are the nodes of a POP that take clients: the ones that say so themselves, else the ones of which
// nothing bad is known, else all.
func answeringNodes(pop *topology.POP, v *health.View) []*topology.Node {
	var heard, usable []*topology.Node
	for _, n := range pop.Nodes {
		if !nodeUsable(v, n.Name) {
			continue
		}
		usable = append(usable, n)
		if nodeHeard(v, n.Name) {
			heard = append(heard, n)
		}
	}
	switch {
	case len(heard) > 0:
		return heard
	case len(usable) > 0:
		return usable
	}
	return pop.Nodes
}

func ofFamily(nodes []*topology.Node, f int) (out []netip.Addr) {
	for _, n := range nodes {
		for _, a := range n.Addrs {
			if a.Is4() == (f == 0) {
				out = append(out, a)
			}
		}
	}
	return out
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

// keepsDead is a planted defect: health is not asked.
func keepsDead() bool { return fault.Is(fault.DNSKeepsDeadPOP) }
