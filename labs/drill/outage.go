package drill

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/catchment-net/catchment/labs"
)

// Outage is one time in which a client had no good answer for one load, and where it went.
type Outage struct {
	From  Span `json:"from_s"` // on the drill's clock: the start of the first failed request
	Total Span `json:"total_s"`
	Lost  int  `json:"lost"`
	// The three parts begin at the fault, not at the first failed request, and end with the first good answer. They are
	// nil if no step came before the outage.
	Detection   *Span  `json:"detection_s,omitempty"`   // until the first sign that someone noticed
	Convergence *Span  `json:"convergence_s,omitempty"` // until the client's router or the last name server had changed
	TTLWait     *Span  `json:"ttl_wait_s,omitempty"`    // until the first good answer
	Cause       string `json:"cause,omitempty"`         // the step that it followed
	Error       string `json:"error"`                   // of its last failed request

	start, end int64 // end is -1 when no good answer came
	failed     []labs.Sample
}

// outages finds the outages of one client and load: runs of failed requests in the order of their starts.
func (ev *evidence) outages(p pair) []Outage {
	var list []Outage
	var open *Outage
	for _, s := range ev.byPair[p] {
		switch {
		case s.OK && open != nil:
			open.end = s.End
			open.Total = Span(s.End - open.start)
			list = append(list, *open)
			open = nil
		case !s.OK:
			if open == nil {
				open = &Outage{start: s.Start, end: -1, Total: Forever, From: Span(s.Start - ev.rec.Zero)}
			}
			open.failed = append(open.failed, s)
			open.Lost++
			open.Error = s.Error
		}
	}
	if open != nil {
		list = append(list, *open)
	}
	for i := range list {
		ev.split(p, &list[i])
	}
	return list
}

// touches reports whether one of the outage's failed samples ended within the bounds.
func (o *Outage) touches(from, to int64) bool {
	for _, s := range o.failed {
		if s.End >= from && s.End < to {
			return true
		}
	}
	return false
}

// split tells detection, convergence and waiting apart. A part that never came takes all the time that is left.
func (ev *evidence) split(p pair, o *Outage) {
	fault, pop, ok := ev.before(o)
	if !ok {
		return
	}
	o.Cause = string(fault.Verb) + " " + fault.Subject
	last := o.end
	if last < 0 {
		last = ev.end
	}
	noticed, changed, found := ev.signs(p, fault.Start, last, pop, anycast(o.failed))
	if !found && o.end < 0 {
		forever := Forever
		o.Detection = &forever
		return
	}
	noticed = min(max(noticed, fault.Start), last)
	if !found {
		noticed = last
	}
	changed = min(max(changed, noticed), last)
	detection, convergence, wait := Span(noticed-fault.Start), Span(changed-noticed), Span(last-changed)
	if o.end < 0 {
		wait = Forever
	}
	o.Detection, o.Convergence, o.TTLWait = &detection, &convergence, &wait
}

// before is the step that an outage followed, with the POP that it concerns: the last one begun before the first of its
// requests failed that failed after a step. A later step, such as a heal while it lasts, did not bring it about.
func (ev *evidence) before(o *Outage) (FaultRecord, string, bool) {
	for _, s := range o.failed {
		for _, f := range slices.Backward(ev.rec.Faults) {
			if f.Start <= s.End {
				return f, ev.popOfSubject(f), true
			}
		}
	}
	return FaultRecord{}, "", false
}

// popOfSubject is the POP that a fault hits, or "".
func (ev *evidence) popOfSubject(f FaultRecord) string {
	for _, p := range ev.d.topo.POPs {
		if ev.d.touches(ev.pop(f.Subject), p.Name) {
			return p.Name
		}
	}
	return ""
}

// anycast reports whether the requests went to shared addresses.
func anycast(list []labs.Sample) bool {
	for _, s := range list {
		if s.DNSPOP != "" {
			return false
		}
	}
	return true
}

// signs finds when someone noticed a fault and when the client's way had changed. For anycast these are routers' best
// paths that leave the POP; for GeoDNS a health event that takes the POP out, and the last fresh answer that still named
// it before `until`: after a heal they rightly name it again. found is false if nobody ever noticed.
func (ev *evidence) signs(p pair, fault, until int64, pop string, shared bool) (noticed, changed int64, found bool) {
	if shared {
		return ev.routeSigns(p.client, fault, pop)
	}
	for _, e := range ev.changes {
		if viewed(e, pop) && e.Mono >= fault &&
			(e.State == "down" || e.State == "draining") {
			noticed, found = e.Mono, true
			break
		}
	}
	for _, s := range ev.byPair[p] {
		if s.DNSFresh && s.DNSTime >= fault && s.DNSTime < until && names(s.DNSPOP, pop) {
			changed = max(changed, s.DNSTime)
		}
	}
	return noticed, changed, found
}

func (ev *evidence) routeSigns(client string, fault int64, pop string) (noticed, changed int64, found bool) {
	for _, net := range ev.d.topo.Internet.Networks {
		for _, prefix := range ev.prefixes() {
			left, ok := ev.left(route{net.Name, prefix.String()}, fault, pop)
			if !ok {
				continue
			}
			if !found || left < noticed {
				noticed, found = left, true
			}
			if net.Name == client {
				changed = max(changed, left)
			}
		}
	}
	return noticed, changed, found
}

// left is when a route that led to the POP at a moment first led elsewhere or nowhere.
func (ev *evidence) left(key route, from int64, pop string) (int64, bool) {
	now, later := ev.pathAt(key, from-1, ev.end)
	if !now.has || now.pop != pop {
		return 0, false
	}
	for _, h := range later {
		if !h.has || h.pop != pop {
			return h.at, true
		}
	}
	return 0, false
}

// names reports whether a list of POPs joined by "+" holds pop.
func names(list, pop string) bool {
	return slices.Contains(strings.Split(list, "+"), pop)
}

// leading is how long one route still led to a POP after a fault: Forever if it does until `until`. ok is false if the
// route did not lead there when the fault came.
func (ev *evidence) leading(key route, fault, until int64, pop string) (Span, bool) {
	now, later := ev.pathAt(key, fault-1, until)
	if !now.has || now.pop != pop {
		return 0, false
	}
	there, last := true, fault
	for _, h := range later {
		is := h.has && h.pop == pop
		if there && !is {
			last = h.at
		}
		there = is
	}
	if there {
		return Forever, true
	}
	return Span(last - fault), true
}

// family names an address family as reports do.
func family(prefix netip.Prefix) string {
	if prefix.Addr().Is4() {
		return "ipv4"
	}
	return "ipv6"
}
