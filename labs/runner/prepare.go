package runner

import (
	"fmt"
	"net/netip"
	"os"
	"time"

	"github.com/catchment-net/catchment/geodata"
	"github.com/catchment-net/catchment/keys"
	"github.com/catchment-net/catchment/topology"
)

// The names of what Prepare writes below the lab's state folder.
const (
	KeysFolder  = "keys"
	GeodataFile = "geo.mmdb"
)

// Prepare writes what the nodes of a lab read: their keys and the lab's geodata.
func Prepare(s *State, lab string, t *topology.Topology) error {
	fleet := keys.Fleet{Name: lab}
	for _, n := range t.Nodes() {
		fleet.Nodes = append(fleet.Nodes, keys.Node{Name: n.Name, Addrs: n.Addrs})
	}
	if err := keys.Init(s.File(KeysFolder), fleet, time.Now()); err != nil {
		return err
	}
	return WriteGeodata(s.File(GeodataFile), t)
}

// WriteGeodata writes the lab's own geodata. The same topology gives the same bytes.
func WriteGeodata(path string, t *topology.Topology) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("make geodata of the lab: %w", err)
	}
	if err := geodata.Build(file, GeoRows(t)); err != nil {
		file.Close()
		return err
	}
	return file.Close()
}

// GeoRows is the lab's own geodata: every prefix of its file at its place, so that no lab needs anybody's database.
func GeoRows(t *topology.Topology) []geodata.Row {
	var rows []geodata.Row
	add := func(prefixes []netip.Prefix, at topology.Place, asn uint32) {
		for _, p := range prefixes {
			rows = append(rows, geodata.Row{Prefix: p, Country: at.Country, Continent: at.Continent, City: at.City, Lat: at.Lat, Lon: at.Lon, ASN: asn})
		}
	}
	for _, n := range t.Internet.Networks {
		add(n.Prefixes, n.At, n.ASN)
	}
	for _, o := range t.Internet.Origins {
		add(o.Prefixes, o.At, o.In.ASN)
	}
	for _, n := range t.Internet.NameServers {
		add(n.Prefixes, n.At, n.In.ASN)
	}
	for _, p := range t.POPs {
		add(p.Unicast, p.At, t.ASN)
	}
	return rows
}

// OwnPrefixes are those that a network's router originates: its clients', and those of the origins and name servers of
// others that hang on it.
func OwnPrefixes(t *topology.Topology, n *topology.Network) []netip.Prefix {
	own := append([]netip.Prefix(nil), n.Prefixes...)
	for _, o := range t.Internet.Origins {
		if o.In == n {
			own = append(own, o.Prefixes...)
		}
	}
	for _, s := range t.Internet.NameServers {
		if s.In == n {
			own = append(own, s.Prefixes...)
		}
	}
	return own
}
