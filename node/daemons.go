package node

import (
	"fmt"
	"os"
	"time"

	"github.com/catchment-net/catchment/control"
	"github.com/catchment-net/catchment/dnsd"
	"github.com/catchment-net/catchment/geodata"
	"github.com/catchment-net/catchment/health"
	"github.com/catchment-net/catchment/popd"
	"github.com/catchment-net/catchment/site"
)

// dnsDaemon makes a dnsd.Server take whole Snapshots.
type dnsDaemon struct {
	*dnsd.Server
	node string
	mmdb string // path; empty for none
}

// Apply gives the name server its zones, steering and geodata. All or nothing: a refused Snapshot changes nothing.
func (d *dnsDaemon) Apply(name string, files map[string][]byte) error {
	snap, err := control.Parse(name, files)
	if err != nil {
		return err
	}
	conf, err := dnsConfig(snap, d.node, d.mmdb)
	if err != nil {
		return err
	}
	return d.Server.Apply(conf)
}

func dnsConfig(snap *control.Snapshot, node, mmdb string) (dnsd.Config, error) {
	conf := dnsd.Config{Topology: snap.Topology, Node: node, Sites: snap.Sites}
	for _, z := range snap.Zones {
		conf.Zones = append(conf.Zones, dnsd.ZoneSource{Origin: z.Origin, File: z.File, Text: z.Text})
	}
	if mmdb == "" {
		if host := firstGeoHost(snap.Sites); host != "" {
			return conf, fmt.Errorf("host %q is steered by geo, but there is no geodata: name an MMDB with --mmdb FILE, or put geo.mmdb beside topology.yaml", host)
		}
		return conf, nil
	}
	db, err := geodata.Open(mmdb)
	if err != nil {
		return conf, err
	}
	conf.Geo = db
	return conf, nil
}

func firstGeoHost(sites []*site.Site) string {
	for _, s := range sites {
		for _, h := range s.Hosts {
			if h.Steer == site.Geo {
				return h.Name
			}
		}
	}
	return ""
}

// FindMMDB returns the geodata file to use: the one named, else DIR/geo.mmdb where that exists, else none.
func FindMMDB(named, dir string) string {
	if named != "" {
		return named
	}
	beside := dir + "/geo.mmdb"
	if _, err := os.Stat(beside); err == nil {
		return beside
	}
	return ""
}

// webDaemon makes a popd.Server take whole Snapshots.
type webDaemon struct {
	*popd.Server
	node string
}

// Apply gives the cache its sites. All or nothing: a refused Snapshot changes nothing.
func (d *webDaemon) Apply(name string, files map[string][]byte) error {
	snap, err := control.Parse(name, files)
	if err != nil {
		return err
	}
	return d.Server.Apply(popd.Config{Topology: snap.Topology, Node: d.node, Sites: snap.Sites})
}

// serviceName is the daemon that provides a service, for messages.
func serviceName(s health.Service) string {
	if s == health.DNS {
		return "dnsd"
	}
	return "popd"
}

// later returns the later of two times.
func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
