package drill

import (
	"bytes"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/catchment-net/catchment/internal/event"
	"github.com/catchment-net/catchment/labs"
)

// judged parses a drill with one expectation about a scene and judges it.
func judged(t *testing.T, window, expect string, verb string, sc scene, edit func(*Recording)) Verdict {
	t.Helper()
	text := `load:
  www: {get: http://www.shop.example/, rate: 10/s}
  img: {get: http://img.shop.example/, rate: 10/s}
  agree: {dns: www.shop.example, rate: 2/s}
at: {3s: ` + verb + ` ams, 13s: heal ams, 23s: end}
expect: {` + window + `: ["` + expect + `"]}
`
	d, err := Parse("d.yaml", []byte(text), reference(t))
	if err != nil {
		t.Fatal(err)
	}
	rec := sc.record(t, d)
	if edit != nil {
		edit(rec)
	}
	return Evaluate(d, rec).Expectations[0]
}

// altered is a scene whose samples a function changes.
func altered(f func(*labs.Sample)) scene {
	sc := goodScene()
	sc.alter = f
	return sc
}

// viewsDown are events by which nodes hold ams to be down at their times, and up again after the heal.
func viewsDown(times map[string]time.Duration) func(*Recording) {
	return func(rec *Recording) {
		rec.Events = slices.DeleteFunc(rec.Events, func(e event.Event) bool { return e.Kind == event.Health })
		for node, when := range times {
			rec.Events = append(rec.Events,
				event.Event{Mono: at(when), Node: node, Kind: event.Health, Subject: "pop/ams/web", State: "down"},
				event.Event{Mono: at(15 * time.Second), Node: node, Kind: event.Health, Subject: "pop/ams/web", State: "up"})
		}
	}
}

// opinions fills a DNS load: what the name server of each node says at a time.
func opinions(say func(node string, t time.Duration) string) scene {
	return altered(func(s *labs.Sample) {
		if s.Load != "agree" {
			return
		}
		s.OK, s.Error, s.Status = true, "", 0
		for _, node := range []string{"ams1", "nyc1", "sin1"} {
			s.Views = append(s.Views, labs.View{Server: netip.MustParseAddr("203.0.113.1"), Node: node, Answer: say(node, time.Duration(s.Start-zero))})
		}
	})
}

