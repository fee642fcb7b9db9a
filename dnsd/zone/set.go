package zone

import (
	"errors"
	"fmt"
	"slices"

	"github.com/miekg/dns"
)

// Set is all zones that a server answers from, with the steered hosts in them.
type Set struct {
	zones map[string]*Zone
}

// NewSet joins zones and the names of steered hosts (with or without the final dot). A zone given twice, a host in no
// zone and a host that a delegation or a DNAME hides are errors, all in one.
func NewSet(zones []*Zone, hosts []string) (*Set, error) {
	s := &Set{zones: make(map[string]*Zone, len(zones))}
	var errs []error
	for _, z := range zones {
		if first := s.zones[z.origin]; first != nil {
			errs = append(errs, fmt.Errorf("zone %q is in %s and in %s; want one of them", z.origin, first.file, z.file))
			continue
		}
		s.zones[z.origin] = z
	}
	in := map[*Zone][]string{}
	for _, h := range hosts {
		h = Canonical(h)
		z := s.Find(h)
		if z == nil {
			errs = append(errs, fmt.Errorf("host %q lies in no zone that is served; add its zone", h))
			continue
		}
		if by, yes := z.occluded(h); yes {
			errs = append(errs, fmt.Errorf("host %q lies below %q, which zone %q delegates or renames; steer it in that zone", h, by, z.origin))
			continue
		}
		in[z] = append(in[z], h)
	}
	for z, hosts := range in {
		s.zones[z.origin] = z.withSteered(hosts)
	}
	if len(errs) > 0 {
		slices.SortFunc(errs, func(a, b error) int { return cmpText(a.Error(), b.Error()) })
		return nil, errors.Join(errs...)
	}
	return s, nil
}

func cmpText(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// Len is the number of zones.
func (s *Set) Len() int { return len(s.zones) }

// Find returns the zone that a canonical name lies in, the deepest one, or nil.
func (s *Set) Find(owner string) *Zone {
	for {
		if z := s.zones[owner]; z != nil {
			return z
		}
		if owner == "." {
			return nil
		}
		owner = parent(owner)
	}
}

// Inside reports whether a canonical name lies in a zone below its top.
func (s *Set) Inside(owner string) bool {
	z := s.Find(owner)
	return z != nil && z.origin != owner
}

// find is Find, but DS records live in the zone above (RFC 4035 §3.1.4.1), if we serve it.
func (s *Set) find(owner string, qtype uint16) *Zone {
	if qtype == dns.TypeDS && owner != "." && s.zones[owner] != nil {
		if above := s.Find(parent(owner)); above != nil {
			return above
		}
	}
	return s.Find(owner)
}
