package zone

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/miekg/dns"
)

// Set is all zones that a server answers from, with the steered hosts in them.
type Set struct {
	zones map[string]*Zone
}

// NewSet joins zones and the names of steered hosts (with or without the final dot). A zone given twice and a host in no
// zone are errors, all in one. A host that a delegation or a DNAME hides, or that lies in a broken zone, is not steered.
// What is as it was in before (which may be nil) is the same *Zone again.
func NewSet(zones []*Zone, hosts []string, before *Set) (*Set, error) {
	s := &Set{zones: make(map[string]*Zone, len(zones))}
	var errs []error
	for _, z := range zones {
		if first := s.zones[z.origin]; first != nil {
			errs = append(errs, fmt.Errorf("zone %q is in %s and in %s; want one of them", z.origin, first.file, z.file))
			continue
		}
		s.zones[z.origin] = z.plain
	}
	in := map[*Zone][]string{}
	for _, h := range hosts {
		h = Canonical(h)
		z := s.Find(h)
		if z == nil {
			errs = append(errs, fmt.Errorf("host %q lies in no zone that is served; add its zone", h))
			continue
		}
		if _, hidden := z.occluded(h); !hidden && !z.Broken() {
			in[z] = append(in[z], h)
		}
	}
	for z, hosts := range in {
		slices.Sort(hosts)
		s.zones[z.origin] = before.again(z, hosts)
	}
	if len(errs) > 0 {
		slices.SortFunc(errs, func(a, b error) int { return cmp.Compare(a.Error(), b.Error()) })
		return nil, errors.Join(errs...)
	}
	return s, nil
}

// again returns the zone with the hosts, the very one of the set if it has it.
func (s *Set) again(z *Zone, hosts []string) *Zone {
	if s != nil {
		if old := s.zones[z.origin]; old != nil && old.plain == z && slices.Equal(old.hosts, hosts) {
			return old
		}
	}
	return z.withSteered(hosts)
}

// Unchanged returns the zone of that origin as Parse gave it, if its file and text are the same and it is not broken.
func (s *Set) Unchanged(origin, file string, text []byte) *Zone {
	z := s.Last(origin)
	if z == nil || z.file != file || !bytes.Equal(z.text, text) {
		return nil
	}
	return z
}

// Last returns the zone of that origin as Parse gave it; nil if there is none, or a broken one. A nil Set has none.
func (s *Set) Last(origin string) *Zone {
	if s == nil {
		return nil
	}
	z := s.zones[Canonical(origin)]
	if z == nil || z.Broken() {
		return nil
	}
	return z.plain
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
