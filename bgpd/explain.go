package bgpd

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/catchment-net/catchment/bgpd/announce"
	"github.com/catchment-net/catchment/bgpd/rpki"
	"github.com/catchment-net/catchment/bgpd/speaker"
	"github.com/catchment-net/catchment/internal/event"
)

// Explanation is why a prefix is announced by this node or not.
type Explanation struct {
	Prefix     netip.Prefix         `json:"prefix"`
	Node       string               `json:"node"`
	Now        time.Time            `json:"now"`
	State      announce.State       `json:"state"`
	Reason     string               `json:"reason"`
	Kept       bool                 `json:"kept,omitempty"` // announced although a cause speaks against it
	Conditions []announce.Condition `json:"conditions"`     // in the order in which the rules ask
	Wire       []Sent               `json:"wire"`           // what each neighbour has of it
	Changes    []event.Event        `json:"changes"`        // the last ones, oldest first, with cause and ms_from_cause
}

// Sent is what a neighbour was sent of a prefix.
type Sent struct {
	Neighbor string    `json:"neighbor"`
	State    string    `json:"state"` // of the session
	Since    time.Time `json:"since"`
	Route    *RIBEntry `json:"route,omitempty"` // nil where it has none of us
}

// maxChanges is how many changes of a prefix an explanation tells.
const maxChanges = 8

// Explain says why a prefix of ours is announced or not, what each neighbour has of it, and how it came to that. An error
// is for a prefix that is not ours, or a server that does not run.
func (s *Server) Explain(p netip.Prefix) (*Explanation, error) {
	s.mu.Lock()
	if s.conf == nil || !s.running {
		s.mu.Unlock()
		return nil, fmt.Errorf("node %q speaks no BGP now", s.o.Node)
	}
	in, sp := s.input(), s.speaker
	w, conditions, ours := announce.Explain(in, p)
	if ours {
		var state rpki.State
		var verdict string
		if w, state, verdict = s.checkOne(w); verdict != "" {
			conditions = append(conditions, announce.Condition{What: "RPKI", OK: state != rpki.Invalid, Value: verdict})
		}
	}
	s.mu.Unlock()
	if !ours {
		return nil, fmt.Errorf("prefix %v is none of node %q; it has %v", p, s.o.Node, slices.Concat(in.Topology.Anycast.Prefixes, in.Node.POP.Unicast))
	}
	e := &Explanation{Prefix: p, Node: s.o.Node, Now: in.Now, State: w.State, Reason: w.Reason, Kept: w.Kept, Conditions: conditions, Changes: s.changes(p)}
	for _, n := range sp.Neighbors() {
		routes, err := sp.Adj(speaker.AdjRIBOut, n.Neighbor, p)
		if err != nil {
			return nil, err
		}
		sent := Sent{Neighbor: n.Neighbor, State: string(n.State), Since: n.Since}
		if len(routes) > 0 {
			sent.Route = &routes[0]
		}
		e.Wire = append(e.Wire, sent)
	}
	return e, nil
}

func (s *Server) changes(p netip.Prefix) []event.Event {
	if s.o.Events == nil {
		return nil
	}
	all, _, _ := s.o.Events.After(0)
	all = slices.DeleteFunc(all, func(e event.Event) bool { return e.Kind != event.Announce || e.Subject != p.String() })
	return all[max(0, len(all)-maxChanges):]
}
