package control

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/catchment-net/catchment/site"
	"github.com/catchment-net/catchment/topology"
)

// Warn lists what is allowed but probably not meant, one line each, in a fixed order.
func Warn(s *Snapshot) []string {
	w := warnings{s: s, t: s.Topology, steered: map[string]bool{}}
	for _, one := range s.Sites {
		for _, h := range one.Hosts {
			w.steered[h.Name+"."] = true
		}
	}
	w.topology()
	for i := range s.Zones {
		w.zone(&s.Zones[i])
	}
	for _, one := range s.Sites {
		w.site(one)
	}
	return w.list
}

type warnings struct {
	s    *Snapshot
	t    *topology.Topology
	list []string

	steered map[string]bool // hosts, with the final dot
}

func (w *warnings) addf(format string, args ...any) {
	w.list = append(w.list, fmt.Sprintf(format, args...))
}

func (w *warnings) topology() {
	service := append(slices.Clone(w.t.Anycast.DNS), w.t.Anycast.Web...)
	for _, p := range w.t.Anycast.Prefixes {
		if !slices.ContainsFunc(service, p.Contains) {
			w.addf("anycast prefix %s holds no service address; list one under `dns` or `web`, or remove the prefix", p)
		}
	}
	if len(w.t.POPs) == 1 {
		w.addf("pop %q is the only one; nothing can take over when it fails", w.t.POPs[0].Name)
	}
	for _, bits := range []int{32, 128} {
		w.popFamilies(bits)
	}
	linked := map[string]bool{}
	for _, l := range w.t.Internet.Links {
		linked[l.A], linked[l.B] = true, true
	}
	for _, n := range w.t.Internet.Networks {
		if !linked[n.Name] {
			w.addf("network %q has no link; nothing in it reaches anyone", n.Name)
		}
	}
	for _, p := range w.t.POPs {
		if len(w.t.Internet.Links) > 0 && !linked[p.Name] && len(p.Neighbors) == 0 {
			w.addf("pop %q has neither a link nor neighbors; it announces to nobody", p.Name)
		}
		w.watched(p)
	}
}

// watched warns of a trap at the other end: under ttl-security hops 1 FRR (8.4 at least) turns its BFD session into one
// over several hops, on another port, and says nothing.
func (w *warnings) watched(p *topology.POP) {
	for _, n := range p.Neighbors {
		if n.BFD != 0 && n.TTLSecurity {
			w.addf("neighbor %q of pop %q has bfd and ttl_security; if it is FRR, its `ttl-security hops 1` makes its BFD multihop (port 4784), and nobody watches the path; "+
				"keep one of the two there, and see that `show bfd peers` does not say multihop", n.Name, p.Name)
		}
	}
}

// popFamilies warns when only some POPs can serve a family: their clients cannot be moved to the others.
func (w *warnings) popFamilies(bits int) {
	var with, without []string
	for _, p := range w.t.POPs {
		has := slices.ContainsFunc(p.Unicast, func(u netip.Prefix) bool { return u.Addr().BitLen() == bits })
		if has {
			with = append(with, p.Name)
		} else {
			without = append(without, p.Name)
		}
	}
	if len(with) > 0 && len(without) > 0 {
		name := map[int]string{32: "IPv4", 128: "IPv6"}[bits]
		w.addf("%s have no %s unicast prefix; GeoDNS cannot move %s clients of %s there", strings.Join(without, ", "), name, name, strings.Join(with, ", "))
	}
}

func (w *warnings) zone(z *Zone) {
	var addrs []netip.Addr
	known := true
	for _, ns := range slices.Compact(slices.Sorted(slices.Values(z.facts.servers))) {
		home := w.s.ZoneOf(ns)
		switch {
		case home == nil:
			known = false // served elsewhere: we cannot know its addresses
		case len(home.facts.addrs[ns]) == 0 && !w.steered[ns]:
			w.addf("%s: name server %q has no address; add an A or AAAA record", z.File, ns)
		}
		if home != nil {
			addrs = append(addrs, home.facts.addrs[ns]...)
		}
		for _, a := range addressesOf(home, ns) {
			w.nameServerAddr(z, ns, a)
		}
	}
	if known && len(addrs) > 0 {
		w.sharedFate(z, addrs)
	}
	w.servers(z)
}

