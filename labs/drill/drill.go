// Package drill reads drills, runs them in a lab and judges them.
//
// A drill is a load, a timeline of faults and expectations about windows of time. Nothing is looked at while it runs:
// every request (labs.Sample) and every change of state (event.Event) is recorded, and Evaluate, which is pure, judges
// the recording. The words mean, exactly:
//
//   - The clock starts when the lab has converged: when the last requests of every client and load were answered, be it
//     with a wrong body: that is for the expectations to judge. Windows, faults and `end` are times of this clock.
//     FROM..TO holds its start and not its end; `after T` and `always` hold the end of the drill, too.
//   - A sample belongs to the window in which it ended. A request that was begun before the clock started belongs to none.
//   - lost: samples that got no whole, right answer. wrong_bodies: samples whose body was not the right one, another
//     client's private answer included. empty_answers: samples whose name server answered without an address. All are
//     over all clients and loads.
//   - catchment(CLIENT, LOAD): the POP that answered. dns(CLIENT, LOAD): the POP whose addresses the DNS answer in force
//     held ("anycast" for shared ones). The expectation holds if every sample of the window agrees.
//   - outage(CLIENT|*, LOAD): the longest outage of which a failed sample ended in the window. An outage lasts from the
//     start of the first failed request to the end of the next good one (in the order in which they started) of that
//     client and load: 0s if none failed, forever if none was good again. Without LOAD: of all loads.
//   - routes(ROUTER, anycast): the least number of routes that the router had to any anycast prefix at any moment of the
//     window. Routers report their best path, so the number is 0 or 1.
//   - withdrawal(POP): from the first fault on the POP in the window to the last moment at which any router's best path
//     for any anycast prefix still led to it; forever if one still did at the next step of the timeline.
//
// An expectation for which the window holds no evidence fails: a check that cannot fail is none.
package drill

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/catchment-net/catchment/labs"
	"github.com/catchment-net/catchment/topology"
)

// Drill is a drill as read and checked by Parse. It is immutable.
type Drill struct {
	Name    string // the file's base name without .yaml
	Loads   []labs.Load
	Lets    []Let
	Steps   []Step // in the order of their times; steps of one time in file order
	End     time.Duration
	Windows []Window
	Needs   []labs.Feature // of the lab

	topo *topology.Topology
}

// Let names a POP that is found when the clock starts.
type Let struct {
	Name string
	call *node // catchment or dns
}

// Step is one fault of the timeline. The subject may be a Let's name.
type Step struct {
	At    time.Duration
	Fault labs.Fault
}

// Window is a span of the drill with what is expected of it. To is not part of it unless it is the end of the drill.
type Window struct {
	Name     string // as in the file: "always", "3s..13s", "after 19s"
	From, To time.Duration
	Expect   []Expectation
}

// Expectation is one comparison.
type Expectation struct {
	Text string // as in the file
	Pos  string // file:line:col
	expr *node
}

// LacksError says that a lab cannot do what a drill asks for. The command line ends with status 3 then.
type LacksError struct {
	Verb    labs.Verb
	Feature labs.Feature // instead of a verb
	Caps    labs.Caps
}

// Error names the verb and what the lab can do, or the feature and where it is.
func (e *LacksError) Error() string {
	if e.Feature != "" {
		return fmt.Sprintf("this lab has no %q, which the drill needs; use --runner netns or containerlab", e.Feature)
	}
	can := make([]string, len(e.Caps.Verbs))
	for i, v := range e.Caps.Verbs {
		can[i] = string(v)
	}
	return fmt.Sprintf("this lab cannot %q; it can %s", e.Verb, strings.Join(can, ", "))
}

// Check reports the first feature or verb of the drill that a lab with these abilities lacks, as a *LacksError, or nil.
func (d *Drill) Check(c labs.Caps) error {
	for _, f := range d.Needs {
		if !c.Has(f) {
			return &LacksError{Feature: f, Caps: c}
		}
	}
	for _, s := range d.Steps {
		if !c.Can(s.Fault.Verb) {
			return &LacksError{Verb: s.Fault.Verb, Caps: c}
		}
	}
	return nil
}

func (d *Drill) let(name string) bool {
	for _, l := range d.Lets {
		if l.Name == name {
			return true
		}
	}
	return false
}

func (d *Drill) load(name string) *labs.Load {
	for i := range d.Loads {
		if d.Loads[i].Name == name {
			return &d.Loads[i]
		}
	}
	return nil
}

// sends reports whether a client takes part in a load.
func sends(l *labs.Load, client string) bool {
	if len(l.From) == 0 {
		return true
	}
	return slices.Contains(l.From, client)
}

// clients names the client networks in file order.
func clients(t *topology.Topology) []string {
	var names []string
	for _, n := range t.Internet.Networks {
		if n.Users > 0 {
			names = append(names, n.Name)
		}
	}
	return names
}
