// Package geodata says where an address is, from any MMDB in MaxMind's layout (GeoLite2, GeoIP2, DB-IP), and makes such
// databases. An answer always carries the network that it holds for, which is what an ECS scope is made of.
package geodata

import (
	"fmt"
	"net/netip"
	"os"
	"strings"

	"github.com/oschwald/maxminddb-golang/v2"
)

// Location is what a database knows of a network. Empty fields are unknown.
type Location struct {
	Country   string // ISO 3166-1 alpha-2
	Continent string // AF AN AS EU NA OC SA
	City      string // English name
	Point     bool   // Lat and Lon are known
	Lat, Lon  float64
	ASN       uint32
}

// DB is one database, read whole into memory: a file that is overwritten or cut short while we run does no harm. It is
// immutable and safe for concurrent use; a reload opens a new DB and swaps the pointer.
type DB struct {
	reader *maxminddb.Reader
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
	return db, nil
}

// FromBytes verifies a database that is in memory. It keeps data, which must not be changed afterwards.
func FromBytes(data []byte) (*DB, error) {
	r, err := maxminddb.OpenBytes(data)
	if err != nil {
		return nil, fmt.Errorf("not an MMDB (want a MaxMind DB file, version 2): %w", err)
	}
	if kind := r.Metadata.DatabaseType; !knowsPlaces(kind) {
		return nil, fmt.Errorf("database type %q knows no places; want a City, Country or Enterprise database", kind)
	}
	if err := verify(r); err != nil {
		return nil, fmt.Errorf("database is damaged: %w", err)
	}
	return &DB{reader: r}, nil
}

// knowsPlaces tells by the type's name, as every MMDB tool does (GeoLite2-City, DBIP-Country-Lite, GeoIP2-Enterprise).
func knowsPlaces(kind string) bool {
	for _, part := range []string{"City", "Country", "Enterprise", "Location"} {
		if strings.Contains(kind, part) {
			return true
		}
	}
	return false
}

// verify walks the whole tree and reads every record as Locate will. A tree of N nodes has N+1 ends; one that shows more
// has loops, and would keep us here for ever.
func verify(r *maxminddb.Reader) error {
	ends := uint(0)
	for result := range r.Networks(maxminddb.IncludeNetworksWithoutData()) {
		if ends++; ends > r.Metadata.NodeCount+1 {
			return fmt.Errorf("its tree of %d nodes has loops", r.Metadata.NodeCount)
		}
		if err := result.Err(); err != nil {
			return err
		}
		var rec record
		if err := result.Decode(&rec); err != nil {
			return fmt.Errorf("record of %v: %w", result.Prefix(), err)
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
	Location struct {
		Latitude  *float64 `maxminddb:"latitude"`
		Longitude *float64 `maxminddb:"longitude"`
	} `maxminddb:"location"`
	Traits struct {
		ASN uint32 `maxminddb:"autonomous_system_number"`
	} `maxminddb:"traits"`
}

// Locate looks addr up. Scope is the database's network around addr, in addr's own family: everything in it gets the
// same answer, the answer "not known" (ok is false) included. A nil DB knows nothing of anybody, so its scope is
// everything. An IPv4-mapped IPv6 address is looked up as IPv6.
func (d *DB) Locate(addr netip.Addr) (loc Location, scope netip.Prefix, ok bool) {
	addr = addr.WithZone("")
	if !addr.IsValid() {
		return Location{}, netip.Prefix{}, false
	}
	if d == nil || d.reader.Metadata.IPVersion == 4 && !addr.Is4() {
		scope, _ = addr.Prefix(0)
		return Location{}, scope, false
	}
	result := d.reader.Lookup(addr)
	scope = network(result.Prefix(), addr)
	if !result.Found() {
		return Location{}, scope, false
	}
	var rec record
	if result.Decode(&rec) != nil {
		return Location{}, scope, false
	}
	return rec.location(), scope, true
}

// network turns a network of an IPv6 tree that holds all of IPv4 (::/64, say) into the IPv4 one that addr needs.
func network(p netip.Prefix, addr netip.Addr) netip.Prefix {
	if !p.IsValid() { // a failed lookup proves nothing beyond the address itself
		return netip.PrefixFrom(addr, addr.BitLen())
	}
	if addr.Is4() && !p.Addr().Is4() {
		p, _ = addr.Prefix(0)
	}
	return p
}

func (r *record) location() Location {
	loc := Location{
		Country: r.Country.ISOCode, Continent: r.Continent.Code, City: r.City.Names.English, ASN: r.Traits.ASN,
	}
	if r.Location.Latitude != nil && r.Location.Longitude != nil {
		loc.Point, loc.Lat, loc.Lon = true, *r.Location.Latitude, *r.Location.Longitude
	}
	return loc
}

// Type is the database's own name of its kind, such as "GeoLite2-City".
func (d *DB) Type() string { return d.reader.Metadata.DatabaseType }
