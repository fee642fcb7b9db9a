package collector

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/catchment-net/catchment/bgpd/speaker"
	"github.com/catchment-net/catchment/labs/layout"
	labrouter "github.com/catchment-net/catchment/labs/router"
	"github.com/catchment-net/catchment/topology"
)

// small has what makes a difference: a POP of two nodes and another beside it at one transit, a prepend, a peering, a
// POP that buys transit and one that does not, both families.
const small = `
asn: 64500
anycast: {prefixes: [192.0.2.0/24, 2001:db8:53::/48], dns: [192.0.2.53], web: [192.0.2.80, 2001:db8:53::80]}
pops:
  ams: {at: AMS, unicast: [203.0.113.0/28, 2001:db8:a1::/48], nodes: 2}
  nyc: {at: NYC, unicast: [203.0.113.16/28, 2001:db8:a2::/48]}
internet:
  networks:
    arc:    {asn: 64496, at: FRA}
    arc2:   {asn: 64496, at: NYC}
    berlin: {asn: 64501, at: BER, users: 30, prefixes: [198.51.100.0/27, 2001:db8:c1::/48]}
  origins:
    origin.example: {in: arc, at: FRA, prefixes: [203.0.113.128/28]}
  links:
    ams -> arc: {delay: 3ms, prepend: 2}
    nyc -> arc: {delay: 40ms}
    arc -- arc2: {delay: 40ms}
    berlin -- nyc: {delay: 5ms}
    berlin -> arc: {delay: 5ms, prepend: 1}
`

func plan(t *testing.T) *layout.Plan {
	t.Helper()
	topo, err := topology.Parse("topology.yaml", []byte(small))
	if err != nil {
		t.Fatal(err)
	}
	p, err := layout.New(topo)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// What a router says by BGP becomes what our own routers report.
func TestChangeOf(t *testing.T) {
	p := plan(t)
	prefix := netip.MustParsePrefix("192.0.2.0/24")
	pop := [][3]uint32{{64500, 1, 1}}
	for _, tt := range []struct {
		name string
		in   speaker.Best
		want labrouter.Change
		ok   bool
	}{
		{
			"a client network behind a transit",
			speaker.Best{Neighbor: "berlin", Prefix: prefix, ASPath: []uint32{64501, 64496, 64500}, LargeCommunities: pop},
			labrouter.Change{Router: "berlin", Prefix: prefix, Via: "arc", ASPath: []uint32{64496, 64500}, POPIndex: 1},
			true,
		},
		{
			"a transit beside the POP, with two POPs of one AS",
			speaker.Best{Neighbor: "arc", Prefix: prefix, ASPath: []uint32{64496, 64500, 64500}, LargeCommunities: pop, Communities: []uint32{speaker.GracefulShutdown}},
			labrouter.Change{Router: "arc", Prefix: prefix, Via: "nyc1", ASPath: []uint32{64500, 64500}, POPIndex: 1, GSHUT: true},
			true,
		},
		{
			"its own prefix",
			speaker.Best{Neighbor: "berlin", Prefix: prefix, ASPath: []uint32{64501}},
			labrouter.Change{Router: "berlin", Prefix: prefix, POPIndex: -1},
			true,
		},
		{
			"a withdrawal",
			speaker.Best{Neighbor: "berlin", Prefix: prefix, Withdrawn: true},
			labrouter.Change{Router: "berlin", Prefix: prefix, Withdrawn: true, POPIndex: -1},
			true,
		},
		{
			"the other router of the AS, which the path does not show",
			speaker.Best{Neighbor: "arc2", Prefix: prefix, ASPath: []uint32{64496, 64500}, LargeCommunities: [][3]uint32{{64500, 1, 0}}},
			labrouter.Change{Router: "arc2", Prefix: prefix, Via: "arc", ASPath: []uint32{64500}},
			true,
		},
		{"a stranger", speaker.Best{Neighbor: "paris", Prefix: prefix}, labrouter.Change{}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := ChangeOf(p, tt.in)
			if diff := cmp.Diff(tt.want, got, cmpopts.EquateEmpty(), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" || ok != tt.ok {
				t.Errorf("ok %v (-want +got):\n%s", ok, diff)
			}
		})
	}
}
