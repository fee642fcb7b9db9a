package feed

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/catchment-net/catchment/geodata"
)

// The columns that we read, as a header or Options.Columns names them.
const (
	colNetwork = iota
	colStart
	colEnd
	colCountry
	colContinent
	colRegion
	colCity
	colLat
	colLon
	colASN
	columns
)

// layout is where each column is; -1 for none.
type layout [columns]int

// columnNamed knows the names that feeds give their columns.
func columnNamed(name string) (int, bool) {
	switch strings.ToLower(strings.TrimSpace(name)) {
	case "network", "prefix", "cidr", "net", "subnet":
		return colNetwork, true
	case "start", "first", "start_ip", "ip_start", "range_start", "ip_range_start", "ip_from":
		return colStart, true
	case "end", "last", "end_ip", "ip_end", "range_end", "ip_range_end", "ip_to":
		return colEnd, true
	case "country", "country_code", "country_iso_code", "cc":
		return colCountry, true
	case "continent", "continent_code":
		return colContinent, true
	case "region", "region_code", "subdivision_1_iso_code":
		return colRegion, true
	case "city", "city_name":
		return colCity, true
	case "lat", "latitude":
		return colLat, true
	case "lon", "lng", "longitude":
		return colLon, true
	case "asn", "as_number", "autonomous_system_number":
		return colASN, true
	}
	return 0, false
}

func noColumns() layout {
	var l layout
	for i := range l {
		l[i] = -1
	}
	return l
}

// named makes a layout of column names; those that we do not know are left out.
func named(names []string) (layout, error) {
	l := noColumns()
	for i, name := range names {
		c, ok := columnNamed(name)
		if !ok {
			continue
		}
		if l[c] >= 0 {
			return l, fmt.Errorf("columns %d and %d are both %q; want one of them", l[c]+1, i+1, name)
		}
		l[c] = i
	}
	if l[colNetwork] < 0 && (l[colStart] < 0 || l[colEnd] < 0) {
		return l, errors.New("no column `network`, and not both `start` and `end`")
	}
	if !slices.ContainsFunc(l[colCountry:], func(at int) bool { return at >= 0 }) {
		return l, errors.New("no column that says anything: want country, continent, region, city, lat and lon, or asn")
	}
	return l, nil
}

// shaped knows files without a header by the look of their first row, of what follows the addresses: n is a number, c a
// country, k a continent, f degrees, ? anything.
func shaped(row []string) (layout, error) {
	front := []string{"start", "end"}
	if len(row) > 0 && strings.Contains(row[0], "/") {
		front = []string{"network"}
	}
	if len(row) > len(front) {
		rest := row[len(front):]
		for _, s := range [][2]string{
			{"c", "country"},                               // DB-IP country, ip-location-db country
			{"n", "asn"},                                   // ip-location-db ASN
			{"n?", "asn -"},                                // DB-IP ASN
			{"nc", "asn country"},                          //
			{"cn", "country asn"},                          //
			{"nc?", "asn country -"},                       // iptoasn
			{"c?", "country -"},                            // IP2Location DB1
			{"c???", "country - - city"},                   // IP2Location DB3
			{"kc??ff", "continent country - city lat lon"}, // DB-IP city
			{"c???ff", "country - - city lat lon"},         // IP2Location DB5
			{"c???ff?", "country - - city lat lon -"},      // IP2Location DB9
			{"c???ff??", "country - - city lat lon - -"},
			{"c????ff?", "country - - city - lat lon -"}, // ip-location-db city
		} {
			if looks(rest, s[0]) {
				return named(append(front, strings.Fields(s[1])...))
			}
		}
	}
	return layout{}, errors.New("no header, and no columns that we know; name them with --columns start,end,country,… (- for one to leave out)")
}

func looks(fields []string, like string) bool {
	if len(fields) != len(like) {
		return false
	}
	for i, f := range fields {
		var err error
		ok := true
		switch like[i] {
		case 'n':
			_, err = parseASN(f)
			ok = f != "" && f != "-"
		case 'c':
			_, err = countryCode(f)
		case 'k':
			_, err = continentCode(f)
		case 'f':
			_, ok, err = degrees("", f, 180)
		}
		if err != nil || !ok {
			return false
		}
	}
	return true
}

