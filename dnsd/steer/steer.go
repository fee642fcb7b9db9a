// Package steer decides which POP, or which target of a customer's own, a client gets. It is pure: who asks, where he
// is and the fleet's health come in, a Decision goes out.
//
// The order of the candidates depends on the client alone and holds for a whole network, the scope; health only says
// how far down that order the answer lies. So a scope once given stays right whatever fails (design §7).
package steer

import (
	"fmt"
	"hash/fnv"
	"net/netip"
	"slices"
	"time"

	"github.com/catchment-net/catchment/geodata"
	"github.com/catchment-net/catchment/health"
	"github.com/catchment-net/catchment/internal/fault"
	"github.com/catchment-net/catchment/site"
	"github.com/catchment-net/catchment/topology"
)

// Client is who asks: the subnet of his ECS option, else the address of his resolver.
type Client struct {
	Addr  netip.Addr // the first address of the subnet
	Loc   geodata.Location
	Known bool         // Loc says something
	Scope netip.Prefix // the network around Addr that Loc, or the lack of one, holds for
}

// Locate makes a Client of an address. A nil database knows nobody.
func Locate(db *geodata.DB, addr netip.Addr) Client {
	loc, scope, known := db.Locate(addr)
	return Client{Addr: addr, Loc: loc, Known: known, Scope: scope}
}

// Decision is what a client gets and why.
type Decision struct {
	Name   string       // the POP or target chosen; "anycast" for the shared addresses; empty: nothing to answer
	Addrs  []netip.Addr // of the family asked for
	CNAME  string       // instead of Addrs, with its final dot
	TTL    uint32       // seconds
	Scope  netip.Prefix // every client in it has the same order; /0: everybody has
	Order  []string     // the names of all candidates, best first
	Reason string       // for people: "nearest", "next: ams is down", "all down: nearest"
}

// Policy is one host's steering, compiled. It is immutable and safe for concurrent use.
type Policy struct {
	host *site.Host
	ttl  uint32
	list []candidate  // POPs or targets in file order; empty for anycast
	any  []netip.Addr // the shared addresses, for anycast
}

// Compile checks a host against the topology, which may be nil if the host steers among its own targets.
func Compile(h *site.Host, t *topology.Topology) (*Policy, error) {
	p := &Policy{host: h, ttl: uint32((h.TTL + time.Second - 1) / time.Second)}
	switch {
	case len(h.Targets) > 0:
		return p, p.addTargets()
	case t == nil:
		return nil, fmt.Errorf("host %q: steered among POPs, but there is no topology; name its targets", h.Name)
	case h.Steer == site.Anycast:
		if p.any = t.Anycast.Web; len(p.any) == 0 {
			return nil, fmt.Errorf("host %q: steered by anycast, but the topology has no anycast web addresses", h.Name)
		}
		return p, nil
	case len(t.POPs) == 0:
		return nil, fmt.Errorf("host %q: steered among POPs, but the topology has none", h.Name)
	}
	p.addPOPs(t.POPs)
	return p, nil
}

// Decide chooses for one client and family (6: AAAA, else A). The first usable candidate that has an address of the
// family wins: a negative answer must not depend on the client, since caches keep it for everybody (RFC 7871 §7.4).
// If none is usable, the best of all is answered: an address that may work beats none. A nil View allows all.
func (p *Policy) Decide(c Client, family int, v *health.View) Decision {
	if p.host.Steer == site.Anycast && len(p.list) == 0 {
		return Decision{Name: "anycast", Addrs: ofFamily(p.any, family), TTL: p.ttl, Scope: everybody(c.Addr), Reason: "anycast: routing decides"}
	}
	order, scope := p.order(c)
	d := Decision{TTL: p.ttl, Scope: scope}
	able := make([]int, 0, len(order))
	for _, i := range order {
		d.Order = append(d.Order, p.list[i].name)
		if p.list[i].can(family) {
			able = append(able, i)
		}
	}
	if len(able) == 0 {
		d.Reason = "no candidate has such an address"
		return d
	}
	if answersEmpty(p.list, v) {
		d.Reason = "a candidate is down"
		return d
	}
	chosen, reason := choose(p.list, able, v)
	d.Name, d.Reason = chosen.name, p.best()+reason
	d.Addrs, d.CNAME = chosen.answer(family, v)
	return d
}

// best is what the first of the order is called.
func (p *Policy) best() string {
	switch p.host.Steer {
	case site.Weighted:
		return "by weight"
	case site.Pinned:
		return "pinned"
	}
	return "nearest"
}

// choose walks down the order to the first usable candidate; with none, it stays with the best.
func choose(list []candidate, order []int, v *health.View) (*candidate, string) {
	for n, i := range order {
		if !list[i].usable(v) {
			continue
		}
		if n == 0 {
			return &list[i], ""
		}
		first := &list[order[0]]
		return &list[i], fmt.Sprintf(", next: %s is %v", first.name, first.state(v))
	}
	return &list[order[0]], ", though all are down"
}

// order ranks the candidates for a client, and says for whom else the rank holds.
func (p *Policy) order(c Client) ([]int, netip.Prefix) {
	if len(p.list) == 1 || p.host.Steer == site.Pinned {
		return fileOrder(p.list), everybody(c.Addr)
	}
	if p.host.Steer == site.Weighted {
		scope := weightScope(c.Addr)
		return byWeight(p.list, scope, p.host.Name), scope
	}
	return byPlace(c.Loc, c.Known, p.list), c.Scope
}

func everybody(a netip.Addr) netip.Prefix {
	p, _ := a.Prefix(0)
	return p
}

func ofFamily(addrs []netip.Addr, family int) []netip.Addr {
	var out []netip.Addr
	for _, a := range addrs {
		if a.Is4() == (family != 6) {
			out = append(out, a)
		}
	}
	return out
}

// keepsDead is a planted defect: health is not asked.
func keepsDead() bool { return fault.Is(fault.DNSKeepsDeadPOP) }

// answersEmpty is a planted defect: nobody gets an address while any candidate is down.
func answersEmpty(list []candidate, v *health.View) bool {
	return fault.Is(fault.AnswersEmpty) && slices.ContainsFunc(list, func(c candidate) bool { return !c.usable(v) })
}

// hash64 is a hash that is the same on every node, so that all give one client one answer.
func hash64(parts ...[]byte) uint64 {
	h := fnv.New64a()
	for _, p := range parts {
		h.Write(p)
		h.Write([]byte{0})
	}
	x := h.Sum64()
	// FNV leaves neighbours near each other; this finaliser (splitmix64) spreads them.
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
