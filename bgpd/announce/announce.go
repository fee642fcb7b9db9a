// Package announce decides which prefixes a node announces, and why. It is pure: the topology, the health view, how far
// drains have come and the time go in, the wanted routes go out; sessions and clocks are elsewhere.
//
// The rules, for the anycast prefixes and the services whose addresses lie in each:
//
//	not yet good once            withdrawn
//	hard (the process is gone)   withdrawn at once, unless the view shows nobody else announcing
//	soft (probes, latency)       withdrawn when MinPOPs other POPs are well, announce it and have told us that they know
//	                             of our illness; of several that want out, one leaves each Stagger
//	                             comes back when fewer than MinPOPs well ones announce it: fail open; one that was
//	                             kept for that leaves Linger after the others are well again
//	wish (drain, shutdown)       down a ladder: DNS first, GSHUT (RFC 8326), withdrawn when no client has asked for a
//	                             while; a drain stays at GSHUT while no other healthy node announces
//	else                         announced
//
// over which lies the flap budget (see Account). An origin that fails, or anything else that all POPs share, is never a
// cause: nothing but the node's own services, each with a cause of one of these three classes, is asked.
//
// Prefixes in which the same services live change together, so that IPv4 and IPv6 move in the same instant. A POP's
// unicast prefixes are announced as long as the node speaks BGP at all.
package announce

import (
	"net/netip"
	"slices"
	"time"

	"github.com/catchment-net/catchment/health"
	"github.com/catchment-net/catchment/topology"
)

// ClaimAge is how old another POP's claim may be to count for a soft cause.
const ClaimAge = 2 * time.Second

// Stagger is the time between two POPs that leave, or come back, for the same reason: a rank is worth so much.
const Stagger = 300 * time.Millisecond

// Linger is how long one that was kept since all looked ill stays when the first of the others is well again: what ailed
// all is mostly over for all, and one POP that has just come up cannot bear the load of all.
const Linger = 2 * time.Second

// GracefulShutdown is the community that asks neighbours to prefer any other path (RFC 8326).
const GracefulShutdown uint32 = 65535 << 16

// State is what is wanted for a prefix.
type State string

// The states. GSHUT is announced, too, but asks to be avoided.
const (
	Withdrawn State = "withdrawn"
	Announced State = "announced"
	GSHUT     State = "gshut"
)

// Input is all that a decision depends on. Nothing in it is changed.
type Input struct {
	Topology *topology.Topology
	Node     *topology.Node
	View     *health.View // nil knows nothing: no anycast prefix is announced
	Now      time.Time

	Stopping    bool                     // this process is on its way out
	LastRequest time.Time                // the last client request on an anycast address; zero means there was none
	Drains      map[netip.Prefix]Drain   // as the last Output returned them
	Ledger      map[netip.Prefix]Account // as the last Output returned it
	Undamped    bool                     // the neighbours do not damp flaps, as a lab's routers do not
	Alone       bool                     // other POPs are unknown to us, not absent: withdraw for soft causes, too

	without rule // rules that a test switches off
}

// Want is the decision on one prefix.
type Want struct {
	Prefix           netip.Prefix
	NextHop          netip.Addr // the node's unicast address of the family; the zero Addr if it has none
	State            State
	Reason           string
	Since            time.Time   // when the cause arose, by the clock of the node; zero if nothing caused it
	Kept             bool        // announced although a cause speaks against it
	LeftTo           []string    // for a soft cause: the POPs that have confirmed that they know, and take the clients
	Step             health.Step // how far its drain has come
	Anycast          bool
	Communities      []uint32
	LargeCommunities [][3]uint32 // ASN:1:INDEX of the POP on anycast routes, so that a looking glass tells POPs apart
	Prepend          int         // how often our ASN stands in the path once more
}

// Output is the whole wanted set, unicast prefixes first, then anycast ones in the file's order.
type Output struct {
	Wants    []Want
	Drains   map[netip.Prefix]Drain   // for the next Input
	Ledger   map[netip.Prefix]Account // for the next Input
	Progress health.Progress          // of the node's drain; its Requests are not known here
	Next     time.Time                // when time alone may change the decision; zero means never
}

