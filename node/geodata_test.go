package node

import (
	"bytes"
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/catchment-net/catchment/control"
	"github.com/catchment-net/catchment/geodata"
	"github.com/catchment-net/catchment/internal/event"
	"github.com/catchment-net/catchment/topology"
)

// geoText is a database that knows one network.
func geoText(tb testing.TB, country string) []byte {
	tb.Helper()
	at, ok := topology.CountryPlace(country)
	if !ok {
		tb.Fatalf("no country %q", country)
	}
	var b bytes.Buffer
	row := geodata.Row{Prefix: netip.MustParsePrefix("198.51.100.0/24"), Country: country, Lat: at.Lat, Lon: at.Lon}
	if err := geodata.Build(&b, []geodata.Row{row}); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

func country(s *geodata.Sources) string {
	if s == nil {
		return "nothing"
	}
	loc, _ := s.Locate(netip.MustParseAddr("198.51.100.1"))
	return loc.Country
}

// place writes a file with a time of its own, so that no clock hides a change.
func place(tb testing.TB, path string, data []byte, at time.Duration) {
	tb.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		tb.Fatal(err)
	}
	when := time.Unix(1e9, 0).Add(at)
	if err := os.Chtimes(path, when, when); err != nil {
		tb.Fatal(err)
	}
}

func TestGeoFilesKeepWhatWasGood(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "geo.mmdb")
	g := findGeo(nil, dir)
	snap := &control.Snapshot{}
	if err := g.refresh(); err != nil || g.missing() || g.with(snap) != nil {
		t.Fatalf("nothing there: error %v, missing %v, sources %v; want none", err, g.missing(), g.with(snap))
	}
	place(t, path, geoText(t, "DE"), 1)
	if err := g.refresh(); err != nil || country(g.with(snap)) != "DE" {
		t.Fatalf("a file that comes: error %v, country %q", err, country(g.with(snap)))
	}
	first := g.with(snap)
	if g.with(&control.Snapshot{}) != first {
		t.Error("other sources although nothing has changed")
	}
	place(t, path, []byte("half a file"), 2)
	if err := g.refresh(); err == nil || !strings.Contains(err.Error(), "not an MMDB") || !strings.Contains(err.Error(), path) {
		t.Errorf("a bad file: error %v, want one that names it and what is wanted", err)
	}
	if g.with(snap) != first || g.missing() {
		t.Error("a bad file changed something")
	}
	if err := g.refresh(); err != nil {
		t.Errorf("told twice: %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := g.refresh(); err == nil || !strings.Contains(err.Error(), "is gone; going on with what it said") || g.with(snap) != first {
		t.Errorf("a file that goes: error %v, country %q", err, country(g.with(snap)))
	}
	place(t, path, geoText(t, "US"), 3)
	place(t, filepath.Join(dir, "geo-asn.mmdb"), geoText(t, "BR"), 3)
	if err := g.refresh(); err != nil || country(g.with(snap)) != "BR" {
		t.Errorf("a second file: error %v, country %q; want the later one's", err, country(g.with(snap)))
	}
	ruled := &control.Snapshot{Files: map[string][]byte{control.RulesFile: []byte("AS1,ams\n")}}
	if s := g.with(ruled); s == first || g.with(ruled) != s || country(s) != "BR" {
		t.Error("rules change the sources once")
	}
}

func TestNamedGeodataMustBeThere(t *testing.T) {
	g := findGeo([]string{filepath.Join(t.TempDir(), "none.mmdb")}, "")
	if err := g.refresh(); err == nil || !g.missing() {
		t.Errorf("error %v, missing %v; want both", err, g.missing())
	}
}

// A file is read when it has been the same for one look: not while it is being written.
func TestWatchGeoWaitsUntilAFileIsWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		at := func(n int64) []stamp { return []stamp{{size: n}} }
		looks := [][]stamp{at(1), at(2), at(3), at(3), at(3), at(1)} // 1 is what was read
		var reloads []int
		look := 0
		done := make(chan error)
		go func() {
			done <- watchGeo(ctx, time.Second, func() ([]stamp, bool) {
				now := looks[min(look, len(looks)-1)]
				look++
				return now, now[0].size != 1
			}, func() { reloads = append(reloads, look) })
		}()
		time.Sleep(10 * time.Second)
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if len(reloads) != 2 || reloads[0] != 4 || reloads[1] != 5 {
			t.Errorf("reloads at looks %v, want 4 and 5", reloads)
		}
	})
}

// A running node takes a new database, and says so; a bad one changes nothing, and it says that too.
func TestNodeTakesNewGeodata(t *testing.T) {
	checkLeaks(t)
	w := newWorld(t)
	w.write("geo.mmdb", string(geoText(t, "DE")))
	o := w.options("nyc1")
	n, _ := testNode(t, o)
	w.write("geo.mmdb", string(geoText(t, "BR")))
	awaitEvent(t, o.Events, event.Config, "geodata", "applied")
	w.write("geo.mmdb", "half a file")
	e := awaitEvent(t, o.Events, event.Config, "geodata", "refused")
	if !strings.Contains(e.Cause, "not an MMDB") {
		t.Errorf("cause %q", e.Cause)
	}
	n.dns.mu.Lock()
	defer n.dns.mu.Unlock()
	if got := country(n.dns.geo.with(n.dns.snap)); got != "BR" {
		t.Errorf("country %q after a bad file, want the last good one's", got)
	}
}
