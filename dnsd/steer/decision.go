package steer

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/catchment-net/catchment/health"
)

// Decision is what a client gets and why.
type Decision struct {
	Set    SetID
	Name   string       // the POP or target chosen, the first of several; "anycast" for the shared addresses; empty: nothing to answer
	Names  []string     // all that were chosen
	Addrs  []netip.Addr // of the family asked for; must not be changed
	CNAME  string       // instead of Addrs, with its final dot
	TTL    uint32       // seconds
	Scope  netip.Prefix // every client in it gets the same; /0: everybody does
	Order  []string     // the names of all candidates, best first
	Reason string       // for people: "nearest", "nearest, next: ams is down", "nearest, though all are down"
}

// Decide is Pick and Answer with its reasons, for slow paths.
func (p *Policy) Decide(client netip.Addr, family int, h *Health) Decision {
	set, bits := p.Pick(client, family, h)
	d := Decision{Set: set, Name: p.Name(set), TTL: p.ttl}
	d.Scope, _ = client.Prefix(int(bits))
	d.Addrs, d.CNAME = p.Answer(set, family, h)
	for n := range MaxNearest {
		if i, ok := set.at(n); ok {
			d.Names = append(d.Names, p.list[i].name)
		}
	}
	ranked := p.ranked(client)
	for _, i := range ranked {
		d.Order = append(d.Order, p.list[i].name)
	}
	d.Reason = p.reason(client, ranked, set, index(family), h)
	return d
}

// ranked are all candidates in the order in which a client would get them, whatever their health.
func (p *Policy) ranked(client netip.Addr) []uint16 {
	drawn := func(list []uint16) []uint16 {
		list = slices.Clone(list)
		net := networkOf(client)
		slices.SortStableFunc(list, func(a, b uint16) int {
			return cmp.Compare(p.list[a].score(net, p.salt, whole), p.list[b].score(net, p.salt, whole))
		})
		return list
	}
	var out []uint16
	switch p.way {
	case geo:
		list, _ := p.table.Lookup(client)
		for _, spot := range p.table.List(list) {
			for _, i := range drawn(p.members[spot]) {
				if !slices.Contains(out, i) { // a rule named it already
					out = append(out, i)
				}
			}
		}
	case weighted:
		out = drawn(p.order)
	default:
		out = slices.Clone(p.order)
	}
	return append(out, p.fallback...)
}

// because says in what the standing of a candidate for a client rests.
func (p *Policy) because(i uint16, client netip.Addr) string {
	switch {
	case p.way == anycast:
		return "anycast: routing decides"
	case slices.Contains(p.fallback, i):
		return "fallback"
	case p.way == weighted:
		return "by weight"
	case p.way == pinned:
		return "pinned"
	}
	spot, named := p.geography.named[p.list[i].name]
	if !named {
		spot = uint16(slices.IndexFunc(p.members, func(m []uint16) bool { return slices.Contains(m, i) }))
	}
	facts := p.sources.Facts(client)
	trust, rule := p.geography.because(spot, &facts)
	return trust.text(&facts, rule)
}

// reason says in a line why the set was chosen, and not the first of the order.
func (p *Policy) reason(client netip.Addr, ranked []uint16, set SetID, f int, h *Health) string {
	chosen, ok := set.at(0)
	able := slices.DeleteFunc(slices.Clone(ranked), func(i uint16) bool { return !p.able[f].has(i) })
	switch {
	case len(able) == 0:
		return "no candidate has such an address"
	case !ok && p.closed:
		return "all are down, and the host says fail: closed"
	case !ok:
		return "a candidate is down"
	}
	best := p.because(able[0], client)
	switch {
	case p.way == anycast || chosen == able[0] && p.usable(chosen, f, h):
		return best
	case !p.usable(chosen, f, h):
		return best + ", though all are down"
	}
	var why []string
	for _, i := range able[:slices.Index(able, chosen)] {
		why = append(why, p.list[i].name+" "+p.why(i, f, h))
	}
	return fmt.Sprintf("%s, next: %s", best, strings.Join(why, ", "))
}

func (p *Policy) usable(i uint16, f int, h *Health) bool {
	st := h.of(p)
	return st == nil || st.usable[f].has(i)
}

// why says why a candidate is not chosen that is better for the client than the one that is.
func (p *Policy) why(i uint16, f int, h *Health) string {
	st := h.of(p)
	switch {
	case st == nil || st.usable[f].has(i) && !st.partial.has(i):
		return "is well"
	case st.usable[f].has(i):
		return fmt.Sprintf("bears %d %% of its load", int(st.shares[i])*100/whole)
	case p.number >= 0:
		return "is down"
	}
	return "is " + h.view.State(p.list[i].name, health.Web).String()
}
