package drill

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/catchment-net/catchment/internal/event"
	"github.com/catchment-net/catchment/labs"
)

func failures(r *Report) string {
	var b strings.Builder
	for _, v := range r.Expectations {
		if !v.Pass {
			b.WriteString(v.Window + " " + v.Text + ": found " + v.Found + "; " + strings.Join(v.Why, "; ") + "; around: " + strings.Join(v.Around, "; ") + "\n")
		}
	}
	return b.String()
}

func TestReferenceDrillPassesWhenTheSystemIsSound(t *testing.T) {
	d := shipped(t, "kill-best-pop")
	r := Evaluate(d, goodScene().record(t, d))
	if !r.Pass {
		t.Fatalf("a sound system fails:\n%s", failures(r))
	}
	if got, want := len(r.Expectations), 14; got != want {
		t.Errorf("%d expectations, want %d", got, want)
	}
	var berlin LoadReport
	for _, c := range r.Clients {
		if c.Client == "berlin" {
			berlin = c.Loads["www"]
		}
	}
	if got := berlin.Before + berlin.During + berlin.After; got != "amsnycams" {
		t.Errorf("berlin before, during, after: %q, want ams nyc ams", got)
	}
	if len(berlin.Outages) != 1 {
		t.Fatalf("berlin www: %d outages, want 1", len(berlin.Outages))
	}
	o := berlin.Outages[0]
	if got, want := *o.Detection, Span(1900*time.Millisecond); got != want {
		t.Errorf("detection %v, want %v", got, want)
	}
	if got, want := *o.Detection+*o.Convergence+*o.TTLWait, Span(o.end-at(3*time.Second)); got != want {
		t.Errorf("the parts sum up to %v, want %v", got, want)
	}
	if got, want := *o.Convergence, Span(0); got != want { // the last answer that named ams came at 4 s, before the detection
		t.Errorf("convergence %v, want %v", got, want)
	}
	for _, router := range r.Routers {
		if router.Router == "arc" {
			for _, f := range []string{"ipv4", "ipv6"} {
				if got, want := router.Withdrawals[0].Family[f], Span(60*time.Millisecond); got != want {
					t.Errorf("arc let go of %s after %v, want %v", f, got, want)
				}
			}
		}
	}
}

// Each row is a broken system; the drill must fail and say why.
func TestBrokenSystemsFail(t *testing.T) {
	edit := func(f func(*scene)) scene {
		sc := goodScene()
		f(&sc)
		return sc
	}
	tests := []struct {
		name  string
		scene scene
		want  []string // in the failures
	}{
		{
			"never withdraws",
			edit(func(sc *scene) { sc.routesMove, sc.routesMove6 = -1, -1 }),
			[]string{"withdrawal(best) < 100ms: found forever", "arc's best path for 192.0.2.0/24 still led to ams", "outage(*, img) < 1s"},
		},
		{
			"withdraws IPv4 only",
			edit(func(sc *scene) { sc.routesMove6 = -1 }),
			[]string{"withdrawal(best) < 100ms: found forever", "arc's best path for 2001:db8:53::/48 still led to ams"},
		},
		{
			"withdraws slowly",
			edit(func(sc *scene) { sc.routesMove6 = 400 * time.Millisecond }),
			[]string{"withdrawal(best) < 100ms: found 400ms", "2001:db8:53::/48"},
		},
		{
			"DNS keeps the dead POP",
			edit(func(sc *scene) { sc.dnsMoves = -1 }),
			[]string{"outage(*, www) < 5s", "dns(berlin, www) == nyc: found ams", "192.0.2.53 (nyc1) gave it at", `after "kill best": detection|nobody ever noticed "kill best"`},
		},
		{
			"wrong body",
			edit(func(sc *scene) {
				sc.alter = func(s *labs.Sample) {
					if s.Client == "tokyo" && s.Start == at(5007*time.Millisecond) {
						s.OK, s.WrongBody, s.Error = false, true, `body of "/": byte 100 of 2048 is 'x', want 'y'`
					}
				}
			}),
			[]string{"always wrong_bodies == 0: found 2", "byte 100 of 2048", "answered by sin1"},
		},
		{
			"private answer shared",
			edit(func(sc *scene) {
				sc.alter = func(s *labs.Sample) {
					if s.Client == "lisbon" && s.Start > at(20*time.Second) {
						s.OK, s.WrongBody, s.Error = false, true, `private answer of "berlin-www-0-7" for "/account" reached "lisbon-www-0-9"`
					}
				}
			}),
			[]string{"always wrong_bodies == 0", `private answer of "berlin-www-0-7"`},
		},
		{
			"a name server answers without an address",
			edit(func(sc *scene) {
				sc.alter = func(s *labs.Sample) {
					if s.Client == "berlin" && s.Load == "www" && s.DNSFresh && s.DNSTime == at(6*time.Second) {
						s.OK, s.DNSEmpty, s.DNSAddrs, s.DNSPOP, s.Error = false, true, nil, "", "NOERROR without an address"
					}
				}
			}),
			[]string{"always empty_answers == 0: found 1", "NOERROR without an address"},
		},
		{
			"a client falls silent",
			edit(func(sc *scene) {
				sc.alter = func(s *labs.Sample) {
					if s.Client == "sydney" && s.Start > at(9*time.Second) {
						s.Client = "nobody"
					}
				}
			}),
			[]string{"no evidence", "sydney/www"},
		},
		{
			"coming back hurts",
			edit(func(sc *scene) {
				sc.alter = func(s *labs.Sample) {
					if s.Client == "berlin" && s.Load == "img" && s.Start > at(15*time.Second) && s.Start < at(15200*time.Millisecond) {
						s.OK, s.Error = false, "connection reset"
					}
				}
			}),
			[]string{"13s..23s outage(*) == 0s: found 203ms|13s..23s outage(*) == 0s: found 2", "connection reset", `after "heal best"`},
		},
	}
	d := shipped(t, "kill-best-pop")
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := Evaluate(d, tt.scene.record(t, d))
			got := failures(r)
			if r.Pass {
				t.Fatal("the drill passes")
			}
			for _, want := range tt.want {
				found := false
				for one := range strings.SplitSeq(want, "|") {
					found = found || strings.Contains(got, one)
				}
				if !found {
					t.Errorf("failures do not say %q:\n%s", want, got)
				}
			}
		})
	}
}

