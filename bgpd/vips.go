package bgpd

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/catchment-net/catchment/bgpd/announce"
	"github.com/catchment-net/catchment/bgpd/fib"
	"github.com/catchment-net/catchment/health"
	"github.com/catchment-net/catchment/topology"
)

// The service addresses of the anycast prefixes live on lo (design §4):
//
//	address added ──► route announced  …  route withdrawn ──► no client for Drain.Quiet ──► address removed
//
// so that whoever is sent here is answered, and whoever still comes after the withdrawal, too.

// loopback is where service addresses are put: lo, or a test's.
type loopback interface {
	Add(netip.Addr) error
	Remove(netip.Addr) error
	Close()
}

// vips are the service addresses that are on lo because of us. It is used with the server's mu held.
type vips struct {
	lo   loopback
	idle map[netip.Addr]time.Time // those that are there: since when no route leads to them; zero while one does
}

// openVIPs finds lo, if it is asked for.
func (s *Server) openVIPs() (*vips, error) {
	if !s.o.VIPs {
		return nil, nil //nolint:nilnil // none is what nobody asked for
	}
	lo, err := fib.OpenLoopback()
	if err != nil {
		return nil, err
	}
	return &vips{lo: lo, idle: map[netip.Addr]time.Time{}}, nil
}

// vipFailed reports what could not be done on lo.
func (s *Server) vipFailed(err error) {
	if err != nil {
		s.o.Logger.Error("service addresses not as they should be", "pop", s.conf.node.POP.Name, "error", err)
	}
}

// prepare puts the addresses of what is about to be announced on lo. A prefix whose addresses cannot be there is not
// announced: its clients would find nobody.
func (v *vips) prepare(t *topology.Topology, out announce.Output) (failed error) {
	if v == nil {
		return nil
	}
	for i, w := range out.Wants {
		if !w.Anycast || w.State == announce.Withdrawn {
			continue
		}
		for _, a := range addressesIn(t, w.Prefix) {
			var err error
			if _, there := v.idle[a]; !there {
				err = v.lo.Add(a)
			}
			if err != nil {
				failed = err
				out.Wants[i].State, out.Wants[i].Reason, out.Wants[i].Step = announce.Withdrawn, err.Error(), health.NoStep
				break
			}
			v.idle[a] = time.Time{}
		}
	}
	return failed
}

// clear takes away the addresses to which no route leads any more and which nobody has asked for a while. It returns when
// to look again; zero for never.
func (v *vips) clear(t *topology.Topology, out announce.Output, now, lastRequest time.Time) (next time.Time, failed error) {
	if v == nil {
		return next, nil
	}
	quiet := t.Drain.WithDefaults().Quiet
	for a, since := range v.idle {
		if slices.ContainsFunc(out.Wants, func(w announce.Want) bool {
			return w.Anycast && w.State != announce.Withdrawn && w.Prefix.Contains(a)
		}) {
			continue
		}
		if since.IsZero() || now.Before(since) {
			since = now
			v.idle[a] = now
		}
		due := since.Add(quiet)
		if silent := lastRequest.Add(quiet); silent.After(due) && silent.Sub(now) <= quiet {
			due = silent
		}
		if now.Before(due) {
			if next.IsZero() || due.Before(next) {
				next = due
			}
			continue
		}
		if err := v.lo.Remove(a); err != nil {
			failed = err
		}
		delete(v.idle, a)
	}
	return next, failed
}

// end takes all addresses away: no session is left by which anybody could be sent here.
func (v *vips) end() error {
	if v == nil {
		return nil
	}
	var failed error
	for a := range v.idle {
		if err := v.lo.Remove(a); err != nil {
			failed = fmt.Errorf("at the end: %w", err)
		}
	}
	v.lo.Close()
	return failed
}

func addressesIn(t *topology.Topology, p netip.Prefix) []netip.Addr {
	return slices.DeleteFunc(slices.Concat(t.Anycast.DNS, t.Anycast.Web), func(a netip.Addr) bool { return !p.Contains(a) })
}
