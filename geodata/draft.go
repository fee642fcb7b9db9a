package geodata

import (
	"errors"
	"fmt"
	"io"
	"math"
	"net/netip"
	"strings"
)

// Range is one row of a source: addresses of one family, from First to Last, and what is known of them.
type Range struct {
	First, Last netip.Addr
	Location
	Line int // in its file; 0: not known
}

// RangeOf is the Range of a network.
func RangeOf(p netip.Prefix, loc Location) Range {
	first := numberOf(p.Addr())
	last := first.end(p.Bits(), p.Addr().BitLen()).addr(p.Addr().BitLen())
	return Range{First: p.Addr(), Last: last, Location: loc}
}

// Draft is a database in the making: source after source is laid over it. The zero value is an empty one. It belongs to one
// goroutine.
type Draft struct {
	locations *interner[Location]
	layer     [2][]block // of the source that is being added, IPv4 and IPv6
	world     [2]*spans
}

func (d *Draft) start() {
	if d.locations == nil {
		d.locations = newInterner(Location{})
		d.world = [2]*spans{whole(32), whole(128)}
	}
}

// Add takes a row of the present source. Within a source ranges may nest; the smallest wins.
func (d *Draft) Add(r Range) error {
	if !r.First.IsValid() || r.First.BitLen() != r.Last.BitLen() || r.Last.Less(r.First) || r.First.Zone() != "" || r.Last.Zone() != "" {
		return fmt.Errorf("range %v to %v: want two addresses of one family, the lower one first", r.First, r.Last)
	}
	d.start()
	family := 0
	if r.First.Is6() {
		family = 1
	}
	line := int32(min(r.Line, math.MaxInt32))
	d.layer[family] = append(d.layer[family], block{numberOf(r.First), numberOf(r.Last), d.locationID(r.Location), line})
	return nil
}

// locationID keeps copies of the strings, which may be parts of whole lines.
func (d *Draft) locationID(loc Location) uint32 {
	if id, ok := d.locations.ids[loc]; ok {
		return id
	}
	loc.Country, loc.Continent = strings.Clone(loc.Country), strings.Clone(loc.Continent)
	loc.Region, loc.City = strings.Clone(loc.Region), strings.Clone(loc.City)
	return d.locations.id(loc)
}

// Lay ends the present source: its rows are laid over those of all sources before, and win, field by field.
func (d *Draft) Lay() error {
	d.start()
	for i, width := range []int{32, 128} {
		over, err := flatten(width, d.layer[i])
		d.layer[i] = nil
		if err != nil {
			return crossed(err, width)
		}
		d.world[i] = combine(d.world[i], over, func(a, b uint32) uint32 {
			return d.locations.id(d.locations.values[a].merge(d.locations.values[b]))
		})
	}
	return nil
}

func crossed(err error, width int) error {
	var c *crossing
	if !errors.As(err, &c) {
		return err
	}
	return fmt.Errorf("range %v to %v (line %d) crosses %v to %v (line %d); want ranges that are apart or lie in one another",
		c.b.first.addr(width), c.b.last.addr(width), c.b.line, c.a.first.addr(width), c.a.last.addr(width), c.a.line)
}

// Networks counts the networks that WriteTo will write.
func (d *Draft) Networks() int {
	d.start()
	n := 0
	for _, s := range d.world {
		_ = s.prefixes(func(netip.Prefix, uint32) error { n++; return nil })
	}
	return n
}

// WriteTo writes an MMDB in MaxMind's City layout. The same rows give the same bytes: the build time within is a
// constant.
func (d *Draft) WriteTo(w io.Writer) (int64, error) {
	d.start()
	return writeMMDB(w, d.world[:], d.locations.values)
}

// Ranges calls add for the networks of the database, IPv4 first, each family in order. Equal neighbours are one range.
func (d *DB) Ranges(add func(Range) error) error {
	for _, width := range []int{32, 128} {
		all := newInterner(known{})
		s, err := d.ranges(width, all, func(l Location) Location { return l })
		if err != nil {
			return fmt.Errorf("read geodata %q: %w", d.name, err)
		}
		for i, v := range s.value {
			if v == 0 {
				continue
			}
			if err := add(Range{First: s.start[i].addr(width), Last: s.last(i).addr(width), Location: all.values[v].Location}); err != nil {
				return err
			}
		}
	}
	return nil
}
