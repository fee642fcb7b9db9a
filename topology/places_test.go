package topology

import (
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestTablesAreWellFormed(t *testing.T) {
	countries := map[string]bool{}
	for line := range strings.Lines(countryTable) {
		if line[0] == '#' {
			continue
		}
		row := strings.SplitN(strings.TrimSpace(line), " ", 5)
		if len(row) != 5 || countries[row[0]] {
			t.Fatalf("country line %q", line)
		}
		countries[row[0]] = true
		if !slices.Contains(Continents(), row[1]) {
			t.Errorf("country %s has the continent %q", row[0], row[1])
		}
		checkPoint(t, line, row[2], row[3])
		if p, ok := CountryPlace(row[0]); !ok || p.Country != row[0] || p.Continent != row[1] {
			t.Errorf("country %s: got %+v, %v", row[0], p, ok)
		}
	}
	if len(countries) != 249 {
		t.Errorf("got %d countries, want the 249 of ISO 3166-1", len(countries))
	}
	cities := map[string]bool{}
	for line := range strings.Lines(cityTable) {
		if line[0] == '#' {
			continue
		}
		row := strings.SplitN(strings.TrimSpace(line), " ", 5)
		if len(row) != 5 || cities[row[0]] || len(row[0]) != 3 || !countries[row[1]] {
			t.Fatalf("city line %q", line)
		}
		cities[row[0]] = true
		checkPoint(t, line, row[2], row[3])
		p, ok := City(row[0])
		if !ok || p.Code != row[0] || p.City != row[4] || p.Continent == "" {
			t.Errorf("city %s: got %+v, %v", row[0], p, ok)
		}
		country, _ := CountryPlace(row[1])
		limit := 3700.0 // Vancouver from Ottawa
		if row[1] == "RU" || row[1] == "US" {
			limit = 6500
		}
		if far := Distance(p, country); far > limit {
			t.Errorf("city %s is %.0f km away from the point of %s: a slip in its coordinates?", row[0], far, row[1])
		}
	}
	if len(cities) < 250 {
		t.Errorf("got %d cities, want 250 at least", len(cities))
	}
}

func checkPoint(t *testing.T, line, lat, lon string) {
	t.Helper()
	a, err := strconv.ParseFloat(lat, 64)
	if err != nil || a < -90 || a > 90 {
		t.Errorf("latitude in %q", line)
	}
	o, err := strconv.ParseFloat(lon, 64)
	if err != nil || o < -180 || o > 180 {
		t.Errorf("longitude in %q", line)
	}
}

func TestUnknownPlaces(t *testing.T) {
	for _, code := range []string{"", "X", "ams", "QQQ", "# T", "AMS ", "NL", "\nAM"} {
		if p, ok := City(code); ok {
			t.Errorf("city %q: got %+v", code, p)
		}
		if p, ok := CountryPlace(code); ok && code != "NL" {
			t.Errorf("country %q: got %+v", code, p)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("asn: 64500\nanycast: {prefixes: [192.0.2.0/24]}\npops:\n  ams: {at: AMS, unicast: [203.0.113.0/28], nodes: 2}\ninternet:\n  networks: {a: {asn: 1, at: FRA}}\n  links: {ams -> a: {}}\n"))
	f.Add([]byte("pops: {a: {at: {lat: 1}, unicast: [0.0.0.0/0, ::/0], nodes: {a: , b: {}}, neighbors: {x: {address: ::1}}}}\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := Parse("f", text)
		if (got == nil) != (err != nil) {
			t.Fatalf("got %v and error %v", got, err)
		}
		if got == nil {
			return
		}
		for _, n := range got.Nodes() {
			if len(n.Addrs) != len(n.POP.Unicast) || !n.RouterID.IsValid() {
				t.Errorf("node %+v lacks an address or router id", n)
			}
		}
		for _, l := range got.Internet.Links {
			if (got.POP(l.A) == nil && got.Network(l.A) == nil) || (got.POP(l.B) == nil && got.Network(l.B) == nil) {
				t.Errorf("link %q leads to nowhere", l.Name())
			}
		}
	})
}
