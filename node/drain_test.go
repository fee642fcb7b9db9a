package node

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/catchment-net/catchment/health"
	"github.com/catchment-net/catchment/internal/event"
	"github.com/catchment-net/catchment/topology"
)

func TestMeter(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var m meter
	if got := m.lastSecond(start, 5); got != 0 {
		t.Errorf("%d requests before any note", got)
	}
	total := uint64(0)
	for i := range 20 { // 40 requests a second
		m.take(start.Add(time.Duration(i)*meterEvery), total)
		total += 10
	}
	end := start.Add(20 * meterEvery)
	for _, test := range []struct {
		at   time.Duration
		now  uint64
		want uint32
	}{
		{0, total, 40},
		{100 * time.Millisecond, total + 4, 44}, // of 1.1 s
		{2 * time.Second, total, 10},            // nothing since the newest note but what came before the end
		{0, 3, 0},                               // a daemon has ended and taken its requests along
	} {
		if got := m.lastSecond(end.Add(test.at), test.now); got != test.want {
			t.Errorf("%v later: got %d of the last second, want %d", test.at, got, test.want)
		}
	}
}

func TestTooMany(t *testing.T) {
	topo, err := topology.Parse("t.yaml", []byte(strings.Replace(topologyText, "  nyc:", "  fra: {at: FRA, unicast: [203.0.113.32/28]}\n  nyc:", 1)))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, test := range []struct {
		name, drained, target string
		atOnce                int
		refused               string
	}{
		{"the first", "", "ams", 1, ""},
		{"a second", "nyc", "ams", 1, "nyc is drained already"},
		{"a second where two may be", "nyc", "ams", 2, ""},
		{"a third where two may be", "nyc fra", "ams", 2, "fra, nyc are drained already"},
		{"the same once more", "ams", "ams", 1, ""},
		{"a node of a drained POP", "ams", "ams1", 1, ""},
		{"one of two nodes", "nyc", "ams1", 1, ""},
		{"the last of two nodes", "nyc ams1", "ams2", 1, "nyc is drained already"},
		{"the last of two nodes, first POP", "ams1", "ams2", 1, ""},
		{"a second after one by its nodes", "ams1 ams2", "nyc1", 1, "ams is drained already"},
		{"after one that has expired", "-nyc", "ams", 1, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			topo.Drain.AtOnce = test.atOnce
			var intents []health.Intent
			for name := range strings.FieldsSeq(test.drained) {
				i := health.Intent{Target: strings.TrimPrefix(name, "-"), Kind: health.IntentDrain}
				if strings.HasPrefix(name, "-") {
					i.Expires = now.Add(-time.Second)
				}
				intents = append(intents, i)
			}
			err := tooMany(topo, intents, test.target, now)
			if (err != nil) != (test.refused != "") || err != nil && !strings.Contains(err.Error(), test.refused) {
				t.Errorf("got %v, want %q", err, test.refused)
			}
		})
	}
}

