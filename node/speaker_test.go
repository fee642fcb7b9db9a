package node

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/catchment-net/catchment/admin"
	"github.com/catchment-net/catchment/health"
)

// aloneSpeaker is a speaker beside a service, with a folder for its state.
func aloneSpeaker(tb testing.TB, state, lifeline string) *Speaker {
	tb.Helper()
	o := StandaloneBGP{ASN: 64500, Lifeline: lifeline, Rise: 100 * time.Millisecond, Interval: 10 * time.Millisecond, Timeout: 8 * time.Millisecond, Fall: 3, State: state}
	if err := o.Parse([]string{"192.0.2.1"}, []string{"127.0.0.1:9=64496"}, []string{"198.51.100.0/24"}, []string{"192.0.2.1"}, nil); err != nil {
		tb.Fatal(err)
	}
	s, err := NewStandaloneBGP(o)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func (s *Speaker) announces(tb testing.TB) bool {
	tb.Helper()
	rib, err := s.bgp.RIB(s.o.Announce[0])
	if err != nil {
		tb.Fatal(err)
	}
	return len(rib) == 1
}

// A service that closes idle connections lives; one that closes them and takes no other is dead.
func TestLifelineThatIsClosedWhenIdle(t *testing.T) {
	checkLeaks(t)
	path := filepath.Join(shortDir(t), "app.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := aloneSpeaker(t, shortDir(t), "unix:"+path)
	s.idle = 0
	run(t, s.Run)
	var conn net.Conn
	for range 3 {
		next, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if conn != nil {
			await(t, "announced", func() bool { return s.announces(t) })
		}
		conn = next
		conn.Close()
	}
	if conn, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	falls := s.tracker.View().Cause.Text
	s.mu.Unlock()
	if falls != "" {
		t.Errorf("a service that closes idle connections is %q", falls)
	}
	l.Close()
	conn.Close()
	await(t, "withdrawn", func() bool { return !s.announces(t) })
	s.mu.Lock()
	defer s.mu.Unlock()
	if why := s.tracker.View().Cause; why.Class != health.Hard || !strings.HasPrefix(why.Text, "the lifeline ended: end of file; no other: ") {
		t.Errorf("withdrawn because of %v", why)
	}
}

// A drain by command withdraws, outlives the process, and ends when it is lifted or its time has come.
func TestSpeakerDrainsByCommand(t *testing.T) {
	checkLeaks(t)
	state := shortDir(t)
	begin := func() (s *Speaker, c *admin.Client, end func()) {
		s = aloneSpeaker(t, state, "")
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.Run(ctx) }()
		c = &admin.Client{Socket: filepath.Join(state, "admin.sock")}
		await(t, "an admin socket", func() bool { return c.Get(ctx, "/v1/status", &Status{}) == nil })
		return s, c, func() {
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	}
	s, c, end := begin()
	await(t, "announced", func() bool { return s.announces(t) })
	var intent health.Intent
	if err := c.Post(t.Context(), "/v1/intents", IntentRequest{Target: "self", Drain: true, Why: "new kernel", By: "kim"}, &intent); err != nil {
		t.Fatal(err)
	}
	await(t, "withdrawn", func() bool { return !s.announces(t) })
	var st Status
	if err := c.Get(t.Context(), "/v1/status", &st); err != nil || len(st.Intents) != 1 || st.Intents[0].Why != "new kernel" || !st.View.Nodes["self"].Draining {
		t.Errorf("status %+v, %v", st, err)
	}
	end()

	s, c, end = begin()
	await(t, "withdrawn after a restart", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.view != nil && s.view.Nodes["self"].Draining
	})
	if err := c.Post(t.Context(), "/v1/intents", IntentRequest{Target: "self"}, &intent); err != nil {
		t.Fatal(err)
	}
	await(t, "announced when lifted", func() bool { return s.announces(t) })
	if err := c.Post(t.Context(), "/v1/intents", IntentRequest{Target: "self", Drain: true, For: 2 * time.Second}, &intent); err != nil {
		t.Fatal(err)
	}
	await(t, "withdrawn for a while", func() bool { return !s.announces(t) })
	await(t, "announced when the time has come", func() bool { return s.announces(t) })
	for name, req := range map[string]IntentRequest{"another's name": {Target: "ams"}, "a time that was": {Target: "self", Drain: true, For: -1}} {
		if err := c.Post(t.Context(), "/v1/intents", req, &intent); err == nil {
			t.Errorf("%s: it was taken", name)
		}
	}
	end()
}

func TestWishesThatCannotBeRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "intent.json")
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := loadWishes(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v", err)
	}
}