// csvReader reads rows that are separated by commas, or by tabs if the first line has more of those.
func (in *input) csvReader() *csv.Reader {
	if head, _ := in.r.Peek(3); string(head) == "\ufeff" {
		_, _ = in.r.Discard(3)
	}
	head, _ := in.r.Peek(sniffed)
	first, _, _ := bytes.Cut(head, []byte("\n"))
	r := csv.NewReader(in.r)
	if bytes.Count(first, []byte("\t")) > bytes.Count(first, []byte(",")) {
		r.Comma = '\t'
	}
	r.Comment = '#'
	r.FieldsPerRecord = -1
	r.LazyQuotes = true
	r.ReuseRecord = true
	return r
}

// eachRecord calls fn for each row; what fn returns is noted as a mistake of that line.
func (in *input) eachRecord(r *csv.Reader, fn func(line int, row []string) error) error {
	for {
		row, err := r.Read()
		if err == io.EOF {
			return nil
		}
		if wrong, ok := errors.AsType[*csv.ParseError](err); ok {
			if err := in.mistake(wrong.Line, wrong.Err); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		line, _ := r.FieldPos(0)
		if err := in.mistake(line, fn(line, row)); err != nil {
			return err
		}
	}
}

func (in *input) readCSV(names []string, add emit) error {
	var l *layout
	if len(names) > 0 {
		given, err := named(names)
		if err != nil {
			return fmt.Errorf("columns %q: %w", strings.Join(names, ","), err)
		}
		l = &given
	}
	err := in.eachRecord(in.csvReader(), func(line int, row []string) error {
		if l == nil {
			found, header, err := layoutOf(row)
			if err != nil {
				return fatal{err}
			}
			l = &found
			if header {
				return nil
			}
		}
		r, err := l.read(row)
		if err != nil {
			return err
		}
		r.Line = line
		return add(r)
	})
	return in.result(err)
}

// layoutOf finds the columns by the first row, and whether that is a header.
func layoutOf(row []string) (l layout, header bool, err error) {
	if _, header = columnNamed(row[0]); header {
		l, err = named(row)
	} else {
		l, err = shaped(row)
	}
	return l, header, err
}

// read makes a Range of a row.
func (l *layout) read(row []string) (r geodata.Range, err error) {
	at := func(c int) string {
		if l[c] < 0 {
			return ""
		}
		return strings.TrimSpace(row[l[c]])
	}
	if most := slices.Max(l[:]); most >= len(row) {
		return r, fmt.Errorf("%d fields; want at least %d", len(row), most+1)
	}
	if l[colNetwork] >= 0 {
		p, err := parsePrefix(at(colNetwork))
		if err != nil {
			return r, err
		}
		r = geodata.RangeOf(p, geodata.Location{})
	} else if r.First, r.Last, err = bounds(at(colStart), at(colEnd)); err != nil {
		return r, err
	}
	r.Location, err = location(at)
	return r, err
}

// location reads what a row says of a place. Coordinates of an unknown country are fillers.
func location(at func(column int) string) (loc geodata.Location, err error) {
	if loc.Country, err = countryCode(at(colCountry)); err != nil {
		return loc, err
	}
	if loc.Continent, err = continentCode(at(colContinent)); err != nil {
		return loc, err
	}
	if loc.ASN, err = parseASN(at(colASN)); err != nil {
		return loc, err
	}
	if city := at(colCity); city != "-" {
		loc.City = city
	}
	if region := at(colRegion); region != "" && region != "-" && loc.Country != "" {
		loc.Region = loc.Country + "-" + strings.TrimPrefix(region, loc.Country+"-")
	}
	lat, okLat, err := degrees("latitude", at(colLat), 90)
	if err != nil {
		return loc, err
	}
	lon, okLon, err := degrees("longitude", at(colLon), 180)
	if err != nil {
		return loc, err
	}
	if okLat && okLon && (loc.Country != "" || at(colCountry) == "" && (lat != 0 || lon != 0)) {
		loc.Point, loc.Lat, loc.Lon = true, lat, lon
	}
	return loc, nil
}
