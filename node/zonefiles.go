package node

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/catchment-net/catchment/dnsd"
)

// zoneEvery is how often a name server alone looks whether its zones have changed. A thousand files cost 1 ms a look.
const zoneEvery = 2 * time.Second

// zoneFiles are the zones of a name server alone, by file. It belongs to one goroutine.
type zoneFiles struct {
	flags []string // ORIGIN=FILE
	list  string   // file of lines "ORIGIN FILE"; empty for none
	known map[zoneFile]*zoneCopy
	stamp stamp // of the list
	order []zoneFile
}

type zoneFile struct{ origin, path string }

type zoneCopy struct {
	text []byte
	read stamp // the file as it was read
}

// open reads everything for the first time, when a file that is missing is an error.
func (z *zoneFiles) open() ([]dnsd.ZoneSource, error) {
	sources, err := z.refresh()
	for _, s := range sources {
		if err == nil && s.Broken != nil {
			return nil, fmt.Errorf("read zone %q: %w", s.Origin, s.Broken)
		}
	}
	return sources, err
}

// refresh reads what has changed. The error is that of the list; then nothing has been taken over.
func (z *zoneFiles) refresh() ([]dnsd.ZoneSource, error) {
	order, at, err := z.listed()
	if err != nil {
		return nil, err
	}
	known := map[zoneFile]*zoneCopy{}
	var sources []dnsd.ZoneSource
	for _, f := range order {
		src := dnsd.ZoneSource{Origin: f.origin, File: f.path}
		t, err := z.known[f].again(f.path)
		if err != nil {
			src.Broken = err
		} else {
			src.Text = t.text
		}
		known[f] = t
		sources = append(sources, src)
	}
	z.known, z.order, z.stamp = known, order, at
	return sources, nil
}

// again returns the file's text, read again if it has changed. A nil one is not known yet.
func (t *zoneCopy) again(path string) (*zoneCopy, error) {
	now, err := stampOf(path)
	switch {
	case err != nil:
		return nil, err
	case t != nil && t.read == now:
		return t, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return &zoneCopy{text, now}, nil
}

// changed reports whether a file is not as it was read, and how they all are now.
func (z *zoneFiles) changed() (now []stamp, changed bool) {
	look := func(path string, was stamp) {
		s, err := stampOf(path)
		if err != nil {
			s = stamp{}
		}
		now = append(now, s)
		changed = changed || s != was
	}
	if z.list != "" {
		look(z.list, z.stamp)
	}
	for _, f := range z.order {
		var was stamp
		if t := z.known[f]; t != nil {
			was = t.read
		}
		look(f.path, was)
	}
	return now, changed
}

// listed are the zones of flags and list, with the stamp that the list had.
func (z *zoneFiles) listed() (order []zoneFile, at stamp, err error) {
	add := func(origin, path string) {
		order = append(order, zoneFile{strings.TrimSuffix(origin, ".") + ".", path})
	}
	for _, f := range z.flags {
		origin, path, ok := strings.Cut(f, "=")
		if !ok || origin == "" || path == "" {
			return nil, at, fmt.Errorf("--zone %q: want ORIGIN=FILE", f)
		}
		add(origin, path)
	}
	if z.list == "" {
		return order, at, nil
	}
	if at, err = stampOf(z.list); err != nil {
		return nil, at, fmt.Errorf("read zone list: %w", err)
	}
	text, err := os.ReadFile(z.list)
	if err != nil {
		return nil, at, fmt.Errorf("read zone list: %w", err)
	}
	for i, line := range strings.Split(string(text), "\n") {
		words := strings.Fields(line)
		switch {
		case len(words) == 0 || strings.HasPrefix(words[0], "#"):
			continue
		case len(words) != 2:
			return nil, at, fmt.Errorf("%s:%d: %q is not a zone; want a line `ORIGIN FILE`", z.list, i+1, line)
		}
		path := words[1]
		if !filepath.IsAbs(path) {
			path = filepath.Join(filepath.Dir(z.list), path)
		}
		add(words[0], path)
	}
	return order, at, nil
}

// aloneDNS is a name server alone: it follows its zones' files besides the databases, and probes its sites' targets itself.
type aloneDNS struct {
	*dnsDaemon
	targets *loneTargets
	files   *zoneFiles
	zones   []dnsd.ZoneSource // in force, guarded by the dnsDaemon's mu
}

// Run runs the name server until ctx is done, and answers nobody before it knows of its targets. Changed zones are read
// while it answers.
func (d *aloneDNS) Run(ctx context.Context) error {
	return runAll(ctx, d.targets.run, func(ctx context.Context) error {
		d.targets.await(ctx)
		return d.dnsDaemon.Run(ctx)
	}, func(ctx context.Context) error {
		return watchGeo(ctx, zoneEvery, d.files.changed, d.reloadZones)
	})
}

// reloadZones puts changed zones in force; a bad one hurts itself only.
func (d *aloneDNS) reloadZones() {
	zones, err := d.files.refresh()
	if err != nil {
		d.log.Error("zone list not read; the zones in force stay", "error", err)
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	before := d.zones
	d.zones = zones
	if err := d.put(d.snap); err != nil {
		d.zones = before
		d.log.Error("zones refused; those in force stay", "error", err)
		return
	}
	d.log.Info("zones read again", "zones", len(zones), "faulty", len(d.ZoneFaults()))
}
