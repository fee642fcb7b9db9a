package health_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/catchment-net/catchment/health"
)

const (
	frankfurt = "api.shop.example/frankfurt/198.18.0.10"
	ashburn   = "api.shop.example/ashburn/198.18.1.10"
)

// sights is what a node says of checks: "+ID" or "-ID".
func (s *scene) sights(node string, list ...string) bool {
	s.t.Helper()
	s.seq++
	m := health.Sights{Node: node, Incarnation: 1, Seq: s.seq}
	for _, word := range list {
		one := health.Sight{Key: health.Rendezvous(word[1:], ""), OK: word[0] == '+'}
		if !one.OK {
			one.Text = "connection refused"
		}
		m.List = append(m.List, one)
	}
	return s.fleet.MergeSights(s.now, m)
}

// downNow lists the targets that are down, with their causes.
func (s *scene) downNow() string {
	var out []string
	for id, why := range s.fleet.View(s.now).Targets {
		name := strings.Split(id, "/")[1]
		out = append(out, name+" ("+why.Text+")")
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}

func TestTargetsAreDownWhenMostObserversSeeThemFail(t *testing.T) {
	for _, c := range []struct {
		rule string
		own  string // of frankfurt: "+", "-", or not assigned
		b, c string
		want string
	}{
		{"nobody knows: well", "", "", "", ""},
		{"one sees it well", "+", "", "", ""},
		{"the only one sees it fail", "-", "", "", "frankfurt (1 of 1 observers: a1: no answer)"},
		{"one of two: not down", "-", "+", "", ""},
		{"two of three", "-", "-", "+", "frankfurt (2 of 3 observers: a1: no answer; b1: connection refused)"},
		{"one of three", "-", "+", "+", ""},
		{"all others", "", "-", "-", "frankfurt (2 of 2 observers: b1: connection refused; c1: connection refused)"},
	} {
		s := newScene(t, network(1, 1, 1), "a1")
		s.fleet.SetChecks([]string{frankfurt, ashburn})
		if c.own != "" {
			s.fleet.SetSight(s.now, frankfurt, c.own == "+", "no answer")
		}
		for node, word := range map[string]string{"b1": c.b, "c1": c.c} {
			if word != "" {
				s.sights(node, word+frankfurt, "+"+ashburn)
			}
		}
		if got := s.downNow(); got != c.want {
			t.Errorf("%s: down %q, want %q", c.rule, got, c.want)
		}
	}
}

func TestSightsAgeAndOldOnesAreRefused(t *testing.T) {
	s := newScene(t, network(1, 1, 1), "a1")
	s.fleet.SetChecks([]string{frankfurt})
	s.sights("b1", "-"+frankfurt)
	s.now = s.now.Add(time.Second)
	s.sights("c1", "+"+frankfurt)
	if got := s.downNow(); got != "" {
		t.Errorf("one of two sees it fail: down %q", got)
	}
	if !s.fleet.TargetsKnown(s.now) || s.fleet.TargetsKnown(s.now.Add(2*health.WordAge)) {
		t.Error("known: want it while a word counts, and no longer")
	}
	late := health.Sights{Node: "c1", Incarnation: 1, Seq: 1, List: []health.Sight{{Key: health.Rendezvous(frankfurt, "")}}}
	if s.fleet.MergeSights(s.now, late) || s.fleet.MergeSights(s.now, health.Sights{Node: "nobody"}) {
		t.Error("an older word, or a stranger's, is news")
	}
	next := s.fleet.NextCheck(s.now)
	if want := epoch.Add(health.WordAge + 1); next.After(want) {
		t.Errorf("next check at %v, want one when b1's word ends, %v", next, want)
	}
	s.sights("b1", "-"+frankfurt) // repeated, and c1 falls silent
	s.now = s.now.Add(health.WordAge)
	s.sights("b1", "-"+frankfurt)
	s.now = s.now.Add(time.Millisecond)
	if got := s.downNow(); got != "frankfurt (1 of 1 observers: b1: connection refused)" {
		t.Errorf("c1 is silent: down %q", got)
	}
	s.now = s.now.Add(2 * health.WordAge)
	if got := s.downNow(); got != "" {
		t.Errorf("all are silent: down %q, want nothing: nobody knows", got)
	}
}

func TestACauseKeepsItsTimeAndAnotherConfigurationItsChecks(t *testing.T) {
	s := newScene(t, network(1, 1, 1), "a1")
	s.fleet.SetChecks([]string{frankfurt, ashburn})
	s.fleet.SetSight(s.now, frankfurt, false, "status 500")
	since := s.fleet.View(s.now).Targets[frankfurt].Since
	s.now = s.now.Add(time.Second)
	s.sights("b1", "-"+frankfurt)
	s.fleet.SetChecks([]string{frankfurt})
	if why := s.fleet.View(s.now).Targets[frankfurt]; !why.Since.Equal(since) || !strings.HasPrefix(why.Text, "2 of 2") {
		t.Errorf("cause %+v, want two observers and the time of the first", why)
	}
	s.fleet.Unsight(frankfurt)
	if got := s.downNow(); got != "frankfurt (1 of 1 observers: b1: connection refused)" {
		t.Errorf("not ours any more: down %q", got)
	}
	s.fleet.SetChecks(nil)
	if s.downNow() != "" || s.fleet.SetSight(s.now, frankfurt, false, "") || s.sights("b1", "-"+frankfurt) {
		t.Error("a check that is gone is still known")
	}
}

// Every check falls to one node of each of three POPs, whoever works it out; who leaves is replaced, and nobody else is.
func TestChecksAreDividedAmongTheVoices(t *testing.T) {
	topo := network(2, 2, 2, 2, 2)
	var ids, voices []string
	for i := range 200 {
		ids = append(ids, fmt.Sprintf("h%d/t/198.18.0.%d", i, i))
	}
	for _, n := range topo.Nodes() {
		voices = append(voices, n.Name)
	}
	divide := func(voices []string) map[string][]string {
		who := map[string][]string{}
		for _, name := range voices {
			f := health.NewFleet(topo, name)
			f.SetChecks(ids)
			for _, id := range f.Assigned(voices) {
				who[id] = append(who[id], name)
			}
		}
		return who
	}
	all, without := divide(voices), divide(voices[1:])
	load := map[string]int{}
	for _, id := range ids {
		pops := map[byte]bool{}
		for _, name := range all[id] {
			pops[name[0]] = true
			load[name]++
		}
		if len(all[id]) != 3 || len(pops) != 3 || len(without[id]) != 3 {
			t.Fatalf("%s is probed by %v, and without %s by %v; want three of three POPs", id, all[id], voices[0], without[id])
		}
		if !slices.Contains(all[id], voices[0]) && !slices.Equal(all[id], without[id]) {
			t.Errorf("%s moves from %v to %v though %s did not probe it", id, all[id], without[id], voices[0])
		}
	}
	for name, n := range load {
		if n < 30 || n > 95 {
			t.Errorf("%s makes %d of 600 probes, want about 60", name, n)
		}
	}
	alone := health.NewFleet(topo, "a1")
	alone.SetChecks(ids)
	if got := alone.Assigned(alone.Voices(epoch)); len(got) != len(ids) {
		t.Errorf("one that hears nobody probes %d of %d", len(got), len(ids))
	}
}

// What a node says of many checks fits datagrams, and all of it arrives.
func TestOwnSightsInDatagrams(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		topo := network(1, 1)
		a, b := health.NewFleet(topo, "a1"), health.NewFleet(topo, "b1")
		var ids []string
		for i := range rapid.IntRange(0, health.MaxChecks).Draw(rt, "checks") {
			ids = append(ids, fmt.Sprintf("h%d/t", i))
		}
		a.SetChecks(ids)
		b.SetChecks(ids)
		bad := rapid.IntRange(1, 5).Draw(rt, "bad")
		text := strings.Repeat("é", rapid.IntRange(0, 100).Draw(rt, "text"))
		failing := 0
		for i, id := range ids {
			a.SetSight(epoch, id, i%bad != 0, text)
			if i%bad == 0 {
				failing++
			}
		}
		for _, m := range a.OwnSights(epoch) {
			wire, err := m.MarshalBinary()
			if err != nil {
				rt.Fatal(err)
			}
			var got health.Sights
			if err := got.UnmarshalBinary(wire); err != nil {
				rt.Fatal(err)
			}
			b.MergeSights(epoch, got)
		}
		if got := len(b.View(epoch).Targets); got != failing {
			rt.Fatalf("%d are down, want %d of %d", got, failing, len(ids))
		}
	})
}

