package steer

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/catchment-net/catchment/geodata"
	"github.com/catchment-net/catchment/topology"
)

// minHead is how many places of an order are the client's own; then comes the order of his continent. So a world of
// cities has hundreds of orders and not hundreds of thousands, while nobody is sent far unless so many are down.
const minHead = 4

// geography is what a table is compiled from: spots, in the order of the file, and how they are found. A spot is a place,
// or, behind all places, one candidate of a place that has several, which a rule names. Policies of equal geography share
// a table; what stands at a spot is each one's own.
type geography struct {
	places []Place
	named  map[string]uint16 // the spot of a candidate that a rule may name
	spots  int
	head   int

	points []point             // of places
	rest   map[string][]uint16 // all places in the order of a continent; "" of nobody's
}

// newGeography groups a policy's candidates. mentioned are the names in rules. The members are the candidates at each
// spot, and key is equal for geographies that are.
func newGeography(p *Policy, mentioned map[string]bool) (g *geography, members [][]uint16, key string) {
	g = &geography{named: map[string]uint16{}, head: max(minHead, p.wants)}
	var keys []string
	for _, i := range p.order {
		k := p.list[i].where.key()
		at := slices.Index(keys, k)
		if at < 0 {
			at = len(keys)
			keys, g.places, members = append(keys, k), append(g.places, p.list[i].where), append(members, nil)
		}
		members[at] = append(members[at], i)
	}
	for spot := range keys {
		for _, i := range members[spot] {
			name := p.list[i].name
			switch {
			case !mentioned[name]:
				continue
			case len(members[spot]) == 1:
				g.named[name] = uint16(spot)
			default:
				g.named[name] = uint16(len(members))
				members = append(members, []uint16{i})
			}
			keys = append(keys, name+"="+strconv.Itoa(int(g.named[name])))
		}
	}
	g.spots = len(members)
	g.prepare()
	return g, members, strconv.Itoa(g.head) + "|" + strings.Join(keys, "|")
}

// prepare makes the orders of continents.
func (g *geography) prepare() {
	g.points = make([]point, len(g.places))
	for i, p := range g.places {
		g.points[i] = pointOf(p.At.Lat, p.At.Lon)
	}
	g.rest = map[string][]uint16{}
	for continent, code := range hubs() {
		hub, placed := topology.City(code)
		g.rest[continent] = g.sorted(&whereabouts{continent: continent, placed: placed, at: pointOf(hub.Lat, hub.Lon)})
	}
	g.rest[""] = g.sorted(&whereabouts{})
}

// standing of a place for a client; the lowest is the best.
type rank struct {
	spot  uint16
	trust trust
	near  float64
}

func compareRanks(a, b rank) int {
	return cmp.Or(cmp.Compare(a.trust, b.trust), cmp.Compare(b.near, a.near), cmp.Compare(a.spot, b.spot))
}

func (g *geography) rank(i int, from *whereabouts) rank {
	r := rank{uint16(i), byFile, math.Inf(-1)}
	p := &g.places[i]
	if from.placed && p.Placed {
		r.trust, r.near = byDistance, from.at.near(&g.points[i])
	}
	for _, region := range p.Regions {
		switch region {
		case "":
		case from.continent: // a code that is both is the continent
			r.trust = min(r.trust, byContinent)
		case from.country:
			r.trust = min(r.trust, byCountry)
		case from.subdivision:
			r.trust = min(r.trust, bySubdivision)
		}
	}
	return r
}

// sorted ranks all places: first those meant for the client's subdivision, country and continent, then the nearest, and
// within each the nearest; where nothing is known, as in the file.
func (g *geography) sorted(from *whereabouts) []uint16 {
	ranks := make([]rank, len(g.places))
	for i := range ranks {
		ranks[i] = g.rank(i, from)
	}
	slices.SortFunc(ranks, compareRanks)
	out := make([]uint16, len(ranks))
	for i, r := range ranks {
		out[i] = r.spot
	}
	return out
}

// order is the whole order of spots for what is known of a client: whom the rules name, the most trusted rule first, then
// the best places, then all others as for his continent.
func (g *geography) order(f *geodata.Facts) []uint16 {
	out := make([]uint16, 0, g.spots)
	add := func(spot uint16) {
		if !slices.Contains(out, spot) {
			out = append(out, spot)
		}
	}
	for _, r := range g.rules(f) {
		for _, name := range r.To {
			if spot, ok := g.named[name]; ok {
				add(spot)
			}
		}
	}
	if !f.Known {
		for i := range g.places {
			add(uint16(i))
		}
		return out
	}
	from := whereIs(&f.Place)
	for _, r := range g.best(&from) {
		add(r.spot)
	}
	rest, ok := g.rest[from.continent]
	if !ok {
		rest = g.rest[""]
	}
	for _, spot := range rest {
		add(spot)
	}
	return out
}

// best are the first few places of sorted.
func (g *geography) best(from *whereabouts) []rank {
	head := make([]rank, 0, g.head+1)
	for i := range g.places {
		r := g.rank(i, from)
		if len(head) == g.head && compareRanks(head[g.head-1], r) < 0 {
			continue
		}
		at, _ := slices.BinarySearchFunc(head, r, compareRanks)
		head = slices.Insert(head, at, r)
		head = head[:min(len(head), g.head)]
	}
	return head
}

// rules are those that match, the most trusted first.
func (g *geography) rules(f *geodata.Facts) []*geodata.Rule {
	return slices.DeleteFunc([]*geodata.Rule{f.Prefix, f.ASN, f.Measured}, func(r *geodata.Rule) bool { return r == nil })
}

// because says in what a spot's standing for a client rests.
func (g *geography) because(spot uint16, f *geodata.Facts) (trust, *geodata.Rule) {
	for i, r := range []*geodata.Rule{f.Prefix, f.ASN, f.Measured} {
		if r != nil && slices.ContainsFunc(r.To, func(name string) bool { s, ok := g.named[name]; return ok && s == spot }) {
			return trust(i), r
		}
	}
	if !f.Known || int(spot) >= len(g.places) {
		return byFile, nil
	}
	from := whereIs(&f.Place)
	return g.rank(int(spot), &from).trust, nil
}

// text says what a trust means for these facts: "country DE".
func (t trust) text(f *geodata.Facts, r *geodata.Rule) string {
	switch t {
	case byPrefixRule, byMeasured:
		return fmt.Sprintf("%v %v (%s)", t, r.Prefix, r.Where())
	case byASNRule:
		return fmt.Sprintf("%v AS%d (%s)", t, r.ASN, r.Where())
	case bySubdivision:
		return fmt.Sprintf("%v %s", t, f.Place.Region)
	case byCountry:
		return fmt.Sprintf("%v %s", t, f.Place.Country)
	case byContinent:
		return fmt.Sprintf("%v %s", t, whereIs(&f.Place).continent)
	case byDistance:
		return "nearest"
	}
	return t.String()
}
