package geodata

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"

	"github.com/maxmind/mmdbwriter"
	"github.com/maxmind/mmdbwriter/mmdbtype"

	"github.com/catchment-net/catchment/topology"
)

// Row is one network with its place. A longer prefix wins over a shorter one that holds it.
type Row struct {
	Prefix    netip.Prefix
	Country   string // ISO 3166-1 alpha-2; empty: not known
	Continent string // AF AN AS EU NA OC SA; empty: not known
	City      string // English name; empty: not known
	Lat, Lon  float64
	ASN       uint32 // 0: not known
}

// BuiltType is the database type that is written, so that every MMDB tool reads the file.
const BuiltType = "GeoLite2-City"

// Build writes an MMDB of rows in MaxMind's City layout. The same rows in any order give the same bytes: the build time
// within is a constant. Reserved, private and documentation networks are kept. Host bits, and one prefix with two
// different places, are errors.
func Build(w io.Writer, rows []Row) error {
	var d Draft
	seen := map[netip.Prefix]Row{}
	for _, r := range rows {
		if !r.Prefix.IsValid() || r.Prefix != r.Prefix.Masked() || r.Prefix.Addr().Is4In6() {
			return fmt.Errorf("geodata prefix %q: want a network without host bits", r.Prefix)
		}
		if first, ok := seen[r.Prefix]; ok && first != r {
			return fmt.Errorf("geodata prefix %q has two places: %s and %s", r.Prefix, first.where(), r.where())
		}
		seen[r.Prefix] = r
		if err := d.Add(RangeOf(r.Prefix, r.location())); err != nil {
			return fmt.Errorf("add geodata prefix %q: %w", r.Prefix, err)
		}
	}
	if err := d.Lay(); err != nil {
		return err
	}
	_, err := d.WriteTo(w)
	return err
}

func (r Row) where() string {
	return fmt.Sprintf("%q (%s, %g %g, AS%d)", r.City, r.Country, r.Lat, r.Lon, r.ASN)
}

func (r Row) location() Location {
	return Location{
		Country: r.Country, Continent: r.Continent, City: r.City, Point: true, Lat: r.Lat, Lon: r.Lon, ASN: r.ASN,
	}
}

// writeMMDB writes ranges of both families with their locations; location 0 is nothing and is left out.
func writeMMDB(w io.Writer, families []*spans, locations []Location) (int64, error) {
	var key recordKey
	tree, err := mmdbwriter.New(mmdbwriter.Options{
		BuildEpoch:              1, // 0 would mean now
		DatabaseType:            BuiltType,
		Description:             map[string]string{"en": "places of networks, built by catchment"},
		Languages:               []string{"en"},
		IPVersion:               6,
		RecordSize:              28,
		IncludeReservedNetworks: true,
		DisableIPv4Aliasing:     true, // aliases would make 2001::/32 and 2002::/16 unusable
		KeyGenerator:            &key,
	})
	if err != nil {
		return 0, fmt.Errorf("start geodata: %w", err)
	}
	records := make([]mmdbtype.Map, len(locations))
	for _, family := range families {
		err := family.prefixes(func(p netip.Prefix, location uint32) error {
			if records[location] == nil {
				records[location] = locations[location].record()
			}
			key.location = location
			if err := tree.Insert(ipNet(p), records[location]); err != nil {
				return fmt.Errorf("add geodata prefix %q: %w", p, err)
			}
			return nil
		})
		if err != nil {
			return 0, err
		}
	}
	n, err := tree.WriteTo(w)
	if err != nil {
		return n, fmt.Errorf("write geodata: %w", err)
	}
	return n, nil
}

// recordKey tells the writer which records are equal, so that it need not hash each of them for every network.
type recordKey struct {
	location uint32 // of the network being inserted
	buf      [4]byte
}

// Key is called once in each Insert.
func (k *recordKey) Key(mmdbtype.DataType) ([]byte, error) {
	binary.BigEndian.PutUint32(k.buf[:], k.location)
	return k.buf[:], nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func (l Location) record() mmdbtype.Map {
	m := mmdbtype.Map{}
	if l.Point {
		m["location"] = mmdbtype.Map{"latitude": mmdbtype.Float64(l.Lat), "longitude": mmdbtype.Float64(l.Lon)}
	}
	if l.Country != "" {
		m["country"] = mmdbtype.Map{"iso_code": mmdbtype.String(l.Country)}
	}
	if l.Continent == "" {
		l.Continent, _ = topology.ContinentOf(l.Country)
	}
	if l.Continent != "" {
		m["continent"] = mmdbtype.Map{"code": mmdbtype.String(l.Continent)}
	}
	if _, code, ok := strings.Cut(l.Region, "-"); ok {
		m["subdivisions"] = mmdbtype.Slice{mmdbtype.Map{"iso_code": mmdbtype.String(code)}}
	}
	if l.City != "" {
		m["city"] = mmdbtype.Map{"names": mmdbtype.Map{"en": mmdbtype.String(l.City)}}
	}
	if l.ASN != 0 {
		m["traits"] = mmdbtype.Map{"autonomous_system_number": mmdbtype.Uint32(l.ASN)}
	}
	return m
}