// servers warns of name servers that resolvers will not get to.
func (w *warnings) servers(z *Zone) {
	names := slices.Compact(slices.Sorted(slices.Values(z.facts.servers)))
	if len(names) == 1 {
		w.addf("%s: %s has one name server, %q; add a second one that does not share its fate (RFC 2182 §3.1)", z.File, z.Origin, names[0])
	}
	for _, ns := range names {
		if z.facts.cnames[ns] {
			w.addf("%s: name server %q is an alias; name the host that has the address (RFC 2181 §10.3)", z.File, ns)
		}
	}
	for _, cut := range slices.Sorted(maps.Keys(z.facts.cuts)) {
		for _, ns := range z.facts.cuts[cut] {
			below := ns == cut || strings.HasSuffix(ns, "."+cut)
			if below && len(z.facts.addrs[ns]) == 0 {
				w.addf("%s: %q is delegated to %q, which nobody can find without an address here; add its A or AAAA record as glue", z.File, cut, ns)
			}
		}
	}
}

func addressesOf(z *Zone, name string) []netip.Addr {
	if z == nil {
		return nil
	}
	return z.facts.addrs[name]
}

// nameServerAddr warns about an address in our prefixes on which nobody listens.
func (w *warnings) nameServerAddr(z *Zone, ns string, a netip.Addr) {
	p := w.t.POPOf(a)
	anycast := slices.ContainsFunc(w.t.Anycast.Prefixes, func(p netip.Prefix) bool { return p.Contains(a) })
	switch {
	case p != nil && !slices.ContainsFunc(p.Nodes, func(n *topology.Node) bool { return slices.Contains(n.Addrs, a) }):
		w.addf("%s: name server %q has the address %s, which lies in the unicast prefix of pop %q but is no node's", z.File, ns, a, p.Name)
	case anycast && !slices.Contains(w.t.Anycast.DNS, a):
		w.addf("%s: name server %q has the anycast address %s, which is not listed under `dns`", z.File, ns, a)
	}
}

// sharedFate warns when one withdrawn prefix would take every name server of a zone away.
func (w *warnings) sharedFate(z *Zone, addrs []netip.Addr) {
	used := map[netip.Prefix]bool{}
	families := map[int]bool{}
	for _, a := range addrs {
		i := slices.IndexFunc(w.t.Anycast.Prefixes, func(p netip.Prefix) bool { return p.Contains(a) })
		if i < 0 {
			return
		}
		used[w.t.Anycast.Prefixes[i]] = true
		families[a.BitLen()] = true
	}
	if len(used) > len(families) {
		return
	}
	var names []string
	for _, p := range w.t.Anycast.Prefixes {
		if used[p] {
			names = append(names, p.String())
		}
	}
	w.addf("%s: every name server of %s lies in one anycast prefix (%s); add one on a unicast address, so that a routing mistake cannot take all away",
		z.File, z.Origin, strings.Join(names, ", "))
}

func (w *warnings) site(one *site.Site) {
	file := SitesFolder + "/" + one.Name + ".yaml"
	for _, h := range one.Hosts {
		z := w.s.ZoneOf(h.Name)
		if z == nil {
			continue
		}
		if z.facts.cnames[h.Name+"."] {
			w.addf("%s: host %q is a CNAME in %s; the steered answer takes its place", file, h.Name, z.File)
		}
		for name := h.Name + "."; name != z.Origin; {
			if z.facts.cuts[name] != nil {
				w.addf("%s: host %q lies below the delegation of %q in %s; the world asks others for it", file, h.Name, name, z.File)
				break
			}
			_, name, _ = strings.Cut(name, ".")
		}
	}
	if len(w.t.Internet.Origins) == 0 {
		return
	}
	for _, o := range one.Origins {
		known := slices.ContainsFunc(w.t.Internet.Origins, func(lab *topology.Origin) bool { return lab.Host == o.URL.Hostname() })
		if _, err := netip.ParseAddr(o.URL.Hostname()); err != nil && !known {
			w.addf("%s: origin %q is not among the topology's origins; a lab cannot reach it", file, o.URL)
		}
	}
}
