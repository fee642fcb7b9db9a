package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/catchment-net/catchment/control"
	"github.com/catchment-net/catchment/geodata"
)

// geoFiles are the databases that a name server steers by. A later one wins over an earlier one, field by field. It is not
// safe for concurrent use.
type geoFiles struct {
	files []*geoFile
	rules [][]byte         // the texts of the rules in sources
	last  *geodata.Sources // nil: nothing is known
}

// geoFile is one database with the last good content of its file.
type geoFile struct {
	path     string
	optional bool // may be missing
	read     stamp
	db       *geodata.DB
}

// stamp tells versions of a file apart without reading it. The zero stamp is that of a file that is not there.
type stamp struct {
	size  int64
	mtime time.Time
}

func stampOf(path string) (stamp, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return stamp{}, nil
	case err != nil:
		return stamp{}, fmt.Errorf("look at a file: %w", err)
	}
	return stamp{info.Size(), info.ModTime()}, nil
}

// findGeo returns the databases to use: those named, else geo.mmdb and geo-asn.mmdb in dir, each where it exists.
func findGeo(named []string, dir string) *geoFiles {
	g := &geoFiles{}
	for _, path := range named {
		g.files = append(g.files, &geoFile{path: path})
	}
	if len(named) == 0 && dir != "" {
		for _, name := range []string{"geo.mmdb", "geo-asn.mmdb"} {
			g.files = append(g.files, &geoFile{path: filepath.Join(dir, name), optional: true})
		}
	}
	return g
}

// Geodata reads what a name server with these options would steer by: the databases named, else those of dir, under the
// Snapshot's rules. It is nil if there are none of both.
func Geodata(named []string, dir string, snap *control.Snapshot) (*geodata.Sources, error) {
	g := findGeo(named, dir)
	if err := g.refresh(); err != nil {
		return nil, err
	}
	return g.with(snap), nil
}

// refresh reads the files that have changed. A bad one keeps what it had, and is an error once; one that has gone is as if
// it were still there.
func (g *geoFiles) refresh() error {
	var errs []error
	for _, f := range g.files {
		now, err := stampOf(f.path)
		if err != nil || now == f.read && (f.db != nil || f.optional) {
			errs = append(errs, err)
			continue
		}
		f.read = now
		if now == (stamp{}) && (f.optional || f.db != nil) {
			if f.db != nil {
				errs = append(errs, fmt.Errorf("geodata %q is gone; going on with what it said: put it back, or restart without it", f.path))
			}
			continue
		}
		db, err := geodata.Open(f.path)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		f.db, g.last = db, nil
	}
	return errors.Join(errs...)
}

// missing reports whether a file that must be there has never been read.
func (g *geoFiles) missing() bool {
	return slices.ContainsFunc(g.files, func(f *geoFile) bool { return f.db == nil && (!f.optional || f.read != stamp{}) })
}

// changed reports whether a file is not as it was read, and with what stamps.
func (g *geoFiles) changed() (now []stamp, changed bool) {
	for _, f := range g.files {
		s, err := stampOf(f.path)
		if err != nil {
			s = f.read
		}
		now = append(now, s)
		changed = changed || s != f.read
	}
	return now, changed
}

// with joins the databases with a Snapshot's rules. It is the same pointer for as long as nothing of them changes, which
// lets a name server keep its tables; nil if nothing is known.
func (g *geoFiles) with(snap *control.Snapshot) *geodata.Sources {
	texts := [][]byte{snap.Files[control.RulesFile], snap.Files[control.MeasuredFile]}
	if g.last != nil && slices.EqualFunc(texts, g.rules, bytes.Equal) {
		return g.last
	}
	s := &geodata.Sources{Rules: snap.Rules}
	for _, f := range g.files {
		if f.db != nil {
			s.Databases = append(s.Databases, f.db)
		}
	}
	if len(s.Databases) == 0 && texts[0] == nil && texts[1] == nil {
		return nil
	}
	g.last, g.rules = s, texts
	return s
}

// watchGeo calls reload whenever a file has changed and then stayed the same for one look, until ctx is done. Look is asked
// whether one has changed, at each interval.
func watchGeo(ctx context.Context, every time.Duration, look func() ([]stamp, bool), reload func()) error {
	t := time.NewTicker(every)
	defer t.Stop()
	var before []stamp
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		now, changed := look()
		if changed && slices.Equal(now, before) {
			reload()
		}
		before = now
	}
}
