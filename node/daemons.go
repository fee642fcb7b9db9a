package node

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/catchment-net/catchment/control"
	"github.com/catchment-net/catchment/dnsd"
	"github.com/catchment-net/catchment/geodata"
	"github.com/catchment-net/catchment/health"
	"github.com/catchment-net/catchment/popd"
	"github.com/catchment-net/catchment/site"
	"github.com/catchment-net/catchment/topology"
)

// daemon is what the hub needs of dnsd and popd, wherever they run.
type daemon interface {
	Apply(snap *control.Snapshot) error // all or nothing: a refused Snapshot changes nothing
	SetView(v *health.View)             // never blocks
	traffic() traffic
}

// traffic is what clients ask of a daemon on anycast addresses.
type traffic struct {
	last  time.Time // zero: never
	total uint64
}

// dnsDaemon makes a dnsd.Server take whole Snapshots.
type dnsDaemon struct {
	*dnsd.Server
	node string
	mmdb string // path; empty for none
}

func (d *dnsDaemon) traffic() traffic { return traffic{d.LastRequest(), d.Requests()} }

// Apply gives the name server its zones, steering and geodata.
func (d *dnsDaemon) Apply(snap *control.Snapshot) error {
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
	conf.Geo = &geodata.Sources{Databases: []*geodata.DB{db}}
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
	beside := filepath.Join(dir, "geo.mmdb")
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

func (d *webDaemon) traffic() traffic { return traffic{d.LastRequest(), d.Requests()} }

// Apply gives the cache its sites.
func (d *webDaemon) Apply(snap *control.Snapshot) error {
	return d.Server.Apply(popd.Config{Topology: snap.Topology, Node: d.node, Sites: snap.Sites})
}

func newDNS(o *Options, self *topology.Node, ready func(health.Service, []string)) (*dnsDaemon, error) {
	srv, err := dnsd.New(dnsd.Options{
		Node: self.Name, POP: self.POP.Name, Net: o.Net, Logger: o.Logger, Events: o.Events, Registerer: o.Registry,
		Ready: func(addrs []string) { ready(health.DNS, addrs) },
	})
	if err != nil {
		return nil, err
	}
	return &dnsDaemon{Server: srv, node: self.Name, mmdb: o.MMDB}, nil
}

func newWeb(o *Options, self *topology.Node, ready func(health.Service, []string)) (*webDaemon, error) {
	po := popd.Options{
		Node: self.Name, POP: self.POP.Name, Net: o.Net, Memory: o.Memory, Insecure: o.Insecure, Logger: o.Logger, Events: o.Events, Registerer: o.Registry, Now: o.Now,
		Ready: func(addrs []string) { ready(health.Web, addrs) },
	}
	if o.Keys != nil {
		po.ServerTLS, po.ClientTLS = o.Keys.TLSServer, o.Keys.TLSClient
	}
	srv, err := popd.New(po)
	if err != nil {
		return nil, err
	}
	return &webDaemon{Server: srv, node: self.Name}, nil
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
