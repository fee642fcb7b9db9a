package node

import (
	"strings"
	"testing"

	"github.com/catchment-net/catchment/internal/event"
)

// A zone with a mistake is one customer's; the others' changes, and the start of a node, do not wait for him.
func TestBadZoneIsAnAlarmAndNoMore(t *testing.T) {
	checkLeaks(t)
	w := newWorld(t)
	w.write("zones/bad.example", strings.Replace(zoneText, "ns1 A 192.0.2.53", "ns1 A 192.0.2.530", 1))
	o := w.options("nyc1")
	n, _ := testNode(t, o)
	status := func() Status { return n.hub.status() }

	bad := status().BadZones
	if len(bad) != 1 || bad[0].Origin != "bad.example." || bad[0].Kept || !strings.Contains(bad[0].Error, "zones/bad.example:4:17: A record") {
		t.Fatalf("at the start: bad zones %+v", bad)
	}
	awaitEvent(t, o.Events, event.Config, "zone/bad.example.", "broken")
	if f := n.dns.ZoneFaults(); len(f) != 1 || f[0].Kept {
		t.Errorf("dnsd: %+v", f)
	}

	w.write("zones/bad.example", zoneText)
	awaitEvent(t, o.Events, event.Config, "zone/bad.example.", "mended")
	await(t, "no bad zone", func() bool { return len(status().BadZones) == 0 && len(n.dns.ZoneFaults()) == 0 })

	// What was good once is served on, beside a change of another zone.
	w.write("zones/bad.example", "$TTL 300\n@ NS ns1\n")
	w.write("zones/shop.example", zoneText+"new A 192.0.2.9\n")
	e := awaitEvent(t, o.Events, event.Config, "zone/bad.example.", "kept")
	if !strings.Contains(e.Cause, "zones/bad.example:1: zone bad.example. has no SOA; add") {
		t.Errorf("the event says %q", e.Cause)
	}
	await(t, "the other zone's change", func() bool {
		snap := n.hub.snap.Load()
		z := snap.ZoneOf("new.shop.example")
		return z != nil && strings.Contains(string(z.Text), "new A") && snap.ZoneOf("bad.example") != nil
	})
	if f := n.dns.ZoneFaults(); len(f) != 0 {
		t.Errorf("dnsd has a copy and says %+v", f)
	}
}