// Each row is a system and what a function finds there.
func TestFunctions(t *testing.T) {
	sec := time.Second
	hits := func(tokyo bool) func(*labs.Sample) {
		return func(s *labs.Sample) { s.Hit = tokyo || s.POP != "sin" }
	}
	tests := []struct {
		name, window, expect, verb string
		scene                      scene
		edit                       func(*Recording)
		pass                       bool
		found, cause               string
	}{
		{"lost of one client", "3s..13s", "lost(berlin, img) == 1", "kill", goodScene(), nil, true, "1", ""},
		{"lost of one that loses nothing", "always", "lost(tokyo) == 0", "kill", goodScene(), nil, true, "0", ""},
		{"drain that drops", "3s..13s", "lost(*, www) == 0", "drain", goodScene(), nil, false, "", "the drain drops requests"},
		{"latency", "always", "p99(*, img) < 20ms", "kill", goodScene(), nil, true, "10ms", ""},
		{"median", "always", "p50(tokyo, img) >= 20ms", "kill", goodScene(), nil, false, "10ms (tokyo/img)", ""},
		{"share moves", "6s..13s", "share(ams, img) == 0%", "kill", goodScene(), nil, true, "0.0%", ""},
		{"share of a third of six", "always", "share(sin, img) > 30%", "kill", goodScene(), nil, true, "3", ""},
		{"all hit", "always", "hit_ratio(*, img) == 100%", "kill", altered(hits(true)), nil, true, "100.0%", ""},
		{"one POP never hits", "always", "hit_ratio(*, img) > 90%", "kill", altered(hits(false)), nil, false, "", "two POPs key one URL differently"},
		{"no cache works", "always", "hit_ratio(*, img) > 90%", "kill", goodScene(), nil, false, "0.0%", "the caches miss"},
		{"shield passed", "0s..3s", "through(ams) == 100%", "kill", altered(func(s *labs.Sample) {
			s.CacheStatus = `ams1; fwd=uri-miss; detail="a, b", ` + s.Node + "; fwd=uri-miss; stored"
		}), nil, true, "100.0%", ""},
		{"shield bypassed", "0s..3s", "through(ams) == 100%", "kill", altered(func(s *labs.Sample) { s.CacheStatus = s.Node + "; fwd=uri-miss; stored" }), nil, false, "0.0% (0 of", "the shield is bypassed"},
		{"nothing fetched", "0s..3s", "through(ams) == 100%", "kill", altered(func(s *labs.Sample) { s.CacheStatus = s.Node + "; fwd=bypass" }), nil, false, "no evidence", ""},
		{"all agree", "always", "disagreement(*, agree) == 0s", "kill", opinions(func(string, time.Duration) string { return "ams" }), nil, true, "0s", ""},
		{"one lags 2 s", "always", "disagreement(*, agree) < 1s", "kill", opinions(func(node string, t time.Duration) string {
			if t < 4*sec || node == "sin1" && t < 6*sec {
				return "ams"
			}
			return "nyc"
		}), nil, false, "2.01s", "name servers disagree"},
		{"one differs for ever", "always", "disagreement(berlin, agree) < 1s", "kill", opinions(func(node string, _ time.Duration) string {
			return map[bool]string{true: "sin", false: "ams"}[node == "sin1"]
		}), nil, false, "forever", "name servers disagree"},
		{"a dead one does not count", "3s..13s", "disagreement(*, agree) == 0s", "kill", opinions(func(node string, t time.Duration) string {
			return map[bool]string{true: "ams", false: "nyc"}[node == "ams1" && t > 3*sec && t < 13*sec]
		}), nil, true, "0s", ""},
		{"a silent one does not disagree", "always", "disagreement(*, agree) == 0s", "kill", opinions(func(node string, _ time.Duration) string {
			return map[bool]string{true: "", false: "nyc"}[node == "sin1"]
		}), nil, true, "0s", ""},
		{"none answers", "always", "disagreement(*, agree) == 0s", "kill", opinions(func(string, time.Duration) string { return "" }), nil, false, "no evidence", ""},
		{"steady", "0s..3s", "updates(*) == 0", "kill", goodScene(), nil, true, "0", ""},
		{"two families move once", "3s..13s", "updates(arc) == 2", "kill", goodScene(), nil, true, "2", ""},
		{"comes back once", "always", "flaps(ams) <= 1", "kill", goodScene(), nil, true, "1", ""},
		{"does not flap while down", "3s..13s", "flaps(ams) == 0", "kill", goodScene(), nil, true, "0", ""},
		{"flaps by announcements", "always", "flaps(ams) <= 1", "kill", goodScene(), func(rec *Recording) {
			for i := range 6 {
				state := map[bool]string{true: "withdrawn", false: "announced"}[i%2 == 0]
				rec.Events = append(rec.Events, event.Event{Mono: at(time.Duration(i)*sec + 4*sec), Node: "ams1", Kind: event.Announce, Subject: "192.0.2.0/24", State: state})
			}
		}, false, "3", "flaps"},
		{"seen by both others", "3s..13s", "seen(ams, down) < 3s", "kill", goodScene(), viewsDown(map[string]time.Duration{"nyc1": 4 * sec, "sin1": 5 * sec}), true, "2s", ""},
		{"seen by one", "3s..13s", "seen(ams, down) < 3s", "kill", goodScene(), viewsDown(map[string]time.Duration{"nyc1": 4 * sec}), false, "forever", "not noticed by every node"},
		{"seen late", "3s..13s", "seen(ams, down) < 1s", "kill", goodScene(), viewsDown(map[string]time.Duration{"nyc1": 4 * sec, "sin1": 5 * sec}), false, "2s", "noticed too late"},
		{"left before it was seen", "3s..13s", "attracts(ams, down) == 0s", "kill", goodScene(), viewsDown(map[string]time.Duration{"nyc1": 4 * sec, "sin1": 5 * sec}), true, "0s", ""},
		{"announces while down", "3s..13s", "attracts(ams, down) < 1s", "freeze", scene{routesMove: 8 * sec, routesMove6: 9 * sec, dnsMoves: sec, from: 3 * sec, heal: 13 * sec}, viewsDown(map[string]time.Duration{"nyc1": 5 * sec, "sin1": 5 * sec}), false, "7s", "announces while down"},
		{"never held to be down", "3s..13s", "attracts(ams, down) < 1s", "kill", goodScene(), viewsDown(nil), false, "no evidence", ""},
		{"origin counted", "3s..13s", "origin_requests(origin.shop.example) == 30", "kill", goodScene(), func(rec *Recording) {
			for i := range int64(24) {
				rec.Origins = append(rec.Origins, OriginReading{At: zero + i*int64(sec), Host: "origin.shop.example", Requests: 100 + 3*i})
			}
		}, false, "27", "the caches miss"},
		{"origin not counted", "3s..13s", "origin_requests(origin.shop.example) == 0", "kill", goodScene(), nil, false, "no evidence", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := judged(t, tt.window, tt.expect, tt.verb, tt.scene, tt.edit)
			if v.Pass != tt.pass || !strings.Contains(v.Found, tt.found) || v.Cause != tt.cause {
				t.Errorf("pass %v, found %q, cause %q, why %q; want %v, %q, %q", v.Pass, v.Found, v.Cause, v.Why, tt.pass, tt.found, tt.cause)
			}
			if !v.Pass && len(v.Why) == 0 {
				t.Error("it fails without a reason")
			}
		})
	}
}