func TestSightsRefuseWhatIsNoneOfOurs(t *testing.T) {
	good, err := health.Sights{Node: "a1", Incarnation: 1, Seq: 2, List: []health.Sight{{Key: 1, OK: true}, {Key: 2, Text: "x"}}}.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	for name, wire := range map[string][]byte{"nothing": nil, "cut short": good[:len(good)-1], "left over": append(slices.Clone(good), 0), "another version": append([]byte{9}, good[1:]...)} {
		var s health.Sights
		if s.UnmarshalBinary(wire) == nil || s.Node != "" {
			t.Errorf("%s: taken as %+v", name, s)
		}
	}
	if _, err := (health.Sights{Node: strings.Repeat("x", 65)}).MarshalBinary(); err == nil {
		t.Error("a name of 65 bytes is sent")
	}
	if _, err := (health.Sights{List: make([]health.Sight, 200)}).MarshalBinary(); err == nil {
		t.Error("200 checks are sent in one datagram")
	}
}

func FuzzSights(f *testing.F) {
	for _, s := range []health.Sights{{}, {Node: "ams1", Incarnation: 7, Seq: 1, List: []health.Sight{{Key: 5, OK: true}, {Key: 1 << 60, Text: "no answer"}}}} {
		wire, err := s.MarshalBinary()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(wire)
	}
	f.Fuzz(func(t *testing.T, wire []byte) {
		var s health.Sights
		if s.UnmarshalBinary(wire) != nil {
			return
		}
		again, err := s.MarshalBinary()
		if err != nil {
			return // larger than we send
		}
		var back health.Sights
		if err := back.UnmarshalBinary(again); err != nil || cmp.Diff(s, back) != "" && !bytes.Equal(wire, again) {
			t.Errorf("%+v comes back as %+v, %v", s, back, err)
		}
	})
}
