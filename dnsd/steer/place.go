package steer

import (
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
	Regions []string // continents, countries or subdivisions (US-CA) that it is meant for
}

// key is equal for equal places.
func (p *Place) key() string {
	regions := slices.Sorted(slices.Values(p.Regions))
	return fmt.Sprint(p.Placed, p.At.Lat, p.At.Lon, strings.Join(slices.Compact(regions), ","))
}

// trust is why a place stands where it does in an order; the lowest is the best (design §7).
type trust uint8

const (
	byPrefixRule trust = iota
	byASNRule
	byMeasured
	bySubdivision // it names the client's part of his country
	byCountry     // or his country
	byContinent   // or his continent
	byDistance    // it is known where it is: the nearer the better
	byFile        // nothing is known: as in the file
)

func (t trust) String() string {
	return [...]string{"prefix rule", "ASN rule", "measured", "region", "country", "continent", "distance", "file order"}[t]
}

// point is a place on the unit sphere.
type point [3]float64

func pointOf(lat, lon float64) point {
	rad := math.Pi / 180
	return point{math.Cos(lat*rad) * math.Cos(lon*rad), math.Cos(lat*rad) * math.Sin(lon*rad), math.Sin(lat * rad)}
}

// near is the cosine of the angle between two points: the larger, the nearer.
func (p *point) near(o *point) float64 { return p[0]*o[0] + p[1]*o[1] + p[2]*o[2] }

// whereabouts is what an order depends on of a client's location.
type whereabouts struct {
	subdivision, country, continent string
	placed                          bool
	at                              point
}

// whereIs makes a point of what a database knows: its coordinates, else the country's main town.
func whereIs(loc *geodata.Location) whereabouts {
	w := whereabouts{subdivision: loc.Region, country: loc.Country, continent: loc.Continent}
	if w.continent == "" {
		w.continent, _ = topology.ContinentOf(loc.Country)
	}
	if loc.Point {
		w.placed, w.at = true, pointOf(loc.Lat, loc.Lon)
	} else if town, ok := topology.CountryPlace(loc.Country); ok {
		w.placed, w.at = true, pointOf(town.Lat, town.Lon)
	}
	return w
}

// hubs are towns that stand for their continents: by their distance POPs follow the first few of an order. In most
// continents networks meet there.
func hubs() map[string]string {
	return map[string]string{"AF": "JNB", "AN": "SCL", "AS": "SIN", "EU": "FRA", "NA": "IAD", "OC": "SYD", "SA": "SAO"}
}
