// Package geodata says where an address is, from any MMDB in MaxMind's layout (GeoLite2, GeoIP2, DB-IP), and makes such
// databases. An answer always carries the network that it holds for, which is what an ECS scope is made of.
package geodata

import (
	"cmp"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"github.com/oschwald/maxminddb-golang/v2"
)

// Location is what is known of a network. Empty fields are unknown.
type Location struct {
	Country   string // ISO 3166-1 alpha-2
	Continent string // AF AN AS EU NA OC SA
	Region    string // ISO 3166-2 with its country, such as US-CA
	City      string // English name
	Point     bool   // Lat and Lon are known
	Lat, Lon  float64
	ASN       uint32
}

// DB is one database, read whole into memory: a file that is overwritten or cut short while we run does no harm. It is
// immutable and safe for concurrent use; a reload opens a new DB and swaps the pointer.
type DB struct {
	reader *maxminddb.Reader
	tree   *tree
	name   string
}

// Open reads and verifies the database at path. A file that is damaged, or whose kind knows no places, is an error.
func Open(path string) (*DB, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read geodata: %w", err)
	}
	db, err := FromBytes(data)
	if err != nil {
		return nil, fmt.Errorf("read geodata %q: %w", path, err)
	}
	db.name = path
	return db, nil
}

// FromBytes verifies a database that is in memory. It keeps data, which must not be changed afterwards.
func FromBytes(data []byte) (*DB, error) {
	r, err := maxminddb.OpenBytes(data)
	if err != nil {
		return nil, fmt.Errorf("not an MMDB (want a MaxMind DB file, version 2): %w", err)
	}
	if kind := r.Metadata.DatabaseType; !knowsPlaces(kind) {
		return nil, fmt.Errorf("database type %q knows neither places nor networks' AS; want a City, Country, Enterprise or ASN database", kind)
	}
	t, err := newTree(data, r.Metadata.NodeCount, r.Metadata.RecordSize, r.Metadata.IPVersion)
	if err != nil {
		return nil, fmt.Errorf("database is damaged: %w", err)
	}
	db := &DB{reader: r, tree: t, name: r.Metadata.DatabaseType}
	if err := db.verify(); err != nil {
		return nil, fmt.Errorf("database is damaged: %w", err)
	}
	return db, nil
}

// knowsPlaces tells by the type's name, as every MMDB tool does (GeoLite2-City, DBIP-Country-Lite, GeoIP2-Enterprise).
func knowsPlaces(kind string) bool {
	for _, part := range []string{"City", "Country", "Enterprise", "Location", "ASN", "ISP"} {
		if strings.Contains(kind, part) {
			return true
		}
	}
	return false
}

// verify walks the whole tree and reads every record once, as Locate will.
func (d *DB) verify() error {
	seen := map[uint32]bool{}
	check := func(width int) func(number, uint32) error {
		return func(start number, record uint32) error {
			if record == d.tree.nothing() || seen[record] {
				return nil
			}
			seen[record] = true
			if _, err := d.decode(record); err != nil {
				return fmt.Errorf("record of %v: %w", start.addr(width), err)
			}
			return nil
		}
	}
	for _, width := range []int{32, 128} {
		if err := d.tree.walk(width, check(width)); err != nil {
			return err
		}
	}
	return nil
}

// record is the part of MaxMind's City layout that we read.
type record struct {
	City struct {
		Names struct {
			English string `maxminddb:"en"`
		} `maxminddb:"names"`
	} `maxminddb:"city"`
	Continent struct {
		Code string `maxminddb:"code"`
	} `maxminddb:"continent"`
	Country struct {
		ISOCode string `maxminddb:"iso_code"`
	} `maxminddb:"country"`
	Subdivisions []struct {
		ISOCode string `maxminddb:"iso_code"`
	} `maxminddb:"subdivisions"`
	Location struct {
		Latitude  *float64 `maxminddb:"latitude"`
		Longitude *float64 `maxminddb:"longitude"`
	} `maxminddb:"location"`
	Traits struct {
		ASN uint32 `maxminddb:"autonomous_system_number"`
	} `maxminddb:"traits"`
	ASN uint32 `maxminddb:"autonomous_system_number"` // where ASN databases have it
}

// Locate looks addr up. Scope is the database's network around addr, in addr's own family: everything in it gets the
// same answer, the answer "not known" (ok is false) included. A nil DB knows nothing of anybody, so its scope is
// everything. An IPv4-mapped IPv6 address is looked up as IPv6; IPv6 networks that stand for IPv4 ones (6to4, Teredo) are
// not known unless the database has rows of its own for them.
func (d *DB) Locate(addr netip.Addr) (loc Location, scope netip.Prefix, ok bool) {
	addr = addr.WithZone("")
	if !addr.IsValid() {
		return Location{}, netip.Prefix{}, false
	}
	if d == nil {
		scope, _ = addr.Prefix(0)
		return Location{}, scope, false
	}
	record, length := d.tree.find(numberOf(addr), addr.BitLen())
	scope, _ = addr.Prefix(length)
	if record == d.tree.nothing() {
		return Location{}, scope, false
	}
	loc, err := d.decode(record)
	return loc, scope, err == nil
}

// decode reads the data that a record of the tree points to.
func (d *DB) decode(r uint32) (Location, error) {
	var rec record
	if err := d.reader.LookupOffset(d.tree.offset(r)).Decode(&rec); err != nil {
		return Location{}, err
	}
	return rec.location(), nil
}

func (r *record) location() Location {
	loc := Location{
		Country: r.Country.ISOCode, Continent: r.Continent.Code, City: r.City.Names.English,
		ASN: cmp.Or(r.Traits.ASN, r.ASN),
	}
	if len(r.Subdivisions) > 0 && r.Subdivisions[0].ISOCode != "" && loc.Country != "" {
		loc.Region = loc.Country + "-" + r.Subdivisions[0].ISOCode
	}
	if r.Location.Latitude != nil && r.Location.Longitude != nil {
		loc.Point, loc.Lat, loc.Lon = true, *r.Location.Latitude, *r.Location.Longitude
	}
	return loc
}

// Name is the file that the database was read from, else its type.
func (d *DB) Name() string { return d.name }

// Type is the database's own name of its kind, such as "GeoLite2-City".
func (d *DB) Type() string { return d.reader.Metadata.DatabaseType }