// ask posts to a hub's admin API without its socket.
func ask(t *testing.T, h *hub, serve http.HandlerFunc, in any) *httptest.ResponseRecorder {
	t.Helper()
	body, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	serve(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", bytes.NewReader(body)))
	return w
}

func TestSecondDrainNeedsForce(t *testing.T) {
	w := newWorld(t)
	h := testHub(t, w.options("nyc1"))
	if got := ask(t, h, h.serveIntent, IntentRequest{Target: "ams", Drain: true, Why: "new kernel"}); got.Code != http.StatusOK {
		t.Fatal(got.Body)
	}
	got := ask(t, h, h.serveIntent, IntentRequest{Target: "nyc", Drain: true})
	if got.Code != http.StatusConflict || !strings.Contains(got.Body.String(), "ams is drained already") || !strings.Contains(got.Body.String(), "--force") {
		t.Errorf("got %d %s", got.Code, got.Body)
	}
	if v := h.judge.seen.Load(); v.Nodes["nyc1"].Draining {
		t.Error("the refused drain is in force")
	}
	for _, req := range []IntentRequest{{Target: "nyc", Drain: true, Force: true}, {Target: "nyc"}, {Target: "ams"}} {
		if got := ask(t, h, h.serveIntent, req); got.Code != http.StatusOK {
			t.Errorf("%+v: got %d %s", req, got.Code, got.Body)
		}
	}
}

// The others hear of every step of a drain, and DNS stops naming the node before its neighbours are asked to avoid it.
func TestStepsOfADrain(t *testing.T) {
	checkLeaks(t)
	w := newWorld(t)
	w.write("topology.yaml", topologyText+"drain: {dns: 150ms, min: 50ms, quiet: 100ms}\n")
	ams, _ := peerNode(t, w.options("ams1"))
	far := w.options("nyc1")
	n, _ := testNode(t, far)
	await(t, "to hear of ams1", func() bool { return n.hub.judge.seen.Load().Nodes["ams1"].Heard })
	await(t, "to be well", func() bool { return n.hub.bgp.Progress().Step == health.NoStep && upView(n.hub, health.Web) })
	n.hub.judge.wish(IntentRequest{Target: "nyc", Drain: true, Why: "new kernel", By: "jo"})
	dns := awaitEvent(t, far.Events, event.Drain, "nyc1", "dns")
	gshut := awaitEvent(t, far.Events, event.Drain, "nyc1", "gshut")
	if d := gshut.Time.Sub(dns.Time); d < 150*time.Millisecond {
		t.Errorf("GSHUT %v after the wish", d)
	}
	if !strings.Contains(gshut.Cause, "new kernel") {
		t.Errorf("cause %q", gshut.Cause)
	}
	// Nobody else announces here, so it stays; the status says so.
	if p := n.hub.status().View.Nodes["nyc1"].Progress; p.Step != health.StepGSHUT || !p.Kept {
		t.Errorf("progress %+v", p)
	}
	n.hub.judge.wish(IntentRequest{Target: "nyc"})
	awaitEvent(t, far.Events, event.Drain, "nyc1", "undone")

	said := health.Progress{Step: health.StepWithdrawn, Since: time.UnixMilli(1767323045123), Requests: 3}
	ams.hub.judge.setProgress(said)
	await(t, "the word of ams1", func() bool { return n.hub.judge.seen.Load().Nodes["ams1"].Progress == said })
}

// A drain outlives the process: what comes back with a new kernel stays away until it is undrained.
func TestDrainOutlivesTheProcess(t *testing.T) {
	checkLeaks(t)
	w := newWorld(t)
	w.write("topology.yaml", topologyText+"drain: {dns: 10ms, min: 10ms, quiet: 10ms}\n")
	o := w.options("nyc1")
	n, stop := testNode(t, o)
	await(t, "to be well", func() bool { return upView(n.hub, health.Web) && upView(n.hub, health.DNS) })
	n.hub.judge.wish(IntentRequest{Target: "nyc1", Drain: true, Why: "new kernel"})
	await(t, "the file", func() bool { all, err := readIntents(o.State); return err == nil && len(all) == 1 })
	stop()

	again := o
	again.Events = event.NewRing(event.Options{Node: "nyc1"})
	n, stop = testNode(t, again)
	if v := n.hub.judge.seen.Load().Nodes["nyc1"]; !v.Draining || v.Why != "new kernel" {
		t.Errorf("it starts with %+v", v)
	}
	await(t, "to be well again", func() bool { return upView(n.hub, health.Web) && upView(n.hub, health.DNS) })
	if e := happened(again.Events, event.Announce, "192.0.2.0/24", "announced"); e != nil {
		t.Errorf("it was announced first: %+v", e)
	}
	stop()

	// A damaged file keeps no node from starting.
	if err := os.WriteFile(filepath.Join(o.State, intentsFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := NewHub(o); err != nil {
		t.Error(err)
	}
	if left, err := filepath.Glob(filepath.Join(o.State, intentsFile+".*")); err != nil || slices.Contains(left, intentsFile+".") || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
