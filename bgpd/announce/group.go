package announce

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/catchment-net/catchment/health"
	"github.com/catchment-net/catchment/topology"
)

// rule is one of the rules that a test can switch off, to see that something else then fails.
type rule uint

const (
	receipts         rule = 1 << iota // a soft cause waits until others have said that they know
	healthyClaims                     // a claim of somebody who is ill does not count
	suspicion                         // nor of one who has just failed a probe, when we want to leave
	freshClaims                       // nor does an old one
	comeBack                          // who left for a soft cause returns when nobody well is left
	firstGood                         // nothing is announced before all its services were good
	hardFloor                         // a dead service's prefix stays where nobody else announces it
	drainFloor                        // a drain stays at GSHUT where nobody else announces
	linger                            // one that was kept for want of others leaves some time after they are well
	stagger                           // POPs that leave for a soft cause leave one after the other
	budget                            // changes are held back by the flap budget
	budgetFloor                       // which gives way where nobody else announces
	familiesTogether                  // prefixes with the same services are decided on once
	ownCauses                         // only causes of the known classes count
)

// group is the prefixes in which the same services live, with what a decision on them asks about other nodes.
type group struct {
	in       *Input
	inside   services
	prefixes []netip.Prefix
	minPOPs  int
	past     Account
}

func newGroup(in *Input, within map[netip.Prefix]services, p netip.Prefix) *group {
	g := &group{in: in, inside: within[p], prefixes: siblings(in.Topology, within, p), minPOPs: cmp.Or(in.Topology.Anycast.MinPOPs, topology.DefaultMinPOPs)}
	if in.without&familiesTogether != 0 {
		g.prefixes = []netip.Prefix{p}
	}
	for _, p := range g.prefixes { // one that is new takes over from those that are not
		if a := in.Ledger[p]; a.Good {
			g.past = a
			break
		}
	}
	return g
}

// claims reports whether a node says that it announces all the prefixes. Nodes say it in the file's order, so that one
// look at each is enough; one of another order is looked through for each prefix.
func (g *group) claims(n health.NodeView) bool {
	rest := n.Claims
	for _, p := range g.prefixes {
		i := slices.Index(rest, p)
		if i < 0 && !slices.Contains(n.Claims, p) {
			return false
		}
		rest = rest[i+1:]
	}
	return true
}

func (g *group) fresh(n health.NodeView) bool {
	return g.in.without&freshClaims != 0 || g.in.Now.Sub(n.Claimed) <= ClaimAge
}

// well reports whether a node, by its own word, serves what lives in the prefixes and goes on doing so.
func (g *group) well(n health.NodeView) bool {
	return g.in.without&healthyClaims != 0 || !n.Draining && g.every(n, func(v health.ServiceView) bool { return v.State == health.Up || v.State == health.Degraded })
}

// alive reports whether no service of a node is known to be gone.
func (g *group) alive(n health.NodeView) bool {
	return g.every(n, func(v health.ServiceView) bool { return v.State != health.Down || v.Cause.Class != health.Hard })
}

func (g *group) every(n health.NodeView, ok func(health.ServiceView) bool) bool {
	for i, s := range health.Services {
		if g.inside[i] && !ok(n.Services[s]) {
			return false
		}
	}
	return true
}

// usable is the judgement on a POP, of its observers, too.
func (g *group) usable(pop string) bool {
	for i, s := range health.Services {
		if g.inside[i] && g.in.without&healthyClaims == 0 && !g.in.View.Usable(pop, s) {
			return false
		}
	}
	return true
}

// counted lists the other POPs that may be counted on: well, by their own word and their observers', and announcing
// the prefixes by a fresh one.
func (g *group) counted(ok func(health.NodeView) bool) []string {
	return g.popsWith(func(n health.NodeView) bool { return g.claims(n) && g.fresh(n) && g.well(n) && ok(n) }, g.usable)
}

func (g *group) popsWith(node func(health.NodeView) bool, pop func(string) bool) []string {
	var all []string
	for _, p := range g.in.Topology.POPs {
		if p != g.in.Node.POP && pop(p.Name) && slices.ContainsFunc(p.Nodes, func(n *topology.Node) bool { return node(g.in.View.Nodes[n.Name]) }) {
			all = append(all, p.Name)
		}
	}
	return all
}

func anyNode(health.NodeView) bool { return true }
func anyPOP(string) bool           { return true }

// takesOver reports whether a node has said that it has heard how we are, so that it does not count on us, and is not
// itself about to ask others.
func (g *group) takesOver(n health.NodeView) bool {
	sure := g.every(n, func(v health.ServiceView) bool { return !v.Suspect }) || g.in.without&suspicion != 0
	return sure && (n.Knows || g.in.without&receipts != 0)
}

// anybodyElse reports whether any other node, of this POP or another, was last heard to announce, and is not known to be
// as dead as we are. It asks for no fresh word: a dead service is withdrawn even where gossip is late.
func (g *group) anybodyElse() bool { return g.announcedBy(anyNode) }

// announcedBy reports whether each of the prefixes is announced by another node that is so.
func (g *group) announcedBy(ok func(health.NodeView) bool) bool {
	left := slices.Clone(g.prefixes)
	for name, n := range g.in.View.Nodes {
		if name != g.in.Node.Name && g.alive(n) && (n.Heard || n.POP == g.in.Node.POP.Name || g.usable(n.POP)) && ok(n) {
			left = slices.DeleteFunc(left, func(p netip.Prefix) bool { return slices.Contains(n.Claims, p) })
		}
	}
	return len(left) == 0
}

// rank is the place of this POP among those that are in the same situation, by rendezvous: the same on every node that
// knows of the same POPs, and another for other prefixes.
func (g *group) rank(same func(health.NodeView) bool) int {
	if g.in.without&stagger != 0 {
		return 0
	}
	key := g.prefixes[0].String()
	own := g.in.Node.POP.Name
	ours := health.Rendezvous(key, own)
	before := 0
	for _, p := range g.popsWith(same, anyPOP) {
		if score := health.Rendezvous(key, p); cmp.Or(cmp.Compare(score, ours), cmp.Compare(own, p)) > 0 {
			before++
		}
	}
	return before
}

// wantsOut reports whether a node still announces and would rather not.
func (g *group) wantsOut(n health.NodeView) bool {
	return g.claims(n) && g.fresh(n) && !g.every(n, func(v health.ServiceView) bool { return v.State != health.Down || v.Cause.Class != health.Soft })
}

// mayReturn reports whether a node runs that is not dead and could announce.
func (g *group) mayReturn(n health.NodeView) bool {
	return n.Heard && g.alive(n) && !n.Draining && g.every(n, func(v health.ServiceView) bool { return v.State != health.Unknown })
}

// wentOut reports whether a node runs and has left for an illness.
func (g *group) wentOut(n health.NodeView) bool {
	return n.Heard && !g.claims(n) && !g.every(n, func(v health.ServiceView) bool { return v.State != health.Down })
}
