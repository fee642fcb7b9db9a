package topology

import (
	_ "embed"
	"math"
	"strconv"
	"strings"
)

// The tables are text that is searched as it is: nothing is built at start-up, and the longest search takes
// microseconds.
var (
	//go:embed cities.txt
	cityTable string
	//go:embed countries.txt
	countryTable string
)

// City returns the place of an IATA city or airport code (three capital letters). Safe for concurrent use.
func City(code string) (Place, bool) {
	if len(code) != 3 {
		return Place{}, false
	}
	row, ok := tableRow(cityTable, code)
	if !ok {
		return Place{}, false
	}
	// AMS NL 52.37 4.90 Amsterdam
	continent, _ := ContinentOf(row[0])
	lat, lon := coordinates(row[1], row[2])
	return Place{Code: code, City: row[3], Country: row[0], Continent: continent, Lat: lat, Lon: lon}, true
}

// CountryPlace returns a point that stands for a country (ISO 3166-1 alpha-2, capital letters): a main town, so that
// distances are those of most of its people. Code and City are empty. Safe for concurrent use.
func CountryPlace(iso string) (Place, bool) {
	row, ok := countryRow(iso)
	if !ok {
		return Place{}, false
	}
	lat, lon := coordinates(row[1], row[2])
	return Place{Country: iso, Continent: row[0], Lat: lat, Lon: lon}, true
}

// ContinentOf returns the continent (AF AN AS EU NA OC SA) of a country (ISO 3166-1 alpha-2, capital letters).
func ContinentOf(iso string) (string, bool) {
	row, ok := countryRow(iso)
	if !ok {
		return "", false
	}
	return row[0], true
}

// Continents lists the seven continent codes in alphabetical order.
func Continents() []string { return []string{"AF", "AN", "AS", "EU", "NA", "OC", "SA"} }

// Distance is the great-circle distance of two places in kilometres, on a sphere of the Earth's mean radius (it is at
// most 0.6 % off).
func Distance(a, b Place) float64 {
	const radius = 6371.0088 // km, IUGG mean radius
	rad := func(deg float64) float64 { return deg * math.Pi / 180 }
	sinLat, sinLon := math.Sin(rad(b.Lat-a.Lat)/2), math.Sin(rad(b.Lon-a.Lon)/2)
	h := sinLat*sinLat + math.Cos(rad(a.Lat))*math.Cos(rad(b.Lat))*sinLon*sinLon
	return 2 * radius * math.Asin(math.Sqrt(min(1, h)))
}

// cityNamed returns the code of the city of that name, whatever its case; "" if there is none.
func cityNamed(name string) string {
	for line := range strings.Lines(cityTable) {
		row := strings.SplitN(strings.TrimSpace(line), " ", 5)
		if len(row) == 5 && strings.EqualFold(row[4], name) {
			return row[0]
		}
	}
	return ""
}

func countryRow(iso string) ([]string, bool) {
	if len(iso) != 2 {
		return nil, false
	}
	return tableRow(countryTable, iso)
}

// tableRow returns the four columns behind the key that begins a line; the last one holds the rest of the line.
func tableRow(table, key string) ([]string, bool) {
	start := strings.Index(table, "\n"+key+" ")
	if start < 0 {
		return nil, false
	}
	line, _, _ := strings.Cut(table[start+1:], "\n")
	row := strings.SplitN(line, " ", 5)
	if len(row) != 5 {
		return nil, false
	}
	return row[1:], true
}

// coordinates converts two columns of a table; a test holds that every row has numbers there.
func coordinates(lat, lon string) (float64, float64) {
	a, _ := strconv.ParseFloat(lat, 64)
	o, _ := strconv.ParseFloat(lon, 64)
	return a, o
}
