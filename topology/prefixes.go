package topology

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/catchment-net/catchment/internal/conf"
)

// claim is a prefix and who says that it is theirs.
type claim struct {
	prefix netip.Prefix
	owner  string
	at     conf.Value
	order  int
}

// claim registers a prefix and refuses those that nobody can route.
func (r *reader) claim(p netip.Prefix, owner string, at conf.Value) {
	for _, s := range special() {
		if s.prefix.Overlaps(p) {
			at.Fail(fmt.Sprintf("prefix %s cannot be routed: %s", p, s.why), "use a prefix of your own, a private or a documentation one")
			return
		}
	}
	r.claims = append(r.claims, claim{p, owner, at, len(r.claims)})
}

// overlaps reports prefixes that share addresses with another: each address has one owner. Sorted by address, a prefix
// can only lie within the one before it or within one that holds that.
func (r *reader) overlaps() {
	slices.SortStableFunc(r.claims, func(a, b claim) int {
		return cmp.Or(a.prefix.Addr().Compare(b.prefix.Addr()), cmp.Compare(a.prefix.Bits(), b.prefix.Bits()), cmp.Compare(a.order, b.order))
	})
	var outer []claim
	for _, c := range r.claims {
		for len(outer) > 0 && !outer[len(outer)-1].prefix.Overlaps(c.prefix) {
			outer = outer[:len(outer)-1]
		}
		if len(outer) > 0 {
			first, later := outer[len(outer)-1], c
			if first.order > later.order {
				first, later = later, first
			}
			later.at.Fail(fmt.Sprintf("prefix %s of %s overlaps %s of %s at %s", later.prefix, later.owner, first.prefix, first.owner, first.at.Pos()),
				"give each its own addresses")
		}
		outer = append(outer, c)
	}
}

// families reports POPs that cannot announce an anycast prefix because they have no address of its family: the next
// hop of a route is the node's own address.
func (r *reader) families(pops conf.Value) {
	for _, e := range pops.Entries() {
		p := r.t.POP(e.Key.Text())
		if p == nil || len(p.Unicast) == 0 {
			continue
		}
		seen := map[string]bool{}
		for _, anycast := range r.t.Anycast.Prefixes {
			name := family(anycast.Addr())
			has := slices.ContainsFunc(p.Unicast, func(u netip.Prefix) bool { return family(u.Addr()) == name })
			if !has && !seen[name] {
				seen[name] = true
				e.Key.Fail(fmt.Sprintf("pop %q has no %s unicast prefix to announce %s from", p.Name, name, anycast),
					"add one: the route's next hop is the node's own address")
			}
		}
	}
}

// family is "IPv4" or "IPv6".
func family(a netip.Addr) string {
	if a.Is4() {
		return "IPv4"
	}
	return "IPv6"
}

type specialBlock struct {
	prefix netip.Prefix
	why    string
}

// special lists what can never be routed (RFC 6890).
func special() []specialBlock {
	return []specialBlock{
		{netip.MustParsePrefix("0.0.0.0/8"), "it means \"this network\""},
		{netip.MustParsePrefix("127.0.0.0/8"), "it is loopback"},
		{netip.MustParsePrefix("169.254.0.0/16"), "it is link-local"},
		{netip.MustParsePrefix("224.0.0.0/4"), "it is multicast"},
		{netip.MustParsePrefix("240.0.0.0/4"), "it is reserved"},
		{netip.MustParsePrefix("::/8"), "it is reserved"},
		{netip.MustParsePrefix("fe80::/10"), "it is link-local"},
		{netip.MustParsePrefix("ff00::/8"), "it is multicast"},
	}
}

// local reports whether an address is private or for documentation or tests, where the rules of the Internet about
// prefix lengths do not hold (RFC 1918, 4193, 6598, 5737, 2544, 3849, 9637).
func local(a netip.Addr) bool {
	if a.IsPrivate() {
		return true
	}
	for _, block := range []string{
		"100.64.0.0/10", "192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "198.18.0.0/15", "2001:db8::/32", "3fff::/20",
	} {
		if netip.MustParsePrefix(block).Contains(a) {
			return true
		}
	}
	return false
}