// Decide returns what the node should announce now.
func Decide(in Input) Output {
	out := Output{Drains: map[netip.Prefix]Drain{}, Ledger: map[netip.Prefix]Account{}}
	for _, p := range in.Node.POP.Unicast {
		out.Wants = append(out.Wants, Want{Prefix: p, NextHop: nextHop(in.Node, p), State: Announced, Reason: "the POP's own addresses"})
	}
	decided, within := map[services]decision{}, servicesOf(in.Topology)
	for _, p := range in.Topology.Anycast.Prefixes {
		inside := within[p]
		if in.without&familiesTogether != 0 {
			decided = map[services]decision{}
		}
		d, done := decided[inside]
		if !done {
			d = newGroup(&in, within, p).decide()
			decided[inside] = d
		}
		out.Ledger[p] = d.account
		d = spoil(d, &in, p)
		if !d.drain.Since.IsZero() {
			out.Drains[p] = d.drain
		}
		if !d.next.IsZero() && (out.Next.IsZero() || d.next.Before(out.Next)) {
			out.Next = d.next
		}
		w := Want{
			Prefix: p, NextHop: nextHop(in.Node, p), State: d.state, Reason: d.reason, Since: d.since, Kept: d.kept, Anycast: true,
			LargeCommunities: [][3]uint32{{in.Topology.ASN, 1, uint32(in.Node.POP.Index)}}, LeftTo: d.leftTo,
		}
		w.Step, _ = d.drain.Step()
		if d.state == GSHUT {
			avoid(&in, &w)
		}
		out.Wants = append(out.Wants, w)
	}
	out.Progress = progress(out.Wants, out.Drains)
	return out
}

// services is the set of services that live in a prefix, by their place in health.Services.
type services [len(health.Services)]bool

// servicesOf says which services live in each anycast prefix. It looks each address up by the lengths that prefixes have:
// with a thousand of each, to ask every prefix about every address would take as long as to tell the neighbours.
func servicesOf(t *topology.Topology) map[netip.Prefix]services {
	all := make(map[netip.Prefix]services, len(t.Anycast.Prefixes))
	var lengths []int
	for _, p := range t.Anycast.Prefixes {
		all[p] = services{}
		if !slices.Contains(lengths, p.Bits()) {
			lengths = append(lengths, p.Bits())
		}
	}
	for i, s := range health.Services {
		addrs := t.Anycast.DNS
		if s == health.Web {
			addrs = t.Anycast.Web
		}
		for _, a := range addrs {
			for _, bits := range lengths {
				p, err := a.Prefix(bits)
				if in, ours := all[p]; ours && err == nil {
					in[i] = true
					all[p] = in
				}
			}
		}
	}
	return all
}

// siblings are the prefixes in which the same services live as in p, in the file's order.
func siblings(t *topology.Topology, inside map[netip.Prefix]services, p netip.Prefix) []netip.Prefix {
	var all []netip.Prefix
	for _, o := range t.Anycast.Prefixes {
		if inside[o] == inside[p] {
			all = append(all, o)
		}
	}
	return all
}

func nextHop(n *topology.Node, p netip.Prefix) netip.Addr {
	for _, a := range n.Addrs {
		if a.Is4() == p.Addr().Is4() {
			return a
		}
	}
	return netip.Addr{}
}

// Attracts reports whether others may count on the route: it is announced and not on its way out.
func (w Want) Attracts() bool { return w.Anycast && w.State == Announced && w.Step == health.NoStep }

// Claims lists the anycast prefixes that attract clients: those that are announced and not on their way out.
func (o Output) Claims() []netip.Prefix {
	var all []netip.Prefix
	for _, w := range o.Wants {
		if w.Attracts() {
			all = append(all, w.Prefix)
		}
	}
	return all
}

// Drained reports whether no anycast prefix is announced any more.
func (o Output) Drained() bool {
	return !slices.ContainsFunc(o.Wants, func(w Want) bool { return w.Anycast && w.State != Withdrawn })
}
