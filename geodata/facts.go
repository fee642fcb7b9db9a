package geodata

import "net/netip"

// Sources is all that steering knows of addresses. The zero value knows nothing. It must not be changed after its first
// use; then it is safe for concurrent use.
type Sources struct {
	Databases []*DB // a later one wins, field by field
	Rules     Rules
}

// Facts is what a decision may depend on. Of an address's Location it leaves out City and ASN, which decide nothing (an
// ASN does through ByASN): so a million networks have a few hundred Facts. It is comparable; equal Facts are equal
// decisions.
type Facts struct {
	Known    bool     // a database has a record
	Place    Location // City and ASN are blank
	Prefix   *Rule    // the prefix rule that covers the address; nil: none
	ASN      *Rule    // the rule for its ASN
	Measured *Rule    // the measured row that covers it
}

// merge lays what a later source knows over what an earlier one does. Another country takes the earlier one's region,
// city and point with it: they lie elsewhere.
func (l Location) merge(later Location) Location {
	if later.Country != "" && later.Country != l.Country {
		later.ASN = or(later.ASN, l.ASN)
		return later
	}
	l.Country = or(later.Country, l.Country)
	l.Continent = or(later.Continent, l.Continent)
	l.Region = or(later.Region, l.Region)
	l.City = or(later.City, l.City)
	l.ASN = or(later.ASN, l.ASN)
	if later.Point {
		l.Point, l.Lat, l.Lon = true, later.Lat, later.Lon
	}
	return l
}

func or[T comparable](a, b T) T {
	var zero T
	if a != zero {
		return a
	}
	return b
}

// Locate merges what the databases say of an address.
func (s *Sources) Locate(a netip.Addr) (loc Location, known bool) {
	for _, db := range s.Databases {
		if l, _, ok := db.Locate(a); ok {
			loc, known = loc.merge(l), true
		}
	}
	return loc, known
}

// Facts looks one address up, the plain way: in each database and through all rules. It is for explaining and for
// testing tables; it takes microseconds.
func (s *Sources) Facts(a netip.Addr) Facts {
	loc, known := s.Locate(a)
	f := Facts{Known: known, Prefix: longest(s.Rules.Prefixes, a), Measured: longest(s.Rules.Measured, a)}
	for _, r := range s.Rules.ASNs {
		if loc.ASN != 0 && r.ASN == loc.ASN {
			f.ASN = r
		}
	}
	f.Place = loc.place()
	return f
}

// place is the part of a location that decisions may depend on.
func (l Location) place() Location {
	l.City, l.ASN = "", 0
	return l
}

func longest(rules []*Rule, a netip.Addr) *Rule {
	var best *Rule
	for _, r := range rules {
		if r.Prefix.Contains(a) && (best == nil || r.Prefix.Bits() >= best.Prefix.Bits()) {
			best = r
		}
	}
	return best
}
