package drill

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/catchment-net/catchment/labs"
)

// A cause names the defect that a failure looks like, from what the failed requests have in common. It is a hint for the
// person on call, never a part of the verdict.

// breaking are the faults that hit a POP and last at a moment.
func (ev *evidence) breaking(pop string, at int64) []FaultRecord {
	var all []FaultRecord
	for i, f := range ev.rec.Faults {
		if undoes(f.Verb) != nil || f.Start > at || !ev.d.touches(ev.pop(f.Subject), pop) {
			continue
		}
		if healed, ok := ev.healed(i); !ok || healed > at {
			all = append(all, f)
		}
	}
	return all
}

// broken are the POPs that a fault hits at a moment.
func (ev *evidence) broken(at int64) []string {
	var pops []string
	for _, p := range ev.d.topo.POPs {
		if len(ev.breaking(p.Name, at)) > 0 {
			pops = append(pops, p.Name)
		}
	}
	return pops
}

// causeOf is what most of the failed requests look like.
func (ev *evidence) causeOf(list []labs.Sample) string {
	count := map[string]int{}
	for _, s := range list {
		if cause := ev.causeOfOne(s); cause != "" {
			count[cause]++
		}
	}
	most := ""
	for _, cause := range sorted(count) {
		if count[cause] > count[most] {
			most = cause
		}
	}
	return most
}

func (ev *evidence) causeOfOne(s labs.Sample) string {
	switch {
	case s.WrongBody && strings.Contains(s.Error, "private answer"):
		return "private answer shared"
	case s.WrongBody:
		return "wrong body"
	case s.DNSEmpty:
		return "empty DNS answer"
	}
	for _, pop := range ev.broken(s.Start) {
		if !ev.ledTo(s, pop) {
			continue
		}
		faults := ev.breaking(pop, s.Start)
		switch {
		case slices.ContainsFunc(faults, func(f FaultRecord) bool { return f.Verb == labs.Drain }):
			return "the drain drops requests"
		case s.DNSPOP != "" && s.DNSTime > faults[0].Start:
			return "DNS keeps the dead POP"
		case s.DNSPOP != "":
			return "the answer's TTL outlasts the POP"
		}
		return "routes keep leading to the dead POP"
	}
	return ""
}

// ledTo reports whether a request went to a POP: by its DNS answer, or for a shared address by the client's router.
func (ev *evidence) ledTo(s labs.Sample, pop string) bool {
	if s.DNSPOP != "" {
		return names(s.DNSPOP, pop)
	}
	if s.POP != "" {
		return s.POP == pop
	}
	for _, prefix := range ev.prefixes() {
		if now, _ := ev.pathAt(route{s.Client, prefix.String()}, s.Start, s.Start); now.has && now.pop == pop {
			return true
		}
	}
	return false
}

// causeOfSteering is for dns(): an answer that is empty, or that was given for a POP after its fault.
func (ev *evidence) causeOfSteering(list []labs.Sample) string {
	for _, s := range list {
		if s.DNSEmpty {
			return "empty DNS answer"
		}
		for _, pop := range ev.broken(s.DNSTime) {
			if names(s.DNSPOP, pop) {
				return "DNS keeps the dead POP"
			}
		}
	}
	return ""
}

// oneFamily reports whether the routes of one address family have all left a POP, and some of the other have not.
func (ev *evidence) oneFamily(fault FaultRecord, until int64, pop string) bool {
	late, left := map[string]bool{}, map[string]bool{}
	for _, net := range ev.d.topo.Internet.Networks {
		for _, prefix := range ev.prefixes() {
			span, led := ev.leading(route{net.Name, prefix.String()}, fault.Start, until, pop)
			switch {
			case led && span == Forever:
				late[family(prefix)] = true
			case led:
				left[family(prefix)] = true
			}
		}
	}
	return len(late) == 1 && len(left) > 0 && !slices.ContainsFunc(ev.prefixes(), func(p netip.Prefix) bool { return late[family(p)] && left[family(p)] })
}
