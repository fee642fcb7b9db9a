package bgpd

import (
	"context"
	"fmt"
	"net/netip"
	"sync"

	"github.com/catchment-net/catchment/bgpd/announce"
	"github.com/catchment-net/catchment/bgpd/rpki"
	"github.com/catchment-net/catchment/internal/event"
)

// unchecked is what is said of a prefix about which no RTR server has data.
const unchecked = "unchecked"

// checkOrigins asks the RTR servers until ctx is done.
func (s *Server) checkOrigins(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { _ = s.rpki.Run(ctx) })
	return func() {
		cancel()
		running.Wait()
	}
}

// originsChanged is called by the validator when it would answer something else.
func (s *Server) originsChanged() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.decide()
}

// checked takes back what the RPKI calls invalid, where that is asked for. It is called with mu held.
func (s *Server) checked(wants []announce.Want) []announce.Want {
	invalid := 0
	for i, w := range wants {
		var state rpki.State
		if wants[i], state, _ = s.checkOne(w); state == rpki.Invalid {
			invalid++
		}
	}
	s.metrics.invalid.Set(float64(invalid))
	return wants
}

// checkOne judges one prefix; the verdict is "" where no RTR server is configured. While no server has data everything
// leaves: a check that is down must not take us off the net. It is called with mu held.
func (s *Server) checkOne(w announce.Want) (announce.Want, rpki.State, string) {
	conf := s.conf.topology.BGP.RPKI
	if len(conf.Servers) == 0 {
		return w, rpki.NotFound, ""
	}
	table, known := s.rpki.Table()
	state := table.Validate(w.Prefix, s.conf.asn)
	verdict := state.String()
	if !known {
		verdict = unchecked
	}
	s.noteOrigin(w.Prefix, verdict, conf.Refuse)
	if state == rpki.Invalid && conf.Refuse && w.State != announce.Withdrawn {
		w.State, w.Kept = announce.Withdrawn, false
		w.Reason = fmt.Sprintf("refused: the RPKI calls it invalid for AS %d", s.conf.asn)
	}
	return w, state, verdict
}

// noteOrigin tells of a verdict that is new; ordinary ones only when they end another. It is called with mu held.
func (s *Server) noteOrigin(prefix netip.Prefix, verdict string, refuse bool) {
	was, told := s.origins[prefix]
	if was == verdict {
		return
	}
	s.origins[prefix] = verdict
	bad := verdict == rpki.Invalid.String() || verdict == unchecked
	if !bad && (!told || was == rpki.Valid.String() || was == rpki.NotFound.String()) {
		return
	}
	effect := "announced nevertheless"
	if verdict == rpki.Invalid.String() && refuse {
		effect = "refused"
	}
	s.o.Events.Add(event.Event{
		Kind: event.Origin, Subject: prefix.String(), State: verdict, Cause: "RPKI", Detail: map[string]string{"effect": effect},
	})
	log := s.o.Logger.Info
	if bad {
		log = s.o.Logger.Warn
	}
	log("origin checked", "pop", s.conf.node.POP.Name, "prefix", prefix, "state", verdict, "effect", effect)
}

// OriginStatus is how the RPKI judges our prefixes, for people.
type OriginStatus struct {
	Refuse   bool                    `json:"refuse"`  // invalid ones are not announced
	Checked  bool                    `json:"checked"` // some server has data
	Servers  []rpki.ServerStatus     `json:"servers"`
	Prefixes map[netip.Prefix]string `json:"prefixes"` // "valid", "invalid", "not found" or "unchecked"
}

// Origins says how our prefixes are judged. There is nothing in it where no RTR server is configured.
func (s *Server) Origins() OriginStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := OriginStatus{Servers: s.rpki.Servers(), Prefixes: map[netip.Prefix]string{}}
	if s.conf == nil || len(o.Servers) == 0 {
		return o
	}
	o.Refuse = s.conf.topology.BGP.RPKI.Refuse
	_, o.Checked = s.rpki.Table()
	for _, p := range s.conf.allowed() {
		o.Prefixes[p] = s.origins[p]
	}
	return o
}
