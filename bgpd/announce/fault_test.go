//go:build faults

package announce

import (
	"testing"
	"time"

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
		if test.own.State != health.Unknown {
			in.Ledger = settled(topo, "ams1")
		}
		alter(in.View, "ams1", func(n *health.NodeView) {
			n.Services = map[health.Service]health.ServiceView{health.DNS: test.own, health.Web: test.own}
		})
		out := Decide(in)
		if four, six := out.Wants[2].State, out.Wants[3].State; four != test.four || six != test.six {
			t.Errorf("%q with %v %v: IPv4 is %s, IPv6 is %s, want %s, %s", test.name, test.own.State, test.own.Cause.Class, four, six, test.four, test.six)
		}
	}
}

// The planted defects that need time do what their names say at each moment, and ask to be looked at again in time.
func TestPlantedFaultsInTime(t *testing.T) {
	dead := is(health.Down, health.Hard)
	dead.Cause.Since = epoch
	even := epoch.Truncate(2 * flapEvery)
	for _, test := range []struct {
		name string
		node string
		own  health.ServiceView
		now  time.Time
		want State
		next time.Time
	}{
		{fault.WithdrawsTooLate, "ams1", dead, epoch.Add(lateBy - 1), Announced, epoch.Add(lateBy)},
		{fault.WithdrawsTooLate, "ams1", dead, epoch.Add(lateBy), Withdrawn, time.Time{}},
		{fault.AnnouncesWhileDown, "ams1", dead, epoch.Add(againAfter - 1), Withdrawn, epoch.Add(againAfter)},
		{fault.AnnouncesWhileDown, "ams1", dead, epoch.Add(againAfter), Announced, time.Time{}},
		{fault.Flaps, "ams1", is(health.Up, health.NoCause), even, Announced, even.Add(flapEvery)},
		{fault.Flaps, "ams1", is(health.Up, health.NoCause), even.Add(flapEvery), Withdrawn, even.Add(2 * flapEvery)},
		{fault.Flaps, "nyc1", is(health.Up, health.NoCause), even.Add(flapEvery), Announced, time.Time{}},
		{fault.DrainDrops, "ams1", is(health.Draining, health.Wish), epoch, Withdrawn, time.Time{}},
		{fault.DrainDrops, "ams1", dead, epoch, Withdrawn, time.Time{}},
	} {
		t.Setenv("CATCHMENT_FAULT", test.name)
		topo := network()
		in := Input{Topology: topo, Node: topo.Node(test.node), View: fleet(topo, test.now), Now: test.now, Ledger: settled(topo, test.node)}
		alter(in.View, test.node, func(n *health.NodeView) {
			n.Services = map[health.Service]health.ServiceView{health.DNS: test.own, health.Web: test.own}
		})
		out := Decide(in)
		if got := out.Wants[2]; got.State != test.want || !test.next.IsZero() && !out.Next.Equal(test.next) {
			t.Errorf("%s at %v: %s, next %v; want %s, next %v", test.name, test.now.Sub(epoch), got.State, out.Next, test.want, test.next)
		}
	}
}