func TestPrefixGoneForAMomentIsSeen(t *testing.T) {
	d := shipped(t, "kill-best-pop")
	rec := goodScene().record(t, d)
	p := d.topo.Anycast.Prefixes[1]
	gone := best("arc", p, "", 5*time.Second)
	gone.State = "withdrawn"
	rec.Events = append(rec.Events, gone, best("arc", p, "nyc", 5*time.Second+300*time.Microsecond))
	got := failures(Evaluate(d, rec))
	if want := "arc had no route to 2001:db8:53::/48 from 5s to 5s"; !strings.Contains(got, want) {
		t.Errorf("failures do not say %q:\n%s", want, got)
	}
}

func TestWithoutKnowledgeOfRoutesNothingPasses(t *testing.T) {
	d := shipped(t, "kill-best-pop")
	rec := goodScene().record(t, d)
	rec.Routers, rec.Events = nil, nil
	got := failures(Evaluate(d, rec))
	for _, want := range []string{`nothing is known of the routes of "arc"`, "no router's best path led to ams when the kill came"} {
		if !strings.Contains(got, want) {
			t.Errorf("failures do not say %q:\n%s", want, got)
		}
	}
}

func TestStepThatWasNotCarriedOutFails(t *testing.T) {
	d := shipped(t, "kill-best-pop")
	rec := goodScene().record(t, d)
	rec.Faults = rec.Faults[:1]
	if r := Evaluate(d, rec); r.Pass || r.Incomplete == "" {
		t.Errorf("pass %v, incomplete %q: want a failure that says so", r.Pass, r.Incomplete)
	}
}

