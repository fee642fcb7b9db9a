//go:build faults

package announce

import (
	"testing"

	"github.com/catchment-net/catchment/health"
	"github.com/catchment-net/catchment/internal/fault"
)

// The planted defects do what their names say, and no more: what was never good is not announced by them either.
func TestPlantedFaults(t *testing.T) {
	for _, test := range []struct {
		name      string
		own       health.ServiceView
		four, six State
	}{
		{fault.NeverWithdraws, is(health.Down, health.Hard), Announced, Announced},
		{fault.NeverWithdraws, is(health.Down, health.Soft), Announced, Announced},
		{fault.NeverWithdraws, is(health.Draining, health.Wish), Announced, Announced},
		{fault.NeverWithdraws, health.ServiceView{}, Withdrawn, Withdrawn},
		{fault.WithdrawsIPv4Only, is(health.Down, health.Hard), Withdrawn, Announced},
		{fault.WithdrawsIPv4Only, is(health.Draining, health.Wish), GSHUT, GSHUT},
		{"", is(health.Down, health.Hard), Withdrawn, Withdrawn},
	} {
		t.Setenv("CATCHMENT_FAULT", test.name)
		topo := network()
		in := Input{Topology: topo, Node: topo.Node("ams1"), View: fleet(topo, epoch), Now: epoch}
		alter(in.View, "ams1", func(n *health.NodeView) {
			n.Services = map[health.Service]health.ServiceView{health.DNS: test.own, health.Web: test.own}
		})
		out := Decide(in)
		if four, six := out.Wants[2].State, out.Wants[3].State; four != test.four || six != test.six {
			t.Errorf("%q with %v %v: IPv4 is %s, IPv6 is %s, want %s, %s", test.name, test.own.State, test.own.Cause.Class, four, six, test.four, test.six)
		}
	}
}
