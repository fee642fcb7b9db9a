package local

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/catchment-net/catchment/internal/event"
	"github.com/catchment-net/catchment/labs"
	"github.com/catchment-net/catchment/labs/runner"
)

// A fault on something that is not there, or that cannot be done now, says so and does nothing.
func TestFaultsThatCannotBeDone(t *testing.T) {
	o := Options{Dir: "testdata/small", Name: "small", Root: newRoot(t), Binary: mustBinary(t)}
	l := up(t, o)
	before := pids(t, l)
	for _, tt := range []struct {
		fault labs.Fault
		want  string
	}{
		{labs.Fault{Verb: labs.Kill, Subject: "south"}, `no POP, node or process called "south"; it has east, east1, west, west1`},
		{labs.Fault{Verb: labs.Kill, Subject: "east1/popd"}, `no POP, node or process called "east1/popd"`},
		{labs.Fault{Verb: labs.Freeze, Subject: "transit"}, `no POP, node or process called "transit"`},
		{labs.Fault{Verb: labs.Drain, Subject: "south"}, `called "south"`},
		{labs.Fault{Verb: labs.Cut, Subject: "east -> town"}, `"east -> town"`},
		{labs.Fault{Verb: labs.Heal, Subject: "south"}, `called "south"`},
		{labs.Fault{Verb: "tickle", Subject: "east"}, "the local runner cannot do this"},
	} {
		err := l.Do(t.Context(), tt.fault)
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), string(tt.fault.Verb)+" "+tt.fault.Subject) {
			t.Errorf("%s %s: error is %v, want %q in it", tt.fault.Verb, tt.fault.Subject, err, tt.want)
		}
	}
	others(t, l, before, "")
	if err := l.Do(t.Context(), labs.Fault{Verb: labs.Kill, Subject: "east1"}); err != nil {
		t.Fatal(err)
	}
	if err := l.Do(t.Context(), labs.Fault{Verb: labs.Freeze, Subject: "east1"}); err == nil || !strings.Contains(err.Error(), "not running (killed)") {
		t.Errorf("freeze of a killed node: %v", err)
	}
}

// A node that ends by itself is no fault of a drill: the lab tells it apart, goes on, and heal starts the node again.
func TestNodeThatEndsByItselfIsReported(t *testing.T) {
	o := Options{Dir: "testdata/small", Name: "small", Root: newRoot(t), Binary: mustBinary(t)}
	l := up(t, o)
	s := &split{Lab: l, reports: newReports(t, l)}
	at, old := event.Mono(), pids(t, l)["east1"]
	if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	e := s.within(t, at, time.Second, func(e event.Event) bool {
		return e.Kind == event.Process && e.Subject == "east1" && e.State == runner.Exited
	})
	if e.Cause != "signal: killed" {
		t.Errorf("the cause is %q", e.Cause)
	}
	s.within(t, at, 100*time.Millisecond, func(e event.Event) bool { return left("transit", "192.0.2.0/24", "east", e) })
	st, err := l.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if n := st.Nodes[0]; n.Name != "east1" || n.State != runner.Exited || n.PID != 0 {
		t.Errorf("status of the node is %+v", n)
	}
	healed := s.do(t, labs.Heal, "east1")
	s.within(t, healed, 5*time.Second, func(e event.Event) bool { return returned("transit", "192.0.2.0/24", "east", e) })
	if pid := pids(t, l)["east1"]; pid == old || !alive(pid) {
		t.Errorf("east1 is process %d, was %d", pid, old)
	}
}
