package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/catchment-net/catchment/control"
	"github.com/catchment-net/catchment/dnsd"
	"github.com/catchment-net/catchment/geodata"
	"github.com/catchment-net/catchment/health"
	"github.com/catchment-net/catchment/internal/event"
	"github.com/catchment-net/catchment/popd"
	"github.com/catchment-net/catchment/popd/accesslog"
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

// dnsDaemon makes a dnsd.Server take whole Snapshots, and the databases that it steers by.
type dnsDaemon struct {
	*dnsd.Server
	config func(*control.Snapshot, *geodata.Sources) (dnsd.Config, error) // what to serve
	log    *slog.Logger
	events *event.Ring

	mu   sync.Mutex // guards the following; held while a configuration is compiled, which may take a second
	geo  *geoFiles
	snap *control.Snapshot // in force
}

func (d *dnsDaemon) traffic() traffic { return traffic{d.LastRequest(), d.Requests()} }

// Apply gives the name server its zones, steering and geodata. A database that has gone bad keeps what it said before.
func (d *dnsDaemon) Apply(snap *control.Snapshot) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.geo.refresh(); err != nil {
		if d.geo.missing() {
			return err
		}
		d.geoRefused(err)
	}
	return d.put(snap)
}

func (d *dnsDaemon) put(snap *control.Snapshot) error {
	conf, err := d.config(snap, d.geo.with(snap))
	if err != nil {
		return err
	}
	if err := d.Server.Apply(conf); err != nil {
		return err
	}
	d.snap = snap
	return nil
}

// Run runs the name server until ctx is done. Changed databases are read while it answers.
func (d *dnsDaemon) Run(ctx context.Context) error {
	return runAll(ctx, d.Server.Run, func(ctx context.Context) error {
		return watchGeo(ctx, control.DefaultEvery, d.geoChanged, d.reloadGeo)
	})
}

func (d *dnsDaemon) geoChanged() ([]stamp, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.geo.changed()
}

// reloadGeo puts changed databases in force. What is bad changes nothing.
func (d *dnsDaemon) reloadGeo() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.geo.refresh(); err != nil {
		d.geoRefused(err)
		return
	}
	start := time.Now()
	if err := d.put(d.snap); err != nil {
		d.geoRefused(err)
		return
	}
	d.log.Info("new geodata", "seconds", time.Since(start).Seconds())
	d.events.Add(event.Event{Kind: event.Config, Subject: "geodata", State: "applied"})
}

func (d *dnsDaemon) geoRefused(err error) {
	d.log.Error("geodata refused; the old one stays", "error", err)
	d.events.Add(event.Event{Kind: event.Config, Subject: "geodata", State: "refused", Cause: err.Error()})
}

func dnsConfig(snap *control.Snapshot, node string, geo *geodata.Sources) (dnsd.Config, error) {
	conf := dnsd.Config{Topology: snap.Topology, Node: node, Sites: snap.Sites, Geo: geo}
	for _, z := range snap.Zones {
		conf.Zones = append(conf.Zones, dnsd.ZoneSource{Origin: z.Origin, File: z.File, Text: z.Text})
	}
	for _, z := range snap.BadZones {
		if !z.Kept {
			conf.Zones = append(conf.Zones, dnsd.ZoneSource{Origin: z.Origin, File: z.File, Broken: errors.New(z.Error)})
		}
	}
	if geo == nil || len(geo.Databases) == 0 {
		if host := firstGeoHost(snap.Sites); host != "" {
			return conf, fmt.Errorf("host %q is steered by geo, but there is no geodata: name an MMDB with --mmdb FILE, or put geo.mmdb beside topology.yaml", host)
		}
	}
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
	cookies, err := cookieSecrets(o.Keys)
	if err != nil {
		return nil, err
	}
	srv, err := dnsd.New(dnsd.Options{
		Node: self.Name, POP: self.POP.Name, Net: o.Net, Cookies: cookies, Logger: o.Logger, Events: o.Events, Registerer: o.Registry,
		Ready: func(addrs []string) { ready(health.DNS, addrs) },
	})
	if err != nil {
		return nil, err
	}
	config := func(snap *control.Snapshot, geo *geodata.Sources) (dnsd.Config, error) {
		return dnsConfig(snap, self.Name, geo)
	}
	return &dnsDaemon{Server: srv, config: config, geo: findGeo(o.MMDB, o.Dir), log: o.Logger, events: o.Events}, nil
}

func newWeb(o *Options, self *topology.Node, ready func(health.Service, []string)) (*webDaemon, error) {
	po := popd.Options{
		Node: self.Name, POP: self.POP.Name, Net: o.Net, Memory: o.Memory, Insecure: o.Insecure, Logger: o.Logger, Events: o.Events, Registerer: o.Registry, Now: o.Now,
		Ready: func(addrs []string) { ready(health.Web, addrs) },
	}
	if o.Keys != nil {
		po.ServerTLS, po.ClientTLS = o.Keys.TLSServer, o.Keys.TLSClient
	}
	var err error
	if po.AccessLog, err = openAccessLog(o.AccessLog, o.Logger, o.Registry); err != nil {
		return nil, err
	}
	srv, err := popd.New(po)
	if err != nil {
		return nil, err
	}
	return &webDaemon{Server: srv, node: self.Name}, nil
}

// openAccessLog wires popd's access log; without a path there is none.
func openAccessLog(o accesslog.Options, log *slog.Logger, reg prometheus.Registerer) (*accesslog.Log, error) {
	if o.Path == "" {
		return nil, nil //nolint:nilnil // popd logs nothing then
	}
	o.Logger, o.Registerer = log, reg
	return accesslog.New(o)
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
