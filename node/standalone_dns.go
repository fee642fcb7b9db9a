package node

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/catchment-net/catchment/control"
	"github.com/catchment-net/catchment/dnsd"
	"github.com/catchment-net/catchment/dnsd/cookie"
	"github.com/catchment-net/catchment/dnsd/rrl"
	"github.com/catchment-net/catchment/geodata"
	"github.com/catchment-net/catchment/internal/conf"
	process "github.com/catchment-net/catchment/internal/daemon"
	"github.com/catchment-net/catchment/internal/event"
	"github.com/catchment-net/catchment/internal/underlay"
	"github.com/catchment-net/catchment/site"
)

// StandaloneDNS is a name server from flags alone: zones, and no fleet.
type StandaloneDNS struct {
	Zones    []string // ORIGIN=FILE
	ZoneList string   // file with a line "ORIGIN FILE" for each zone; files are relative to it
	Listen   []string
	Sites    []string // files of sites whose hosts steer among targets of their own
	MMDB     []string // geodata for the sites' hosts, a later file winning
	Dir      string   // a configuration whose sites are steered; empty for none
	Logger   *slog.Logger
	Ready    func([]string)

	RateLimit     int    // equal answers a second to one network; 0: rrl.DefaultRate, below 0: no limit
	CookieSecrets string // file of the secrets of server cookies; empty: one is made up
	QueryLog      string // file to append a line for each sampled query to; empty: no log
	LogEvery      int    // one query of so many is written there; 0: all
}

// NewStandaloneDNS reads the zones and wires the server; it opens nothing.
func NewStandaloneDNS(o StandaloneDNS) (process.Daemon, error) {
	if len(o.Listen) == 0 {
		return nil, errors.New("nothing to listen on: add --listen ADDR:PORT")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	d := &aloneDNS{files: &zoneFiles{flags: o.Zones, list: o.ZoneList}}
	var err error
	if d.zones, err = d.files.open(); err != nil {
		return nil, err
	}
	snap := &control.Snapshot{}
	if o.Dir != "" {
		if snap, err = control.Load(o.Dir); err != nil {
			return nil, err
		}
	}
	own, err := readSites(o.Sites)
	if err != nil {
		return nil, err
	}
	snap.Sites = append(snap.Sites, own...)
	options := dnsd.Options{Node: "dnsd", Listen: o.Listen, Logger: o.Logger, Ready: o.Ready, RateLimit: rrl.Options{Rate: o.RateLimit}}
	if options.Cookies, err = readCookieSecrets(o.CookieSecrets); err != nil {
		return nil, err
	}
	if options.QueryLog, err = openQueryLog(o.QueryLog, o.LogEvery); err != nil {
		return nil, err
	}
	srv, err := dnsd.New(options)
	if err != nil {
		return nil, err
	}
	d.dnsDaemon = &dnsDaemon{
		Server: srv, geo: findGeo(o.MMDB, o.Dir), log: o.Logger, events: event.NewRing(event.Options{Node: "dnsd"}),
		config: func(snap *control.Snapshot, geo *geodata.Sources) (dnsd.Config, error) {
			return dnsd.Config{Zones: d.zones, Topology: snap.Topology, Sites: snap.Sites, Geo: geo}, nil
		},
	}
	rise := defaultRise
	if snap.Topology != nil {
		rise = snap.Topology.Health.Rise
	}
	d.targets = newLoneTargets(snap.Sites, rise, underlay.Host{}, o.Logger, srv.SetView)
	return d, d.Apply(snap)
}

// defaultRise is topology.Health's, for a name server without a topology.
const defaultRise = 10 * time.Second

// readSites reads sites that stand for themselves.
func readSites(files []string) (list []*site.Site, err error) {
	var errs []error
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read site: %w", err)
		}
		s, err := site.Parse(file, text, nil)
		errs = append(errs, err)
		list = append(list, s)
	}
	return list, conf.Join(errs...)
}

// readCookieSecrets reads a file of secrets; without one there are none.
func readCookieSecrets(file string) (*cookie.Secrets, error) {
	if file == "" {
		return nil, nil //nolint:nilnil // dnsd makes one up
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read cookie secrets: %w", err)
	}
	return cookie.Parse(file, text)
}

// openQueryLog opens the file of a query log for as long as the process lives.
func openQueryLog(file string, every int) (dnsd.QueryLog, error) {
	if file == "" {
		return dnsd.QueryLog{}, nil
	}
	f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o640)
	if err != nil {
		return dnsd.QueryLog{}, fmt.Errorf("open query log: %w", err)
	}
	return dnsd.QueryLog{Writer: f, Every: every}, nil
}
