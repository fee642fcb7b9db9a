package node

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/catchment-net/catchment/health"
	"github.com/catchment-net/catchment/internal/event"
)

// wide has a second anycast prefix, which a change may lose.
var wide = strings.Replace(topologyText, "prefixes: [192.0.2.0/24]", "prefixes: [192.0.2.0/24, 198.51.100.0/24]", 1)

// applied asks a hub to read its folder.
func applied(t *testing.T, h *hub, force bool) Applied {
	t.Helper()
	w := ask(t, h, h.serveApply, ApplyRequest{Force: force})
	if w.Code != http.StatusOK {
		t.Fatalf("apply: %d %s", w.Code, w.Body)
	}
	var a Applied
	if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil {
		t.Fatal(err)
	}
	return a
}

// A change that would withdraw a prefix everywhere is held; a harmless one after it is taken, and forgets it; forced it
// is taken.
func TestTooMuchIsHeld(t *testing.T) {
	checkLeaks(t)
	w := newWorld(t)
	w.write("topology.yaml", wide)
	o := w.options("nyc1")
	n, _ := testNode(t, o)
	h := n.hub
	first := h.snap.Load()

	w.write("topology.yaml", topologyText)
	e := awaitEvent(t, o.Events, event.Config, "snapshot", "held")
	if want := "198.51.100.0/24 of ams, 198.51.100.0/24 of nyc"; !strings.Contains(e.Cause, want) {
		t.Errorf("cause %q, want %q in it", e.Cause, want)
	}
	if st := h.status(); st.Held == nil || st.Held.Digest != e.Detail["digest"] || st.Digest != first.Digest {
		t.Errorf("status %+v", st.Held)
	}
	if h.snap.Load() != first {
		t.Error("it was taken all the same")
	}
	if got := metric(t, h, "node_config_held"); got != 1 {
		t.Errorf("node_config_held is %v", got)
	}

	w.write("sites/shop.yaml", strings.Replace(siteText, "2s", "3s", 1))
	w.write("topology.yaml", wide)
	await(t, "the harmless change", func() bool { return h.snap.Load() != first })
	if h.status().Held != nil || metric(t, h, "node_config_held") != 0 {
		t.Error("the held change is not forgotten")
	}

	w.write("topology.yaml", topologyText)
	if a := applied(t, h, false); a.State != "held" || a.Why == "" || len(a.Change.Lost) != 2 {
		t.Errorf("apply: %+v", a)
	}
	if a := applied(t, h, true); a.State != "applied" || len(a.Change.Lost) != 2 || h.snap.Load().Digest != a.Digest {
		t.Errorf("apply --force: %+v", a)
	}
	if a := applied(t, h, false); a.State != "unchanged" || h.status().Held != nil {
		t.Errorf("apply again: %+v", a)
	}
	w.write("topology.yaml", "asn: many\n")
	if got := ask(t, h, h.serveApply, ApplyRequest{Force: true}); got.Code != http.StatusConflict || !strings.Contains(got.Body.String(), "topology.yaml:1:6") {
		t.Errorf("mistakes by force: %d %s", got.Code, got.Body)
	}
}

// A restart is no way round: the node begins with what was in force, and with the change once that has been forced.
func TestHeldOverARestart(t *testing.T) {
	checkLeaks(t)
	w := newWorld(t)
	w.write("topology.yaml", wide)
	o := w.options("nyc1")
	prefixes := func(n *Node) int { return len(n.hub.snap.Load().Topology.Anycast.Prefixes) }
	_, stop := testNode(t, o)
	stop()

	w.write("topology.yaml", topologyText)
	o.Events, o.Registry = event.NewRing(event.Options{Node: "nyc1"}), nil
	n, stop := testNode(t, o)
	awaitEvent(t, o.Events, event.Config, "snapshot", "held")
	await(t, "to be well", func() bool { return upView(n.hub, health.Web) })
	if prefixes(n) != 2 {
		t.Error("it started with the change that is too much")
	}
	// What a running node cannot take up is noted none the less: its next start takes it.
	w.write("topology.yaml", strings.Replace(topologyText, "dns: [192.0.2.53]", "dns: [192.0.2.54]", 1))
	if got := ask(t, n.hub, n.hub.serveApply, ApplyRequest{Force: true}); got.Code != http.StatusConflict || !strings.Contains(got.Body.String(), "dnsd listens on") {
		t.Errorf("apply --force: %d %s", got.Code, got.Body)
	}
	stop()

	o.Events, o.Registry = event.NewRing(event.Options{Node: "nyc1"}), nil
	n, _ = testNode(t, o)
	if got := n.hub.snap.Load().Topology.Anycast; len(got.Prefixes) != 1 || got.DNS[0].String() != "192.0.2.54" {
		t.Errorf("it started with %+v though the change was forced", got)
	}
}

// metric reads a metric without labels.
func metric(t *testing.T, h *hub, name string) float64 {
	t.Helper()
	all, err := h.o.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		if f.GetName() == name {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}