// Without any recording no function finds anything that an expectation could hold by.
func TestNoEvidenceNeverPasses(t *testing.T) {
	args := map[string]string{
		"client": "berlin", "load": "www", "dns load": "agree", "pop": "ams", "router": "arc", "origin": "origin.shop.example",
		"anycast": "anycast", "down": "down", "state": "down",
	}
	zeros := map[valueType]string{popType: "ams", durationType: "0s", countType: "0", shareType: "0%"}
	for name, sig := range functions() {
		var words []string
		for _, a := range sig.args {
			words = append(words, args[strings.Trim(a, "*?")])
		}
		for _, op := range []string{"==", "!="} {
			expect := name + "(" + strings.Join(words, ", ") + ") " + op + " " + zeros[sig.result]
			if v := judged(t, "3s..13s", expect, "kill", goodScene(), func(rec *Recording) { *rec = Recording{Zero: zero, Lets: rec.Lets} }); v.Pass {
				t.Errorf("%s holds without evidence: found %q", expect, v.Found)
			}
		}
	}
}

// docs/drills.md names every function and every verb.
func TestLanguageIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/drills.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range functionNames() {
		if !bytes.Contains(text, []byte("`"+name+"(")) {
			t.Errorf("docs/drills.md does not explain %s()", name)
		}
	}
	for _, v := range labs.Verbs() {
		if !bytes.Contains(text, []byte("`"+string(v)+"`")) {
			t.Errorf("docs/drills.md does not explain %q", v)
		}
	}
}

func TestLinkInEitherOrderIsNamedAsInTheTopology(t *testing.T) {
	for _, text := range []string{"cut nyc -> arc", "cut arc -> nyc", "cut arc -- nyc", "lossy arc -> nyc 30%", "slow nyc -- arc 200ms"} {
		d, err := Parse("d.yaml", []byte(strings.Replace(sound, "cut nyc -> arc", text, 1)), reference(t))
		if err != nil {
			t.Error(err)
			continue
		}
		if got := d.Steps[len(d.Steps)-1].Fault.Subject; got != "nyc -> arc" {
			t.Errorf("%q is about %q, want nyc -> arc", text, got)
		}
	}
}

// Lanes have no gaps and no overlaps, whatever the routers said.
func TestLanesCoverTheDrill(t *testing.T) {
	d := slowReference(t)
	rapid.Check(t, func(t *rapid.T) {
		rec := &Recording{Zero: zero}
		for range rapid.IntRange(0, 20).Draw(t, "changes") {
			when := time.Duration(rapid.Int64Range(-1e9, int64(d.End)+1e9).Draw(t, "at"))
			pop := rapid.SampledFrom([]string{"ams", "nyc", "sin", ""}).Draw(t, "pop")
			e := best("arc", d.topo.Anycast.Prefixes[0], pop, when)
			if pop == "" {
				e.State = "withdrawn"
			}
			rec.Events = append(rec.Events, e,
				event.Event{Mono: at(when), Node: "nyc1", Kind: event.Health, Subject: "pop/ams/web", State: rapid.SampledFrom([]string{"up", "down", "draining"}).Draw(t, "state")})
		}
		r := Evaluate(d, rec)
		end := map[string]Span{}
		for _, router := range r.Routers {
			for _, b := range router.Best {
				if b.From != end[b.Prefix] || b.To <= b.From {
					t.Fatalf("%s %s: from %v to %v after %v", router.Router, b.Prefix, b.From, b.To, end[b.Prefix])
				}
				end[b.Prefix] = b.To
			}
		}
		for prefix, to := range end {
			if to != Span(d.End) {
				t.Fatalf("%s ends at %v", prefix, to)
			}
		}
		for _, n := range r.Nodes {
			last := map[string]Span{}
			for _, v := range n.Views {
				if key := v.POP + v.Service; v.From != last[key] {
					t.Fatalf("%s: %+v after %v", n.Node, v, last[key])
				}
				last[v.POP+v.Service] = v.To
			}
			for key, to := range last {
				if to != Span(d.End) {
					t.Fatalf("%s of %s ends at %v", key, n.Node, to)
				}
			}
		}
	})
}
