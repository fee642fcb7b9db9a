package announce

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/catchment-net/catchment/health"
)

// The way out that loses nobody is a ladder; lifting the drain leads back from every step of it:
//
//	dns        announced as before: first every name server hears that the node drains and stops naming its POP
//	gshut      announced with GRACEFUL_SHUTDOWN (RFC 8326), and what the topology adds: the neighbours prefer others
//	withdrawn  no client has asked for a while: the route goes
//	down       the process ends, and its sessions with it (bgpd.Server)

// Drain is how far the drain of a prefix has come. The times are those at which its steps were entered.
type Drain struct {
	Since time.Time // dns
	GSHUT time.Time // zero before
	Gone  time.Time // withdrawn; zero before. It stays so until the drain is lifted, or nobody else is left
}

// Step is where the drain is, and since when.
func (d Drain) Step() (health.Step, time.Time) {
	switch {
	case !d.Gone.IsZero():
		return health.StepWithdrawn, d.Gone
	case !d.GSHUT.IsZero():
		return health.StepGSHUT, d.GSHUT
	case !d.Since.IsZero():
		return health.StepDNS, d.Since
	}
	return health.NoStep, time.Time{}
}

// begun is the drain at time now: begun, and by a clock that has not been set back since.
func (d Drain) begun(now time.Time) Drain {
	for _, at := range []*time.Time{&d.Since, &d.GSHUT, &d.Gone} {
		if now.Before(*at) {
			*at = now
		}
	}
	if d.Since.IsZero() {
		d.Since = now
	}
	return d
}

// shed goes down the ladder. Where nobody else is left to take the clients, a drain goes no further than GSHUT, and
// comes back to it: the prefix is never gone by a wish. Only a process that stops goes all the way.
func (g *group) shed(why string, since time.Time) decision {
	in := g.in
	ladder := in.Topology.Drain.WithDefaults()
	d := in.Drains[g.prefixes[0]].begun(in.Now)
	if !g.past.Announced() && d.GSHUT.IsZero() && d.Gone.IsZero() {
		d.Gone = in.Now // what nobody was told of needs no moving away
	}
	if d.GSHUT.IsZero() && d.Gone.IsZero() {
		if turn := d.Since.Add(ladder.DNS); !in.Alone && in.Now.Before(turn) {
			return decision{state: Announced, reason: why + "; name servers stop naming it first", since: since, drain: d, next: turn}
		}
		d.GSHUT = in.Now
	}
	if !in.Stopping && !in.Alone && !g.relieved() {
		if !d.Gone.IsZero() {
			d.GSHUT, d.Gone = in.Now, time.Time{}
		}
		return decision{state: GSHUT, kept: true, reason: why + "; kept, fail open: no other healthy node announces", since: since, drain: d}
	}
	if !d.Gone.IsZero() {
		return decision{state: Withdrawn, reason: why, since: since, drain: d}
	}
	calm := d.GSHUT.Add(ladder.Min)
	if silent := in.LastRequest.Add(ladder.Quiet); silent.After(calm) {
		calm = silent
	}
	if limit := d.GSHUT.Add(ladder.Max); calm.After(limit) {
		calm = limit
	}
	if in.Now.Before(calm) {
		return decision{state: GSHUT, reason: why + "; waiting until no client asks", since: since, drain: d, next: calm}
	}
	d.Gone = in.Now
	return decision{state: Withdrawn, reason: fmt.Sprintf("%s; quiet after %v", why, in.Now.Sub(d.Since).Round(time.Millisecond)), since: since, drain: d}
}

// overtaken lets a drain of what is withdrawn for another cause be over: when that cause has passed, or the first good
// probe after a restart is there, the node's clients are still wanted elsewhere.
func (g *group) overtaken(d decision) decision {
	in := g.in
	if d.state != Withdrawn || !d.drain.Since.IsZero() {
		return d
	}
	if _, _, draining := wanted(in, nil); draining {
		d.drain = in.Drains[g.prefixes[0]].begun(in.Now)
		if d.drain.Gone.IsZero() {
			d.drain.Gone = in.Now
		}
	}
	return d
}

// avoid writes into a wanted route what asks neighbours to avoid it.
func avoid(in *Input, w *Want) {
	ladder := in.Topology.Drain
	w.Communities = append([]uint32{GracefulShutdown}, ladder.Communities...)
	w.LargeCommunities = append(w.LargeCommunities, ladder.LargeCommunities...)
	w.Prepend = ladder.Prepend
}

// WhyDrained is why the node is drained, by the reason of the prefix that is furthest behind; empty without a drain.
func (o Output) WhyDrained() string {
	for _, w := range o.Wants {
		if w.Step != health.NoStep && w.Step == o.Progress.Step {
			return w.Reason
		}
	}
	return ""
}

// progress is how far the node is with what it drains: as far as the prefix that is furthest behind.
func progress(wants []Want, drains map[netip.Prefix]Drain) health.Progress {
	var p health.Progress
	for _, w := range wants {
		step, at := drains[w.Prefix].Step()
		switch {
		case step == health.NoStep:
		case p.Step == health.NoStep || step < p.Step:
			p.Step, p.Since, p.Kept = step, at, w.Kept
		case step == p.Step:
			p.Kept = p.Kept || w.Kept
			if at.After(p.Since) {
				p.Since = at
			}
		}
	}
	return p
}
