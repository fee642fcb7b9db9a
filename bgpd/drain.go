package bgpd

import (
	"strconv"
	"time"

	"github.com/catchment-net/catchment/health"
	"github.com/catchment-net/catchment/internal/event"
)

// Progress is how far the node's drain has come, with the requests of the last second.
func (s *Server) Progress() health.Progress {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.progress
	if p.Step != health.NoStep {
		p.Requests = s.o.Requests()
	}
	return p
}

// climb makes an event of a step down the ladder, or of the end of a drain. It is called with mu held.
func (s *Server) climb(now health.Progress, why string) {
	was := s.progress
	if now == was {
		return
	}
	s.progress = now
	s.metrics.step.Set(float64(now.Step))
	s.o.OnProgress()
	if now.Step == was.Step && now.Kept == was.Kept {
		return
	}
	e := event.Event{Kind: event.Drain, Subject: s.o.Node, State: now.Step.String(), Cause: why, Detail: map[string]string{
		"was": was.Step.String(), "requests": strconv.FormatUint(uint64(s.o.Requests()), 10),
	}}
	if now.Step == health.NoStep {
		e.State, e.Cause = "undone", "nobody drains it any more"
	}
	if last := s.o.Quiet(); !last.IsZero() {
		e.Detail["silent_ms"] = strconv.FormatInt(s.o.Now().Sub(last).Milliseconds(), 10)
	}
	if !was.Since.IsZero() {
		e.Detail["step_ms"] = strconv.FormatInt(s.o.Now().Sub(was.Since).Round(time.Millisecond).Milliseconds(), 10)
	}
	if now.Kept {
		e.Detail["kept"] = "yes"
	}
	s.o.Events.Add(e)
	s.o.Logger.Info("drain", "pop", s.conf.node.POP.Name, "step", e.State, "was", was.Step.String(), "cause", e.Cause)
}
