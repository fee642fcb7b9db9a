package node

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/catchment-net/catchment/control"
	"github.com/catchment-net/catchment/health"
)

// seenDaemon remembers the View that it was given last.
type seenDaemon struct{ view *health.View }

func (d *seenDaemon) Apply(*control.Snapshot) error { return nil }
func (d *seenDaemon) SetView(v *health.View)        { d.view = v }
func (d *seenDaemon) traffic() traffic              { return traffic{} }
func (d *seenDaemon) Run(context.Context) error     { return nil }
func (d *seenDaemon) Drain(context.Context) error   { return nil }

func testService(t *testing.T, d *seenDaemon) *Service {
	t.Helper()
	w := newWorld(t)
	snap, err := control.Load(w.dir)
	if err != nil {
		t.Fatal(err)
	}
	return &Service{
		o: &Options{Name: "nyc1", Net: w.options("nyc1").Net, Now: time.Now, Logger: slog.New(slog.DiscardHandler)}, daemon: d,
		topo: snap.Topology, changed: make(chan struct{}, 1), hubIs: make(chan bool, 1),
	}
}

// The hub has said that ams is down. Its end must not bring ams back into the answers before the daemon's own probes
// know better.
func TestHubsLastWordHoldsUntilOwnProbesKnow(t *testing.T) {
	d := &seenDaemon{}
	s := testService(t, d)
	last := &health.View{Seq: 9, POPs: map[string]health.POPView{"ams": {Services: map[health.Service]health.ServiceView{health.Web: {State: health.Down}}}}}
	s.viewed(last)
	s.left()
	j := s.ownJudge()
	observe := func(svc health.Service, ok bool) {
		j.change(func(now time.Time) { j.fleet.SetObserved(now, "ams", svc, ok, "no answer") })
	}
	observe(health.DNS, true)
	if d.view != last {
		t.Fatalf("after half of the probes the daemon sees %+v", d.view.POPs["ams"])
	}
	observe(health.Web, false)
	if d.view == last || d.view.State("ams", health.Web) != health.Down || d.view.State("ams", health.DNS) != health.Up {
		t.Errorf("after all probes it sees %+v", d.view.POPs["ams"])
	}
	observe(health.Web, true)
	if d.view.State("ams", health.Web) != health.Up {
		t.Error("it does not follow its own probes")
	}

	// The hub is back; a probe that was under way then must not overrule it.
	s.viewed(last)
	observe(health.Web, false)
	observe(health.Web, true)
	if d.view != last {
		t.Error("own probes overruled the hub")
	}
}
