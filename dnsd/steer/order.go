package steer

import (
	"cmp"
	"encoding/binary"
	"math"
	"net/netip"
	"slices"

	"github.com/catchment-net/catchment/geodata"
	"github.com/catchment-net/catchment/topology"
)

// The trust in a reason for a candidate, best first (design §7).
const (
	byCountry   = iota // the candidate names the client's country
	byContinent        // or his continent
	byDistance         // it has a place: the nearer the better
	byFile             // nothing is known: as in the file
)

// rank is a candidate's standing for a client; the lowest is the best.
type rank struct {
	index int
	trust int
	km    float64
}

// byPlace ranks candidates for a place: first those meant for the country, then for the continent, then the nearest, and
// within each the nearest, at last as in the file. For an unknown place the file decides. It depends on nothing but its
// arguments.
func byPlace(loc geodata.Location, known bool, list []candidate) []int {
	if !known {
		return fileOrder(list)
	}
	from, placed := place(loc)
	ranks := make([]rank, len(list))
	for i := range list {
		ranks[i] = list[i].rank(i, from, placed)
	}
	slices.SortFunc(ranks, func(a, b rank) int {
		return cmp.Or(cmp.Compare(a.trust, b.trust), cmp.Compare(a.km, b.km), cmp.Compare(a.index, b.index))
	})
	order := make([]int, len(ranks))
	for i, r := range ranks {
		order[i] = r.index
	}
	return order
}

func (c *candidate) rank(index int, from topology.Place, placed bool) rank {
	r := rank{index: index, trust: byFile, km: math.MaxFloat64}
	if placed && c.placed {
		r.trust, r.km = byDistance, topology.Distance(from, c.at)
	}
	for _, region := range c.regions {
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

// place makes a point of what a database knows: its coordinates, else the country's main town.
func place(loc geodata.Location) (topology.Place, bool) {
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

func fileOrder(list []candidate) []int {
	order := make([]int, len(list))
	for i := range order {
		order[i] = i
	}
	return order
}

// The networks that weighted steering keeps together: what one site of an access network has.
const (
	weightBits4 = 24
	weightBits6 = 48
)

func weightScope(a netip.Addr) netip.Prefix {
	bits := weightBits6
	if a.Is4() {
		bits = weightBits4
	}
	p, _ := a.Prefix(bits)
	return p
}

// byWeight orders the candidates by weighted rendezvous hashing of the client's network: each is first for its share of
// the networks, and when one goes, only its own clients move, in proportion to the weights of the others.
func byWeight(list []candidate, scope netip.Prefix, host string) []int {
	addr := scope.Addr().As16()
	scores := make([]float64, len(list))
	for i, c := range list {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(i))
		u := (float64(hash64(addr[:], []byte(host), []byte(c.name), n[:])>>11) + 0.5) / (1 << 53) // 0 < u < 1
		scores[i] = -c.weight / math.Log(u)
	}
	order := fileOrder(list)
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(scores[b], scores[a]) })
	return order
}
