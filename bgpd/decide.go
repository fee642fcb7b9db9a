package bgpd

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/catchment-net/catchment/bgpd/announce"
	"github.com/catchment-net/catchment/bgpd/speaker"
	"github.com/catchment-net/catchment/internal/event"
)

// decide makes the wire agree with what is known now. It is called with mu held.
func (s *Server) decide() {
	if s.conf == nil || !s.running {
		return
	}
	in := s.input()
	out := announce.Decide(in)
	out.Wants = s.checked(out.Wants)
	s.drains, s.ledger, s.next = out.Drains, out.Ledger, out.Next
	s.vipFailed(s.vips.prepare(s.conf.topology, out))
	if err := s.speaker.Set(s.routes(out)); err != nil {
		s.o.Logger.Error("routes could not all be set", "node", s.o.Node, "pop", s.conf.node.POP.Name, "error", err)
	}
	next, err := s.vips.clear(s.conf.topology, out, in.Now, in.LastRequest)
	s.vipFailed(err)
	if !next.IsZero() && (s.next.IsZero() || next.Before(s.next)) {
		s.next = next
	}
	s.report(out)
	s.climb(out.Progress, out.WhyDrained())
	s.claim(s.attracting())
	if s.stopping && out.Drained() {
		s.markDrained()
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// input is all that is known now. It is called with mu held.
func (s *Server) input() announce.Input {
	return announce.Input{
		Topology: s.conf.topology, Node: s.conf.node, View: s.view, Now: s.o.Now(),
		Stopping: s.stopping, LastRequest: s.o.Quiet(), Drains: s.drains, Ledger: s.ledger, Alone: s.o.Alone, Undamped: s.o.Undamped,
	}
}

// routes writes what is wanted for the speaker.
func (s *Server) routes(out announce.Output) []speaker.Route {
	var all []speaker.Route
	for _, w := range out.Wants {
		if w.State == announce.Withdrawn {
			continue
		}
		hop := w.NextHop
		for _, h := range s.o.NextHops {
			if h.Is4() == w.Prefix.Addr().Is4() {
				hop = h
			}
		}
		all = append(all, speaker.Route{
			Prefix: w.Prefix, NextHop: hop, Communities: w.Communities, LargeCommunities: w.LargeCommunities,
			ASPath: slices.Repeat([]uint32{s.conf.asn}, w.Prepend),
		})
	}
	return all
}

// report makes an event of every prefix whose state is another now, and of one that is newly kept against a cause.
func (s *Server) report(out announce.Output) {
	now := s.o.Now()
	wants := make(map[netip.Prefix]announce.Want, len(out.Wants))
	var changed []announce.Want
	for _, w := range out.Wants {
		wants[w.Prefix] = w
		was, known := s.last[w.Prefix]
		if !known && w.State == announce.Withdrawn || known && was.State == w.State && was.Kept == w.Kept {
			continue
		}
		changed = append(changed, w)
	}
	for prefix, was := range s.last {
		if _, still := wants[prefix]; !still && was.State != announce.Withdrawn {
			was.State, was.Reason, was.Since = announce.Withdrawn, "no longer in the topology", time.Time{}
			changed = append(changed, was)
		}
	}
	s.last = wants
	for _, w := range changed {
		s.reportOne(w, now)
	}
	s.log(changed)
}

// loggedOneByOne is how many changes at once have a line each in the log; of more, those for the same reason share one.
const loggedOneByOne = 16

func (s *Server) log(changed []announce.Want) {
	type change struct {
		state  announce.State
		reason string
	}
	together := map[change]int{}
	for _, w := range changed {
		if len(changed) <= loggedOneByOne {
			s.o.Logger.Info("announcement changed", "pop", s.conf.node.POP.Name, "prefix", w.Prefix, "state", w.State, "cause", w.Reason)
			continue
		}
		together[change{w.State, w.Reason}]++
	}
	for c, n := range together {
		s.o.Logger.Info("announcements changed", "pop", s.conf.node.POP.Name, "prefixes", n, "state", c.state, "cause", c.reason)
	}
}

func (s *Server) reportOne(w announce.Want, now time.Time) {
	detail := map[string]string{"prefix": w.Prefix.String(), "family": "ipv6"}
	if w.Prefix.Addr().Is4() {
		detail["family"] = "ipv4"
	}
	// A cause may be younger than now where its clock is another's; then we cannot say how long it took.
	if took := now.Sub(w.Since); !w.Since.IsZero() && took >= 0 {
		detail["ms_from_cause"] = strconv.FormatFloat(float64(took)/float64(time.Millisecond), 'f', 3, 64)
		s.metrics.delay.Observe(took.Seconds())
	}
	if len(w.LeftTo) > 0 {
		detail["confirmed_by"] = strings.Join(w.LeftTo, " ")
	}
	s.metrics.changes.WithLabelValues(string(w.State)).Inc()
	s.o.Events.Add(event.Event{Kind: event.Announce, Subject: w.Prefix.String(), State: string(w.State), Cause: w.Reason, Detail: detail})
}

// attracting lists the anycast prefixes that others may count on: announced, and heard by some neighbour if there are
// neighbours at all. It is called with mu held.
func (s *Server) attracting() []netip.Prefix {
	if !s.running || len(s.conf.neighbors) > 0 && s.sessions == 0 {
		return nil
	}
	var all []netip.Prefix
	for _, p := range s.conf.topology.Anycast.Prefixes {
		if s.last[p].Attracts() {
			all = append(all, p)
		}
	}
	return all
}

// claim is called with mu held.
func (s *Server) claim(now []netip.Prefix) {
	if slices.Equal(s.claims, now) {
		return
	}
	s.claims = now
	s.metrics.claims.Set(float64(len(now)))
	s.o.OnClaims(slices.Clone(now))
}
