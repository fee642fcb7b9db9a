package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/catchment-net/catchment/bgpd"
	"github.com/catchment-net/catchment/health"
	"github.com/catchment-net/catchment/node"
)

// drainScene is what one node says of the fleet while ams, with two nodes, is drained.
func drainScene(now time.Time, one, two health.Progress) *node.Status {
	return &node.Status{
		Now: now, Intents: []health.Intent{{Target: "ams", Kind: health.IntentDrain, By: "jo"}},
		View: &health.View{Nodes: map[string]health.NodeView{
			"ams1": {POP: "ams", Heard: true, Progress: one}, "ams2": {POP: "ams", Heard: true, Progress: two}, "nyc1": {POP: "nyc", Heard: true},
		}},
	}
}

func TestDrainWatch(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	at := func(s health.Step) health.Progress { return health.Progress{Step: s, Requests: 9} }
	kept := health.Progress{Step: health.StepGSHUT, Kept: true}
	type look struct {
		after  time.Duration
		alter  func(*node.Status)
		one    health.Progress
		two    health.Progress
		lines  string // node and step of each
		done   bool
		failed string
	}
	for _, test := range []struct {
		name   string
		target string
		looks  []look
	}{
		{"down the ladder", "ams", []look{
			{0, nil, health.Progress{}, health.Progress{}, "", false, ""},
			{100 * time.Millisecond, nil, at(health.StepDNS), health.Progress{}, "ams1 dns", false, ""},
			{200 * time.Millisecond, nil, at(health.StepGSHUT), at(health.StepDNS), "ams1 gshut, ams2 dns", false, ""},
			{300 * time.Millisecond, nil, at(health.StepGSHUT), at(health.StepDNS), "", false, ""},
			{1250 * time.Millisecond, nil, at(health.StepGSHUT), at(health.StepGSHUT), "ams1 gshut, ams2 gshut", false, ""}, // a step that lasts is told each second
			{1300 * time.Millisecond, nil, at(health.StepWithdrawn), at(health.StepGSHUT), "ams1 withdrawn", false, ""},
			{1400 * time.Millisecond, nil, at(health.StepWithdrawn), at(health.StepWithdrawn), "ams2 withdrawn", true, ""},
		}},
		{"one node of two", "ams1", []look{
			{0, func(st *node.Status) { st.Intents[0].Target = "ams1" }, at(health.StepWithdrawn), health.Progress{}, "ams1 withdrawn", true, ""},
		}},
		{"undone", "ams", []look{
			{0, nil, at(health.StepGSHUT), at(health.StepGSHUT), "ams1 gshut, ams2 gshut", false, ""},
			{time.Second, func(st *node.Status) { st.Intents[0].Lifted = true }, health.Progress{}, health.Progress{}, "", false, `the drain of "ams" was undone: by jo`},
		}},
		{"expired", "ams", []look{
			{0, func(st *node.Status) { st.Intents[0].Expires = start.Add(-time.Second) }, at(health.StepGSHUT), at(health.StepGSHUT), "", false, "it has expired"},
		}},
		{"nobody else announces", "ams", []look{
			{0, nil, kept, at(health.StepWithdrawn), "ams1 gshut kept, ams2 withdrawn", false, ""},
			{4 * time.Second, nil, kept, at(health.StepWithdrawn), "ams1 gshut kept", false, ""},
			{5 * time.Second, nil, kept, at(health.StepWithdrawn), "ams1 gshut kept", false, "ams1 stays at gshut, since nobody else would take its clients"},
		}},
		{"nobody else announced for a moment", "ams", []look{
			{0, nil, kept, at(health.StepWithdrawn), "ams1 gshut kept, ams2 withdrawn", false, ""},
			{100 * time.Millisecond, nil, at(health.StepGSHUT), at(health.StepWithdrawn), "ams1 gshut", false, ""},
			{5500 * time.Millisecond, nil, kept, at(health.StepWithdrawn), "ams1 gshut kept", false, ""},
		}},
		{"a node that is not heard", "ams", []look{
			{0, func(st *node.Status) { st.View.Nodes["ams2"] = health.NodeView{POP: "ams"} }, at(health.StepWithdrawn), health.Progress{}, "ams1 withdrawn", false, ""},
			{5 * time.Second, func(st *node.Status) { st.View.Nodes["ams2"] = health.NodeView{POP: "ams"} }, at(health.StepWithdrawn), health.Progress{}, "", false, "ams2 is not heard"},
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := drainWatch{target: test.target, patience: stuckFor, began: start, nodes: map[string]*watchedNode{}}
			for _, l := range test.looks {
				now := start.Add(l.after)
				st := drainScene(now, l.one, l.two)
				if l.alter != nil {
					l.alter(st)
				}
				lines, done, err := w.look(now, st)
				var got []string
				for _, line := range lines {
					word := fmt.Sprint(line.Node, " ", line.Step)
					if line.Kept {
						word += " kept"
					}
					got = append(got, word)
				}
				if strings.Join(got, ", ") != l.lines || done != l.done || (err != nil) != (l.failed != "") || err != nil && !strings.Contains(err.Error(), l.failed) {
					t.Errorf("after %v: got %q, done %v, %v; want %q, %v, %q", l.after, got, done, err, l.lines, l.done, l.failed)
				}
			}
		})
	}
}

func TestWorseAfterARestart(t *testing.T) {
	whole := func() *node.Status {
		return &node.Status{
			Node: "ams1", Members: []string{"nyc1", "sin1"}, BGP: []bgpd.NeighborStatus{{Name: "arc", State: "established"}},
			Links: map[health.Service]string{health.DNS: "ready", health.Web: "ready"},
			View: &health.View{Nodes: map[string]health.NodeView{"ams1": {Services: map[health.Service]health.ServiceView{
				health.DNS: {State: health.Up}, health.Web: {State: health.Up},
			}}}},
		}
	}
	for _, test := range []struct {
		name   string
		before func(*node.Status)
		after  func(*node.Status)
		want   string
	}{
		{"all as before", nil, nil, ""},
		{"a session is missing", nil, func(st *node.Status) { st.BGP[0].State = "idle" }, "its session with arc is not up"},
		{"it was missing before", func(st *node.Status) { st.BGP[0].State = "idle" }, func(st *node.Status) { st.BGP[0].State = "idle" }, ""},
		{"a node that gossip knew", nil, func(st *node.Status) { st.Members = st.Members[:1] }, "its gossip has not found sin1"},
		{"a daemon is missing", nil, func(st *node.Status) { delete(st.Links, health.Web) }, "its web daemon is not ready"},
		{"a service is not well yet", nil, func(st *node.Status) {
			st.View.Nodes["ams1"].Services[health.DNS] = health.ServiceView{}
		}, "its service dns is unknown"},
		{"well and drained", nil, func(st *node.Status) {
			st.View.Nodes["ams1"].Services[health.DNS] = health.ServiceView{State: health.Draining}
		}, ""},
	} {
		before, after := whole(), whole()
		if test.before != nil {
			test.before(before)
		}
		if test.after != nil {
			test.after(after)
		}
		if got := worse(before, after); got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
}
