package health_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/catchment-net/catchment/health"
)

// A reload that adds a POP and takes one away: what is known of the others stays, this node's own word and its sequence
// included; of what is gone nothing is left, not even when its name comes back.
func TestAdoptKeepsWhatIsKnown(t *testing.T) {
	before, after := network(1, 2, 1), network(1, 2, 1)
	after.POPs[2].Name, after.POPs[2].Nodes[0].Name = "d", "d1" // c has gone, d is new
	s := newScene(t, before, "a1")
	claims := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	for _, svc := range health.Services {
		s.fleet.SetOwn(s.now, svc, up())
		s.fleet.SetObserved(s.now, "c", svc, false, "no answer")
	}
	s.fleet.SetClaims(s.now, claims)
	s.says("b1", "up")
	s.says("b2", "down")
	s.says("c1", "up")
	for _, target := range []string{"b", "c", "c1"} {
		s.fleet.SetIntent(s.now, health.Intent{Target: target, Kind: health.IntentDrain, Why: "test"})
	}
	old := s.fleet.Record(s.now)
	was := s.fleet.View(s.now)

	s.fleet.Adopt(after)
	v := s.fleet.View(s.now)
	if v == was || v.Seq <= was.Seq {
		t.Errorf("view %d after %d: readers do not learn of the change", v.Seq, was.Seq)
	}
	if len(v.POPs) != 3 || len(v.Nodes) != 4 {
		t.Errorf("the view has POPs %v and nodes %v", v.POPs, v.Nodes)
	}
	for _, check := range []struct {
		what      string
		got, want health.State
	}{
		{"own word", v.Nodes["a1"].Services[health.Web].State, health.Up},
		{"another's word", v.Nodes["b2"].Services[health.Web].State, health.Down},
		{"a drain", v.State("b", health.Web), health.Draining},
		{"a new POP", v.State("d", health.Web), health.Unknown},
	} {
		if check.got != check.want {
			t.Errorf("%s: got %v, want %v", check.what, check.got, check.want)
		}
	}
	if got := s.fleet.Intents(); len(got) != 1 || got[0].Target != "b" {
		t.Errorf("got intents %v, want that on b alone", got)
	}
	r := s.fleet.Record(s.now)
	if r.Incarnation != old.Incarnation || r.Seq != old.Seq+1 || len(r.Claims) != 1 || len(r.Observed) != 0 {
		t.Errorf("own record after the change: %+v", r)
	}

	s.fleet.Adopt(before)
	if back := s.fleet.View(s.now); back.State("c", health.Web) != health.Unknown || back.Nodes["c1"].Heard {
		t.Errorf("c came back from nowhere: %+v", back.POPs["c"])
	}
	// c1 itself counts again with its next word, though a lower one than before.
	if !s.fleet.Merge(s.now, health.Record{Node: "c1", Incarnation: 1, Seq: 1, Services: map[health.Service]health.ServiceView{health.Web: up()}}) {
		t.Error("its word is refused by a number that was to be forgotten")
	}
}

// A reload that changes the timing neither takes a service down nor brings one up.
func TestRetimeKeepsTheState(t *testing.T) {
	tr := health.NewTracker(health.TrackerOptions{Interval: 100 * time.Millisecond, Fall: 3})
	now := epoch
	tr.Observe(now, health.Verdict{OK: true})
	bad := health.Verdict{Text: "no answer"}
	tr.Observe(now, bad)
	tr.Retime(health.TrackerOptions{Interval: 50 * time.Millisecond, Fall: 2, Rise: time.Second})
	if s := tr.View().State; s != health.Up {
		t.Fatalf("it is %v", s)
	}
	tr.Observe(now, bad) // the second in a row: enough now
	if s := tr.View().State; s != health.Down {
		t.Errorf("it is %v after two bad verdicts", s)
	}
	if got := tr.Hold(); got != time.Second {
		t.Errorf("the hold-down is %v", got)
	}
}
