package node

import (
	"strings"
	"testing"
	"time"
)

// A rollout that reaches the nodes one after the other is no alarm; a node that stays behind is, and by name.
func TestDivergenceIsAnAlarmAfterAMinute(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	c := newCensus("ams1")
	at := start
	// step lets all nodes that speak say their digest, goes on for a while and compares.
	step := func(d time.Duration, own, nyc, sin, want string, wantChanged bool) {
		t.Helper()
		for end := at.Add(d); at.Before(end); {
			at = at.Add(digestEvery)
			for name, digest := range map[string]string{"nyc1": nyc, "sin1": sin} {
				if digest != "" {
					c.hear(at, name, digest)
				}
			}
			alarm, changed := c.count(at, own)
			last := !at.Before(end)
			if !last && changed && alarm != "" {
				t.Errorf("alarm at %v: %s", at.Sub(start), alarm)
			}
			if last && (alarm != want || changed != wantChanged) {
				t.Errorf("at %v: got %q, changed %v; want %q, %v", at.Sub(start), alarm, changed, want, wantChanged)
			}
		}
	}
	step(time.Hour, "old", "old", "old", "", false)
	step(30*time.Second, "new", "old", "old", "", false)
	step(30*time.Second, "new", "new", "old", "", false)
	step(time.Minute, "new", "new", "new", "", false)
	step(divergedAfter, "new", "new", "old", "", false)
	step(digestEvery, "new", "new", "old", "configurations differ: sin1: old; most have new", true)
	step(time.Minute, "new", "new", "old", "configurations differ: sin1: old; most have new", false)
	if c.reported() == "" {
		t.Error("the status does not say it")
	}
	step(digestEvery, "new", "new", "new", "", true)
	step(divergedAfter, "new", "old", "older", "", false)
	step(digestEvery, "new", "old", "older", "configurations differ: ams1: new; nyc1: old; sin1: older", true)
	step(digestEvery, "new", "new", "new", "", true)
	step(divergedAfter, "new", "new", "old", "", false)
	step(digestEvery, "new", "new", "old", "configurations differ: sin1: old; most have new", true)
	step(digestAge, "new", "new", "", "configurations differ: sin1: old; most have new", false)
	step(digestEvery, "new", "new", "", "", true) // a node that is gone has no say
}

func TestDigestsOfStrangersAreNotCounted(t *testing.T) {
	w := newWorld(t)
	h := testHub(t, w.options("nyc1"))
	s := digestState{h.pools}
	for _, test := range []struct {
		text    string
		refused bool
		counted bool
	}{
		{`{"node": "ams1", "digest": "abc"}`, false, true},
		{`{"node": "nyc1", "digest": "abc"}`, false, false}, // ourselves, by another's word
		{`{"node": "lax1", "digest": "abc"}`, false, false},
		{`{"node": "ams1"}`, true, false},
		{`{"node": "ams1", "digest": "` + strings.Repeat("a", 65) + `"}`, true, false},
		{`nonsense`, true, false},
	} {
		clear(h.pools.census.heard)
		if err := s.Merge([]byte(test.text)); (err != nil) != test.refused {
			t.Errorf("%s: got error %v", test.text, err)
		}
		if got := len(h.pools.census.heard) > 0; got != test.counted {
			t.Errorf("%s: counted %v", test.text, got)
		}
	}
	other := testHub(t, w.options("ams1"))
	if err := (digestState{other.pools}).Merge(s.Marshal()); err != nil || other.pools.census.heard["nyc1"].digest != h.snap.Load().Digest {
		t.Errorf("own word %q: error %v", s.Marshal(), err)
	}
}