// Windows: a sample belongs where it ended; FROM..TO holds its start and not its end.
func TestWindowBounds(t *testing.T) {
	topo := reference(t)
	text := "load: {img: {get: http://img.shop.example/, rate: 1/s, from: [berlin]}}\nat: {10s: end}\nexpect:\n  2s..4s: [lost == 0]\n  after 4s: [lost == 0]\n"
	d, err := Parse("w.yaml", []byte(text), topo)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name          string
		start, end    time.Duration
		first, second string
	}{
		{"ends at the start", 1900 * time.Millisecond, 2 * time.Second, "1", "0"},
		{"ends before the start", time.Second, 2*time.Second - 1, "0", "0"},
		{"begun before the clock started", -time.Second, 3 * time.Second, "0", "0"},
		{"ends at the border", 3 * time.Second, 4 * time.Second, "0", "1"},
		{"ends with the drill", 9 * time.Second, 10 * time.Second, "0", "1"},
		{"ends after the drill", 9 * time.Second, 10*time.Second + 1, "0", "0"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rec := &Recording{Zero: zero}
			for _, s := range []time.Duration{2500 * time.Millisecond, 6 * time.Second} {
				rec.Samples = append(rec.Samples, labs.Sample{Client: "berlin", Load: "img", Start: at(s), End: at(s + 1), OK: true})
			}
			rec.Samples = append(rec.Samples, labs.Sample{Client: "berlin", Load: "img", Start: at(tt.start), End: at(tt.end), Error: "x"})
			r := Evaluate(d, rec)
			if got := r.Expectations[0].Found + r.Expectations[1].Found; got != tt.first+tt.second {
				t.Errorf("lost %q, want %q", got, tt.first+tt.second)
			}
		})
	}
}

func TestOutages(t *testing.T) {
	type s struct {
		start, end int64
		ok         bool
	}
	tests := []struct {
		name    string
		samples []s
		want    []Span
	}{
		{"none", []s{{0, 1, true}, {2, 3, true}}, nil},
		{"from the first start to the next good end", []s{{0, 1, true}, {2, 9, false}, {4, 11, false}, {6, 7, true}}, []Span{5}},
		{"two", []s{{0, 1, false}, {2, 3, true}, {4, 5, false}, {6, 9, true}}, []Span{3, 5}},
		{"never good again", []s{{0, 1, true}, {2, 3, false}}, []Span{Forever}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ev := newEvidence(shipped(t, "kill-best-pop"), &Recording{})
			p := pair{"berlin", "www"}
			for _, x := range tt.samples {
				ev.byPair[p] = append(ev.byPair[p], labs.Sample{Start: x.start, End: x.end, OK: x.ok})
			}
			var got []Span
			for _, o := range ev.outages(p) {
				got = append(got, o.Total)
			}
			if len(got) != len(tt.want) {
				t.Fatalf("outages %v, want %v", got, tt.want)
			}
			for i := range got {
				if got[i] != tt.want[i] {
					t.Errorf("outages %v, want %v", got, tt.want)
				}
			}
		})
	}
}

// Whatever is recorded: the order of the recording does not matter, JSON can be written, and a drill that passes has
// lost nothing where it says so.
func TestEvaluateProperties(t *testing.T) {
	d := slowReference(t)
	sound := goodScene().record(t, d)
	rapid.Check(t, func(t *rapid.T) {
		rec := *sound
		rec.Samples = append([]labs.Sample(nil), sound.Samples...)
		rec.Events = append([]event.Event(nil), sound.Events...)
		for range rapid.IntRange(0, 5).Draw(t, "spoiled") {
			i := rapid.IntRange(0, len(rec.Samples)-1).Draw(t, "sample")
			rec.Samples[i].OK, rec.Samples[i].Error = false, "spoiled"
		}
		one, err := json.Marshal(Evaluate(d, &rec))
		if err != nil {
			t.Fatal(err)
		}
		for i, j := 0, len(rec.Samples)-1; i < j; i, j = i+1, j-1 {
			rec.Samples[i], rec.Samples[j] = rec.Samples[j], rec.Samples[i]
		}
		for i, j := 0, len(rec.Events)-1; i < j; i, j = i+1, j-1 {
			rec.Events[i], rec.Events[j] = rec.Events[j], rec.Events[i]
		}
		r := Evaluate(d, &rec)
		var first Report
		if err := json.Unmarshal(one, &first); err != nil {
			t.Fatal(err)
		}
		for i := range r.Expectations {
			if first.Expectations[i].Pass != r.Expectations[i].Pass {
				t.Fatalf("%s: %v, and %v in another order", r.Expectations[i].Text, first.Expectations[i].Pass, r.Expectations[i].Pass)
			}
		}
		lost := 0
		for _, s := range rec.Samples {
			if !s.OK && s.End >= at(9*time.Second) && s.End < at(13*time.Second) {
				lost++
			}
		}
		for _, v := range r.Expectations {
			if v.Window == "9s..13s" && v.Text == "lost == 0" && v.Pass != (lost == 0) {
				t.Fatalf("lost %d, verdict %v", lost, v.Pass)
			}
		}
	})
}
