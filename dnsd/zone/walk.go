package zone

// Node is what there is at a name.
type Node struct {
	Types   []uint16 // of the zone's own records, lowest first; none at an empty non-terminal
	Cut     bool     // NS below the apex: a delegation
	Steered bool     // the Steerer answers A, AAAA and CNAME
}

// Walk calls f for every name at or below the origin, canonical, in no order: empty non-terminals and names below
// delegations too.
func (z *Zone) Walk(f func(owner string, n Node)) {
	for owner, n := range z.names {
		f(owner, Node{Types: n.types(), Cut: n.cut, Steered: n.steered})
	}
}

// Zones calls f for every zone of the set, in no order.
func (s *Set) Zones(f func(*Zone)) {
	for _, z := range s.zones {
		f(z)
	}
}
