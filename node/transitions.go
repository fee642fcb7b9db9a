package node

import (
	"maps"
	"slices"

	"github.com/catchment-net/catchment/health"
	"github.com/catchment-net/catchment/internal/event"
	"github.com/catchment-net/catchment/topology"
)

// reportChanges turns the difference of two Views into events.
func reportChanges(events *event.Ring, topo *topology.Topology, old, v *health.View) {
	for _, p := range topo.POPs {
		for _, s := range health.Services {
			was, is := old.POPs[p.Name].Services[s], v.POPs[p.Name].Services[s]
			if was.State != is.State {
				events.Add(event.Event{
					Kind: event.Health, Subject: "pop/" + p.Name + "/" + string(s), State: is.State.String(), Cause: is.Cause.Text,
					Detail: map[string]string{"was": was.State.String()},
				})
			}
		}
	}
	own := func(v *health.View, s health.Service) health.ServiceView { return v.Nodes[v.Self].Services[s] }
	for _, s := range health.Services {
		if was, is := own(old, s), own(v, s); was.State != is.State {
			events.Add(event.Event{
				Kind: event.Health, Subject: "node/" + v.Self + "/" + string(s), State: is.State.String(), Cause: is.Cause.Text,
				Detail: map[string]string{"was": was.State.String()},
			})
		}
	}
	for _, id := range slices.Sorted(maps.Keys(v.Targets)) {
		if _, was := old.Targets[id]; !was {
			events.Add(event.Event{Kind: event.Health, Subject: "target/" + id, State: health.Down.String(), Cause: v.Targets[id].Text})
		}
	}
	for _, id := range slices.Sorted(maps.Keys(old.Targets)) {
		if _, is := v.Targets[id]; !is {
			events.Add(event.Event{Kind: event.Health, Subject: "target/" + id, State: health.Up.String()})
		}
	}
}
