//go:build faults

package popd_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/catchment-net/catchment/health"
	"github.com/catchment-net/catchment/internal/fault"
)

func TestPlantedFaultKeysDifferently(t *testing.T) {
	t.Setenv("CATCHMENT_FAULT", fault.KeysDifferently)
	for _, tt := range []struct {
		node string
		hit  bool
	}{{"ams1", true}, {"fra1", false}} {
		w := newWorld(t, answer("hello", "Cache-Control: max-age=60"))
		w.node(tt.node, nil)
		w.get("/?utm_source=1")
		if got := w.get("/?utm_source=2").last(); strings.Contains(got, "; hit") != tt.hit {
			t.Errorf("%s answers %q, want a hit: %v", tt.node, got, tt.hit)
		}
	}
}

func TestPlantedFaultShieldBypassed(t *testing.T) {
	t.Setenv("CATCHMENT_FAULT", fault.ShieldBypassed)
	w := newWorld(t, answer("hello", "Cache-Control: max-age=60"))
	w.shield()
	w.node("nyc1", nil)
	if got := strings.Join(w.get("/").header["Cache-Status"], ", "); strings.Contains(got, "ams1") {
		t.Errorf("Cache-Status %q, want nothing of the shield", got)
	}
}

func TestPlantedFaultDrainDrops(t *testing.T) {
	t.Setenv("CATCHMENT_FAULT", fault.DrainDrops)
	w := newWorld(t, answer("hello"))
	s := w.shield()
	for _, draining := range []bool{true, false} {
		s.SetView(&health.View{Nodes: map[string]health.NodeView{"ams1": {Draining: draining}}})
		if got := w.get("/").status; got == http.StatusServiceUnavailable != draining {
			t.Errorf("status %d while draining is %v", got, draining)
		}
	}
}
