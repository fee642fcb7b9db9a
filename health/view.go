// Package health turns verdicts of probes into states of services, nodes and POPs, and merges what all nodes say into
// one view of the fleet. It is pure: values and the time come in, values go out; sockets and clocks are elsewhere.
package health

import (
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Service is what a POP offers and what is judged on its own: DNS may live while HTTP is dead.
type Service string

// The services.
const (
	DNS Service = "dns"
	Web Service = "web"
)

// Services lists all services in the order of their tables.
var Services = [...]Service{DNS, Web}

// State is what health makes of verdicts. The zero value says that nothing is known yet.
type State uint8

// The states, from best to worst. Unknown counts as usable for steering (fail open) but not for announcing: a node
// announces nothing before its first good probe.
const (
	Unknown State = iota
	Up
	Degraded
	Draining
	Down
)

var stateNames = [...]string{"unknown", "up", "degraded", "draining", "down"}

func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return fmt.Sprintf("State(%d)", uint8(s))
}

// MarshalText writes the state as its name.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads a state's name.
func (s *State) UnmarshalText(text []byte) error {
	for i, name := range stateNames {
		if name == string(text) {
			*s = State(i)
			return nil
		}
	}
	return fmt.Errorf("health state %q: want one of %v", text, stateNames)
}

// Usable reports whether a client may be sent to a service in this state.
func (s State) Usable() bool { return s == Unknown || s == Up || s == Degraded }

// Class says how sure a cause is, and with it whether a node may act on it alone (design §5).
type Class uint8

// The classes of cause.
const (
	NoCause Class = iota
	Soft          // a probe, latency, load: withdraw only if another POP still claims the prefix
	Hard          // the service's process is gone: withdraw at once, ask nobody
	Wish          // an operator's drain, or our own shutdown
	Shared        // an origin, or something else that all POPs depend on alike: no reason to withdraw anywhere
)

// Cause is why a service is in its state.
type Cause struct {
	Class Class     `json:"class"`
	Text  string    `json:"text,omitempty"` // "3 probes failed: connection refused"
	Since time.Time `json:"since"`          // when the state was entered, by the clock of the node that says so
}

// View is the fleet as one node sees it at one moment. It is immutable; a newer one replaces it whole.
type View struct {
	Self  string              `json:"self"` // the node whose view this is
	Seq   uint64              `json:"seq"`  // grows with every change; newest wins
	Time  time.Time           `json:"time"`
	POPs  map[string]POPView  `json:"pops"`
	Nodes map[string]NodeView `json:"nodes"`
	// Targets are the addresses of sites' own targets that are down, by site.Check.ID. One that is missing is well, or
	// nobody knows.
	Targets map[string]Cause `json:"targets,omitempty"`
}

// POPView is the judgement on one POP: from its own nodes' words while they are heard, from the observers' probes else.
type POPView struct {
	Services map[Service]ServiceView `json:"services"`
	Weight   float64                 `json:"weight"` // share of its capacity that is healthy, 0 to 1
}

// ServiceView is the state of one service with its cause.
type ServiceView struct {
	State State `json:"state"`
	Cause Cause `json:"cause"`
	// Suspect says that a probe has failed since the last good one: it may be down soon, and nobody should count on it.
	// It is of a node's own word alone.
	Suspect bool `json:"suspect,omitempty"`
}

// NodeView is what is known of one node.
type NodeView struct {
	POP      string                  `json:"pop"`
	Services map[Service]ServiceView `json:"services"`
	Draining bool                    `json:"draining,omitempty"` // by an intent, on the node or its POP
	Why      string                  `json:"why,omitempty"`      // the intent's reason
	Progress Progress                `json:"progress,omitzero"`  // how far its drain has come, by its own word
	Claims   []netip.Prefix          `json:"claims,omitempty"`   // anycast prefixes it says it announces
	Claimed  time.Time               `json:"claimed"`            // when we last heard that
	Heard    bool                    `json:"heard"`              // its own word is fresh enough to count
	// Knows says that it has told us that it has heard how we are now: if we want to leave, it does not count on us.
	Knows bool `json:"knows,omitempty"`
}

// State returns the state of a service at a POP; a POP of which nothing is known is Unknown.
func (v *View) State(pop string, s Service) State {
	return v.Service(pop, s).State
}

// Service returns a service of a POP with its cause; the zero value if nothing is known of it.
func (v *View) Service(pop string, s Service) ServiceView {
	if v == nil {
		return ServiceView{}
	}
	return v.POPs[pop].Services[s]
}

// Usable reports whether clients may be sent to the service at that POP. A nil View knows nothing and allows all.
func (v *View) Usable(pop string, s Service) bool { return v.State(pop, s).Usable() }

// Claimants counts the POPs other than except that claim the prefix with a claim younger than maxAge at time now.
func (v *View) Claimants(prefix netip.Prefix, except string, now time.Time, maxAge time.Duration) int {
	if v == nil {
		return 0
	}
	seen := map[string]bool{}
	for _, n := range v.Nodes {
		if n.POP == except || seen[n.POP] || now.Sub(n.Claimed) > maxAge {
			continue
		}
		if slices.Contains(n.Claims, prefix) {
			seen[n.POP] = true
		}
	}
	return len(seen)
}
