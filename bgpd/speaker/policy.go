package speaker

import (
	"context"
	"fmt"
	"net/netip"

	api "github.com/osrg/gobgp/v3/api"
	"github.com/osrg/gobgp/v3/pkg/server"
)

// Who hears what, after Gao and Rexford:
//
//	                    to a customer   to a peer   to a provider     local-pref here
//	our own routes           yes           yes           yes
//	from a customer          yes           yes           yes              300
//	from a peer              yes           no            no               200
//	from a provider          yes           no            no               100
//	with GSHUT (RFC 8326)    as above                                     1
//
// gobgp has no filter hook, so it is one import and one export policy with a set of neighbours per relation. Our own
// routes and those of customers carry the large community OWNASN:0:1 inside this speaker; it is taken from what comes
// in and from what goes out, so nobody else can set it or see it.

// The local preferences. gobgp ignores an action that sets 0, so the least is 1.
const (
	prefCustomer = 300
	prefPeer     = 200
	prefProvider = 100
	prefShutdown = 1
)

const (
	policyIn  = "in"
	policyOut = "out"
	globalRIB = "global"

	setMark     = "mark"
	setShutdown = "gshut"
	setDefault4 = "default-ipv4"
	setDefault6 = "default-ipv6"
	setAll      = "all"
	setSold     = "sold-default" // neighbours that hear our default route
)

func relationSet(r Relation) string { return "relation-" + r.String() }

func neighborSet(name string, addrs ...netip.Addr) *api.DefinedSet {
	set := &api.DefinedSet{DefinedType: api.DefinedType_NEIGHBOR, Name: name}
	for _, a := range addrs {
		set.List = append(set.List, netip.PrefixFrom(a, a.BitLen()).String())
	}
	return set
}

// policies builds the rules for these neighbours. A set of neighbours without members would match every neighbour, so
// statements exist for the relations that occur and for no other.
func policies(asn uint32, neighbors []Neighbor) *api.SetPoliciesRequest {
	mark := fmt.Sprintf("%d:0:1", asn)
	byRelation := map[Relation][]netip.Addr{}
	var all []netip.Addr
	sets := []*api.DefinedSet{
		{DefinedType: api.DefinedType_LARGE_COMMUNITY, Name: setMark, List: []string{"^" + mark + "$"}},
		{DefinedType: api.DefinedType_COMMUNITY, Name: setShutdown, List: []string{"^65535:0$"}},
		{DefinedType: api.DefinedType_PREFIX, Name: setDefault4, Prefixes: []*api.Prefix{{IpPrefix: "0.0.0.0/0"}}},
		{DefinedType: api.DefinedType_PREFIX, Name: setDefault6, Prefixes: []*api.Prefix{{IpPrefix: "::/0"}}},
	}
	for _, n := range neighbors {
		byRelation[n.Relation] = append(byRelation[n.Relation], n.Address)
		all = append(all, n.Address)
		sets = append(sets, neighborSet(n.Name, n.Address))
	}
	for r, addrs := range byRelation {
		sets = append(sets, neighborSet(relationSet(r), addrs...))
	}
	if len(all) > 0 {
		sets = append(sets, neighborSet(setAll, all...))
	}
	if sold := soldDefault(neighbors); len(sold) > 0 {
		sets = append(sets, neighborSet(setSold, sold...))
	}
	return &api.SetPoliciesRequest{DefinedSets: sets, Policies: []*api.Policy{
		{Name: policyIn, Statements: importStatements(mark, byRelation)},
		{Name: policyOut, Statements: exportStatements(asn, mark, byRelation, neighbors)},
	}}
}

// soldDefault are the neighbours that hear our default route.
func soldDefault(neighbors []Neighbor) []netip.Addr {
	var all []netip.Addr
	for _, n := range neighbors {
		if n.Default {
			all = append(all, n.Address)
		}
	}
	return all
}

// defaultRoutes are what is announced to neighbours that buy a default route.
func defaultRoutes(neighbors []Neighbor) []Route {
	if len(soldDefault(neighbors)) == 0 {
		return nil
	}
	return []Route{{Prefix: netip.PrefixFrom(netip.IPv4Unspecified(), 0)}, {Prefix: netip.PrefixFrom(netip.IPv6Unspecified(), 0)}}
}

func from(set string) *api.Conditions {
	return &api.Conditions{NeighborSet: &api.MatchSet{Name: set}}
}

func largeCommunity(what api.CommunityAction_Type, value string) *api.CommunityAction {
	return &api.CommunityAction{Type: what, Communities: []string{value}}
}

// importStatements end in the policy's default, which is to reject.
func importStatements(mark string, byRelation map[Relation][]netip.Addr) []*api.Statement {
	all := []*api.Statement{{
		Name:       "in-own",
		Conditions: &api.Conditions{RouteType: api.Conditions_ROUTE_TYPE_LOCAL},
		Actions:    &api.Actions{RouteAction: api.RouteAction_ACCEPT, LargeCommunity: largeCommunity(api.CommunityAction_ADD, mark)},
	}}
	if len(byRelation) == 0 {
		return all
	}
	if len(byRelation[None]) > 0 {
		for _, set := range []string{setDefault4, setDefault6} {
			all = append(all, &api.Statement{
				Name:       "in-" + set,
				Conditions: &api.Conditions{PrefixSet: &api.MatchSet{Name: set}},
				Actions:    &api.Actions{RouteAction: api.RouteAction_ACCEPT},
			})
		}
		return all
	}
	all = append(all, &api.Statement{
		Name: "in-clean", Conditions: from(setAll), Actions: &api.Actions{LargeCommunity: largeCommunity(api.CommunityAction_REMOVE, mark)},
	})
	for r, pref := range map[Relation]uint32{Customer: prefCustomer, Peer: prefPeer, Provider: prefProvider} {
		if len(byRelation[r]) == 0 {
			continue
		}
		s := &api.Statement{Name: "in-" + r.String(), Conditions: from(relationSet(r)), Actions: &api.Actions{LocalPref: &api.LocalPrefAction{Value: pref}}}
		if r == Customer {
			s.Actions.LargeCommunity = largeCommunity(api.CommunityAction_ADD, mark)
		}
		all = append(all, s)
	}
	return append(all, &api.Statement{
		Name:       "in-gshut",
		Conditions: &api.Conditions{NeighborSet: &api.MatchSet{Name: setAll}, CommunitySet: &api.MatchSet{Name: setShutdown}},
		Actions:    &api.Actions{LocalPref: &api.LocalPrefAction{Value: prefShutdown}},
	}, &api.Statement{
		Name: "in-accept", Conditions: from(setAll), Actions: &api.Actions{RouteAction: api.RouteAction_ACCEPT},
	})
}

