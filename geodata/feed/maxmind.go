package feed

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/catchment-net/catchment/geodata"
)

// readMaxMind reads a blocks file of GeoLite2 or GeoIP2 (City, Country or ASN). All but ASN's point into a file of
// locations beside it. A network without a place of its own has the country that it is registered in.
func (in *input) readMaxMind(add emit) error {
	r := in.csvReader()
	head, err := r.Read()
	if err != nil {
		return in.result(err)
	}
	l, err := named(head)
	if err != nil && !hasColumn(head, "geoname_id") || l[colNetwork] < 0 {
		return in.result(in.mistake(1, errors.New("no header of MaxMind's blocks; want the file …-Blocks-IPv4.csv or …-Blocks-IPv6.csv, or the folder of both")))
	}
	place, registered := column(head, "geoname_id"), column(head, "registered_country_geoname_id")
	var places map[string]geodata.Location
	if place >= 0 {
		if places, err = in.locations(); err != nil {
			return err
		}
	}
	err = in.eachRecord(r, func(line int, row []string) error {
		out, err := l.read(row)
		if err != nil {
			return err
		}
		out.Line = line
		if places != nil {
			loc, err := placeOf(row, place, registered, places)
			if err != nil {
				return err
			}
			loc.Point, loc.Lat, loc.Lon = out.Point, out.Lat, out.Lon
			out.Location = loc
		}
		return add(out)
	})
	return in.result(err)
}

func placeOf(row []string, place, registered int, places map[string]geodata.Location) (geodata.Location, error) {
	for _, c := range []int{place, registered} {
		if c < 0 || c >= len(row) || row[c] == "" {
			continue
		}
		loc, ok := places[row[c]]
		if !ok {
			return loc, fmt.Errorf("geoname_id %q is not among the locations; want blocks and locations of one release", row[c])
		}
		return loc, nil
	}
	return geodata.Location{}, nil
}

// locations reads the English locations that belong to a blocks file.
func (in *input) locations() (map[string]geodata.Location, error) {
	base, _, _ := strings.Cut(in.name, "-Blocks-")
	name := base + "-Locations-en.csv"
	f, err := openFile(in.fsys, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: its places are in %q, which is not beside it; unpack both of them", in.file, name)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	all := map[string]geodata.Location{}
	of := &input{fsys: in.fsys, name: name, r: f.Reader, notes: notes{file: strings.TrimSuffix(in.file, in.name) + name}}
	r := of.csvReader()
	head, err := r.Read()
	if err != nil {
		return nil, of.result(err)
	}
	id := column(head, "geoname_id")
	l := noColumns()
	for i, h := range head {
		if c, ok := columnNamed(h); ok {
			l[c] = i
		}
	}
	if id < 0 || l[colCountry] < 0 {
		return nil, of.result(of.mistake(1, errors.New("no columns geoname_id and country_iso_code; want MaxMind's …-Locations-en.csv")))
	}
	err = of.eachRecord(r, func(_ int, row []string) error {
		if len(row) < len(head) {
			return fmt.Errorf("%d fields; want %d", len(row), len(head))
		}
		loc, err := location(func(c int) string {
			if l[c] < 0 {
				return ""
			}
			return row[l[c]]
		})
		if err == nil {
			all[strings.Clone(row[id])] = loc
		}
		return err
	})
	return all, of.result(err)
}

func hasColumn(head []string, name string) bool { return column(head, name) >= 0 }

func column(head []string, name string) int {
	for i, h := range head {
		if strings.TrimPrefix(h, "\ufeff") == name {
			return i
		}
	}
	return -1
}
