package node

import (
	"fmt"

	"github.com/catchment-net/catchment/control"
	"github.com/catchment-net/catchment/internal/event"
)

// maxZoneEvents is how many zones one change reports one by one, in events; the rest is a number.
const maxZoneEvents = 100

// reportZones tells of the zones that have begun not to be what their files say, and of those that are so again. It is
// called with adopting held, or before the hub runs.
func (h *hub) reportZones(before, now []control.BadZone) {
	h.metrics.badZones.Set(float64(len(now)))
	was := map[string]control.BadZone{}
	for _, z := range before {
		was[z.Origin] = z
	}
	told := 0
	tell := func(e event.Event) {
		if told++; told <= maxZoneEvents {
			h.o.Events.Add(e)
		}
	}
	for _, z := range now {
		old, known := was[z.Origin]
		delete(was, z.Origin)
		if known && old == z {
			continue
		}
		state, served := "broken", "its names are SERVFAIL"
		if z.Kept {
			state, served = "kept", "its last good copy stays in force"
		}
		h.o.Logger.Error("zone not loaded", "pop", h.self.POP.Name, "zone", z.Origin, "consequence", served, "error", z.Error)
		tell(event.Event{Kind: event.Config, Subject: "zone/" + z.Origin, State: state, Cause: z.Error})
	}
	for origin := range was {
		h.o.Logger.Info("zone is as its file says again", "pop", h.self.POP.Name, "zone", origin)
		tell(event.Event{Kind: event.Config, Subject: "zone/" + origin, State: "mended"})
	}
	if told > maxZoneEvents {
		h.o.Events.Add(event.Event{Kind: event.Config, Subject: "zone", State: "bad", Cause: fmt.Sprintf("%d further zones; `catchment status` lists them", told-maxZoneEvents)})
	}
}
