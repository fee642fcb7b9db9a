package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/catchment-net/catchment/control"
	"github.com/catchment-net/catchment/dnsd"
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
}

// NewStandaloneDNS reads the zones and wires the server; it opens nothing.
func NewStandaloneDNS(o StandaloneDNS) (process.Daemon, error) {
	if len(o.Listen) == 0 {
		return nil, errors.New("nothing to listen on: add --listen ADDR:PORT")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	zones, err := readZones(o.Zones, o.ZoneList)
	if err != nil {
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
	srv, err := dnsd.New(dnsd.Options{Node: "dnsd", Listen: o.Listen, Logger: o.Logger, Ready: o.Ready})
	if err != nil {
		return nil, err
	}
	d := &dnsDaemon{
		Server: srv, geo: findGeo(o.MMDB, o.Dir), log: o.Logger, events: event.NewRing(event.Options{Node: "dnsd"}),
		config: func(snap *control.Snapshot, geo *geodata.Sources) (dnsd.Config, error) {
			return dnsd.Config{Zones: zones, Topology: snap.Topology, Sites: snap.Sites, Geo: geo}, nil
		},
	}
	rise := defaultRise
	if snap.Topology != nil {
		rise = snap.Topology.Health.Rise
	}
	return &loneDNS{d, newLoneTargets(snap.Sites, rise, underlay.Host{}, o.Logger, srv.SetView)}, d.Apply(snap)
}

// defaultRise is topology.Health's, for a name server without a topology.
const defaultRise = 10 * time.Second

// loneDNS is a name server that probes its sites' targets itself.
type loneDNS struct {
	*dnsDaemon
	targets *loneTargets
}

// Run runs the name server until ctx is done.
func (d *loneDNS) Run(ctx context.Context) error {
	return runAll(ctx, d.targets.run, func(ctx context.Context) error {
		d.targets.await(ctx)
		return d.dnsDaemon.Run(ctx)
	})
}

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

func readZones(flags []string, list string) ([]dnsd.ZoneSource, error) {
	var zones []dnsd.ZoneSource
	add := func(origin, file string) error {
		text, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("read zone %q: %w", origin, err)
		}
		zones = append(zones, dnsd.ZoneSource{Origin: strings.TrimSuffix(origin, ".") + ".", File: file, Text: text})
		return nil
	}
	for _, f := range flags {
		origin, file, ok := strings.Cut(f, "=")
		if !ok || origin == "" || file == "" {
			return nil, fmt.Errorf("--zone %q: want ORIGIN=FILE", f)
		}
		if err := add(origin, file); err != nil {
			return nil, err
		}
	}
	if list == "" {
		return zones, nil
	}
	text, err := os.ReadFile(list)
	if err != nil {
		return nil, fmt.Errorf("read zone list: %w", err)
	}
	for i, line := range strings.Split(string(text), "\n") {
		words := strings.Fields(line)
		switch {
		case len(words) == 0 || strings.HasPrefix(words[0], "#"):
			continue
		case len(words) != 2:
			return nil, fmt.Errorf("%s:%d: %q is not a zone; want a line `ORIGIN FILE`", list, i+1, line)
		}
		file := words[1]
		if !filepath.IsAbs(file) {
			file = filepath.Join(filepath.Dir(list), file)
		}
		if err := add(words[0], file); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", list, i+1, err)
		}
	}
	return zones, nil
}