// exportStatements end in the policy's default, which is to reject.
func exportStatements(asn uint32, mark string, byRelation map[Relation][]netip.Addr, neighbors []Neighbor) []*api.Statement {
	var all []*api.Statement
	if len(soldDefault(neighbors)) > 0 {
		for _, set := range []string{setDefault4, setDefault6} {
			all = append(all, &api.Statement{
				Name: "out-" + set, Actions: &api.Actions{RouteAction: api.RouteAction_REJECT},
				Conditions: &api.Conditions{
					PrefixSet: &api.MatchSet{Name: set}, NeighborSet: &api.MatchSet{Type: api.MatchSet_INVERT, Name: setSold},
				},
			})
		}
	}
	for _, r := range []Relation{None, Peer, Provider} {
		if len(byRelation[r]) == 0 {
			continue
		}
		unmarked := from(relationSet(r))
		unmarked.LargeCommunitySet = &api.MatchSet{Type: api.MatchSet_INVERT, Name: setMark}
		all = append(all, &api.Statement{Name: "out-" + r.String(), Conditions: unmarked, Actions: &api.Actions{RouteAction: api.RouteAction_REJECT}})
	}
	for _, n := range neighbors {
		if n.Prepend > 0 {
			all = append(all, &api.Statement{
				Name: "out-prepend-" + n.Name, Conditions: from(n.Name),
				Actions: &api.Actions{AsPrepend: &api.AsPrependAction{Asn: asn, Repeat: uint32(n.Prepend)}},
			})
		}
		if a := decorate(n); a != nil {
			all = append(all, &api.Statement{Name: "out-decorate-" + n.Name, Conditions: from(n.Name), Actions: a})
		}
		for _, hop := range []netip.Addr{n.NextHop4, n.NextHop6} {
			if !hop.IsValid() {
				continue
			}
			c := from(n.Name)
			c.AfiSafiIn = []*api.Family{family(hop.Is4())}
			all = append(all, &api.Statement{
				Name: "out-next-hop-" + n.Name + "-" + hop.String(), Conditions: c,
				Actions: &api.Actions{Nexthop: &api.NexthopAction{Address: hop.String()}},
			})
		}
	}
	if len(neighbors) > 0 {
		all = append(all, &api.Statement{
			Name: "out-accept", Conditions: from(setAll),
			Actions: &api.Actions{RouteAction: api.RouteAction_ACCEPT, LargeCommunity: largeCommunity(api.CommunityAction_REMOVE, mark)},
		})
	}
	return all
}

// decorate is what is added to every route towards a neighbour, or nil.
func decorate(n Neighbor) *api.Actions {
	if n.MED == 0 && len(n.Communities) == 0 && len(n.LargeCommunities) == 0 {
		return nil
	}
	a := &api.Actions{}
	if n.MED != 0 {
		a.Med = &api.MedAction{Type: api.MedAction_REPLACE, Value: int64(n.MED)}
	}
	if len(n.Communities) > 0 {
		a.Community = &api.CommunityAction{Type: api.CommunityAction_ADD}
		for _, c := range n.Communities {
			a.Community.Communities = append(a.Community.Communities, fmt.Sprintf("%d:%d", c>>16, c&0xffff))
		}
	}
	if len(n.LargeCommunities) > 0 {
		a.LargeCommunity = &api.CommunityAction{Type: api.CommunityAction_ADD}
		for _, c := range n.LargeCommunities {
			a.LargeCommunity.Communities = append(a.LargeCommunity.Communities, fmt.Sprintf("%d:%d:%d", c[0], c[1], c[2]))
		}
	}
	return a
}

// setPolicies puts the rules in force. Routes that are known keep what the old rules made of them, so a neighbour whose
// rules change has its session begun anew.
func setPolicies(ctx context.Context, b *server.BgpServer, asn uint32, neighbors []Neighbor) error {
	if err := b.SetPolicies(ctx, policies(asn, neighbors)); err != nil {
		return fmt.Errorf("set routing policy: %w", err)
	}
	for name, direction := range map[string]api.PolicyDirection{policyIn: api.PolicyDirection_IMPORT, policyOut: api.PolicyDirection_EXPORT} {
		if err := b.SetPolicyAssignment(ctx, &api.SetPolicyAssignmentRequest{Assignment: &api.PolicyAssignment{
			Name: globalRIB, Direction: direction, Policies: []*api.Policy{{Name: name}}, DefaultAction: api.RouteAction_REJECT,
		}}); err != nil {
			return fmt.Errorf("assign routing policy %q: %w", name, err)
		}
	}
	return nil
}
