package local

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/catchment-net/catchment/control"
	"github.com/catchment-net/catchment/labs/catalog"
	"github.com/catchment-net/catchment/labs/drill"
)

// drillsOf are the names of a lab's drills.
func drillsOf(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "drills", "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%s has no drills (%v)", dir, err)
	}
	for i, f := range files {
		files[i] = strings.TrimSuffix(filepath.Base(f), ".yaml")
	}
	return files
}

// Every shipped lab passes `catchment check` without a warning, and every drill can be read.
func TestShippedLabsPassCheck(t *testing.T) {
	for _, lab := range catalog.List() {
		t.Run(lab, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), lab)
			if err := catalog.Extract(lab, dir); err != nil {
				t.Fatal(err)
			}
			snap, err := control.Load(dir)
			if err != nil {
				t.Fatal(err)
			}
			for _, w := range control.Warn(snap) {
				t.Errorf("warning: %s", w)
			}
			for _, name := range drillsOf(t, dir) {
				text, err := os.ReadFile(filepath.Join(dir, "drills", name+".yaml"))
				if err != nil {
					t.Fatal(err)
				}
				if _, err := drill.Parse(name+".yaml", text, snap.Topology); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// The shortest drills of what the quickstart has not: resolvers, daemons as processes, an origin that is broken.
func TestShortDrillsOfShippedLabsPass(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		lab, drill string
		split      bool
	}{{"geodns", "who-lands-where", false}, {"anycast3", "all-web-frozen", true}, {"shield", "slow-origin", false}} {
		t.Run(tt.lab+"/"+tt.drill, func(t *testing.T) {
			t.Parallel()
			o := shipped(t, tt.lab)
			o.Split = tt.split
			tryDrill(t, o, tt.drill, failed)
		})
	}
}
