package containerlab

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/catchment-net/catchment/bgpd/speaker"
	"github.com/catchment-net/catchment/labs/router"
)

// What a router says by BGP becomes what our own routers report.
func TestChangeOf(t *testing.T) {
	p := render(t, "quickstart", FRR).Plan
	prefix := netip.MustParsePrefix("192.0.2.0/24")
	pop := [][3]uint32{{64500, 1, 1}}
	for _, tt := range []struct {
		name string
		in   speaker.Best
		want router.Change
		ok   bool
	}{
		{
			"a client network behind a transit",
			speaker.Best{Neighbor: "berlin", Prefix: prefix, ASPath: []uint32{64501, 64496, 64500}, LargeCommunities: pop},
			router.Change{Router: "berlin", Prefix: prefix, Via: "arc", ASPath: []uint32{64496, 64500}, POPIndex: 1},
			true,
		},
		{
			"a transit beside the POP, with two POPs of one AS",
			speaker.Best{Neighbor: "arc", Prefix: prefix, ASPath: []uint32{64496, 64500, 64500}, LargeCommunities: pop, Communities: []uint32{speaker.GracefulShutdown}},
			router.Change{Router: "arc", Prefix: prefix, Via: "nyc1", ASPath: []uint32{64500, 64500}, POPIndex: 1, GSHUT: true},
			true,
		},
		{
			"its own prefix",
			speaker.Best{Neighbor: "berlin", Prefix: prefix, ASPath: []uint32{64501}},
			router.Change{Router: "berlin", Prefix: prefix, POPIndex: -1},
			true,
		},
		{
			"a withdrawal",
			speaker.Best{Neighbor: "berlin", Prefix: prefix, Withdrawn: true},
			router.Change{Router: "berlin", Prefix: prefix, Withdrawn: true, POPIndex: -1},
			true,
		},
		{"a stranger", speaker.Best{Neighbor: "paris", Prefix: prefix}, router.Change{}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := changeOf(p, tt.in)
			if diff := cmp.Diff(tt.want, got, cmpopts.EquateEmpty(), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" || ok != tt.ok {
				t.Errorf("ok %v (-want +got):\n%s", ok, diff)
			}
		})
	}
}

func TestFraction(t *testing.T) {
	for in, want := range map[string]float64{"30%": 0.3, "0%": 0, "100%": 1, "0.5%": 0.005} {
		if got, err := fraction(in); err != nil || got != want {
			t.Errorf("%q: %v, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "30", "101%", "-1%", "x%"} {
		if got, err := fraction(in); err == nil {
			t.Errorf("%q was read as %v", in, got)
		}
	}
}
