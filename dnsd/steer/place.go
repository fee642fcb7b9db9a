package steer

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/catchment-net/catchment/geodata"
	"github.com/catchment-net/catchment/topology"
)

// Place is where a candidate stands, and for whom. Candidates of one Place share its clients by their weights.
type Place struct {
	At      topology.Place
	Placed  bool     // At is known
	Regions []string // continents or countries that it is meant for
}

// key is equal for equal places.
func (p *Place) key() string {
	regions := slices.Sorted(slices.Values(p.Regions))
	return fmt.Sprint(p.Placed, p.At.Lat, p.At.Lon, p.At.Country, p.At.Continent, strings.Join(slices.Compact(regions), ","))
}

// The trust in a reason for a place, best first (design §7).
const (
	byCountry   = iota // it names the client's country
	byContinent        // or his continent
	byDistance         // it is known where it is: the nearer the better
	byFile             // nothing is known: as in the file
)

// rank is a place's standing for a client; the lowest is the best.
type rank struct {
	index uint16
	trust int
	km    float64
}

// order ranks places for a client: first those meant for his country, then for his continent, then the nearest, and
// within each the nearest, at last as in the file. For an unknown client the file decides.
func order(loc geodata.Location, known bool, places []Place) []uint16 {
	ranks := make([]rank, len(places))
	from, placed := pointOf(loc)
	for i := range places {
		ranks[i] = rank{uint16(i), byFile, math.MaxFloat64}
		if known {
			ranks[i] = places[i].rank(uint16(i), from, placed)
		}
	}
	slices.SortFunc(ranks, func(a, b rank) int {
		return cmp.Or(cmp.Compare(a.trust, b.trust), cmp.Compare(a.km, b.km), cmp.Compare(a.index, b.index))
	})
	out := make([]uint16, len(ranks))
	for i, r := range ranks {
		out[i] = r.index
	}
	return out
}

func (p *Place) rank(index uint16, from topology.Place, placed bool) rank {
	r := rank{index, byFile, math.MaxFloat64}
	if placed && p.Placed {
		r.trust, r.km = byDistance, topology.Distance(from, p.At)
	}
	for _, region := range p.Regions {
		switch region {
		case "":
		case from.Continent: // a code that is both is the continent
			r.trust = min(r.trust, byContinent)
		case from.Country:
			r.trust = byCountry
		}
	}
	return r
}

// pointOf makes a point of what a database knows: its coordinates, else the country's main town.
func pointOf(loc geodata.Location) (topology.Place, bool) {
	at := topology.Place{Country: loc.Country, Continent: loc.Continent, Lat: loc.Lat, Lon: loc.Lon}
	if at.Continent == "" {
		at.Continent, _ = topology.ContinentOf(loc.Country)
	}
	if loc.Point {
		return at, true
	}
	country, ok := topology.CountryPlace(loc.Country)
	at.Lat, at.Lon = country.Lat, country.Lon
	return at, ok
}
