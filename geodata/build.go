package geodata

import (
	"cmp"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"

	"github.com/maxmind/mmdbwriter"
	"github.com/maxmind/mmdbwriter/mmdbtype"
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

// BuiltType is the database type that Build writes, so that every MMDB tool reads the file.
const BuiltType = "GeoLite2-City"

// Build writes an MMDB in MaxMind's City layout. The same rows in any order give the same bytes: the build time within
// is a constant. Reserved, private and documentation networks are kept. Host bits, and one prefix with two different
// places, are errors.
func Build(w io.Writer, rows []Row) error {
	tree, err := mmdbwriter.New(mmdbwriter.Options{
		BuildEpoch:              1, // 0 would mean now
		DatabaseType:            BuiltType,
		Description:             map[string]string{"en": "places of networks, built by catchment"},
		Languages:               []string{"en"},
		IPVersion:               6,
		RecordSize:              28,
		IncludeReservedNetworks: true,
		DisableIPv4Aliasing:     true, // aliases would make 2001::/32 and 2002::/16 unusable
	})
	if err != nil {
		return fmt.Errorf("start geodata: %w", err)
	}
	rows = slices.Clone(rows)
	slices.SortFunc(rows, func(a, b Row) int {
		return cmp.Or(cmp.Compare(depth(a.Prefix), depth(b.Prefix)), a.Prefix.Addr().Compare(b.Prefix.Addr()))
	})
	for i, r := range rows {
		if !r.Prefix.IsValid() || r.Prefix != r.Prefix.Masked() || r.Prefix.Addr().Is4In6() {
			return fmt.Errorf("geodata prefix %q: want a network without host bits", r.Prefix)
		}
		if i > 0 && r.Prefix == rows[i-1].Prefix && r != rows[i-1] {
			return fmt.Errorf("geodata prefix %q has two places: %s and %s", r.Prefix, rows[i-1].where(), r.where())
		}
		if err := tree.Insert(ipNet(r.Prefix), r.record()); err != nil {
			return fmt.Errorf("add geodata prefix %q: %w", r.Prefix, err)
		}
	}
	if _, err := tree.WriteTo(w); err != nil {
		return fmt.Errorf("write geodata: %w", err)
	}
	return nil
}

// depth is the prefix's length in the tree, where IPv4 lies below ::/96.
func depth(p netip.Prefix) int { return p.Bits() + 128 - p.Addr().BitLen() }

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func (r Row) where() string {
	return fmt.Sprintf("%q (%s, %g %g, AS%d)", r.City, r.Country, r.Lat, r.Lon, r.ASN)
}

func (r Row) record() mmdbtype.Map {
	m := mmdbtype.Map{"location": mmdbtype.Map{"latitude": mmdbtype.Float64(r.Lat), "longitude": mmdbtype.Float64(r.Lon)}}
	if r.Country != "" {
		m["country"] = mmdbtype.Map{"iso_code": mmdbtype.String(r.Country)}
	}
	if r.Continent != "" {
		m["continent"] = mmdbtype.Map{"code": mmdbtype.String(r.Continent)}
	}
	if r.City != "" {
		m["city"] = mmdbtype.Map{"names": mmdbtype.Map{"en": mmdbtype.String(r.City)}}
	}
	if r.ASN != 0 {
		m["traits"] = mmdbtype.Map{"autonomous_system_number": mmdbtype.Uint32(r.ASN)}
	}
	return m
}
