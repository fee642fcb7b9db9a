package drill

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/catchment-net/catchment/internal/event"
	"github.com/catchment-net/catchment/labs"
	"github.com/catchment-net/catchment/topology"
)

// paperLab is a Lab in virtual time: requests succeed at once, except from clients of a POP that is broken.
type paperLab struct {
	topo  *topology.Topology
	caps  labs.Caps
	mono  func() int64
	fail  error // of Do
	deaf  bool  // no request is ever answered
	wrong bool  // no body is ever right
	mu    sync.Mutex
	down  map[string]bool
	done  []labs.Fault
	sinks []func(event.Event)
}

func (l *paperLab) Topology() *topology.Topology                     { return l.topo }
func (l *paperLab) Caps() labs.Caps                                  { return l.caps }
func (l *paperLab) Down(context.Context) error                       { return nil }
func (l *paperLab) Settle(context.Context) error                     { return nil }
func (l *paperLab) Capture(context.Context, string, io.Writer) error { return nil }

func (l *paperLab) Exec(context.Context, string, []string, io.Writer, io.Writer) error {
	return errors.New("a paper lab runs nothing")
}

func (l *paperLab) Status(context.Context) (*labs.Status, error) {
	st := &labs.Status{Name: "paper", Runner: "paper"}
	home, _ := homes()
	for _, n := range l.topo.Internet.Networks {
		r := labs.RouterStatus{Name: n.Name, Best: map[string]labs.BestPath{}}
		for _, p := range l.topo.Anycast.Prefixes {
			r.Best[p.String()] = labs.BestPath{POP: home[n.Name]}
		}
		st.Routers = append(st.Routers, r)
	}
	return st, nil
}

func (l *paperLab) Do(_ context.Context, f labs.Fault) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fail != nil && f.Verb != labs.Heal {
		return l.fail
	}
	l.done = append(l.done, f)
	l.down[f.Subject] = f.Verb != labs.Heal
	to := map[bool]string{true: "nyc", false: "ams"}[l.down["ams"]]
	for _, sink := range l.sinks {
		for _, p := range l.topo.Anycast.Prefixes {
			for _, router := range []string{"arc", "berlin", "lisbon", "saopaulo"} {
				sink(event.Event{Mono: l.mono(), Node: router, Kind: event.Best, Subject: p.String(), State: "announced", Detail: map[string]string{"pop": to}})
			}
		}
	}
	return nil
}

func (l *paperLab) Events(ctx context.Context, fn func(event.Event)) error {
	l.mu.Lock()
	l.sinks = append(l.sinks, fn)
	l.mu.Unlock()
	<-ctx.Done()
	return nil
}

func (l *paperLab) Sample(ctx context.Context, loads []labs.Load, fn func(labs.Sample)) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	home, _ := homes()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		l.mu.Lock()
		broken := l.down["ams"]
		l.mu.Unlock()
		for _, c := range clients(l.topo) {
			for _, load := range loads {
				s := labs.Sample{Client: c, Load: load.Name, Start: l.mono() - 1000, End: l.mono(), POP: home[c], OK: !l.deaf && !l.wrong, WrongBody: l.wrong, Status: 200}
				if broken && s.POP == "ams" {
					s.POP = "nyc"
				}
				if l.deaf {
					s.Error = "connection refused"
				}
				fn(s)
			}
		}
	}
}

const paperDrill = `load: {img: {get: http://img.shop.example/, rate: 20/s}}
let: {best: "catchment(berlin, img)"}
at: {1s: kill best, 3s: heal best, 5s: end}
expect:
  always: [lost == 0, "routes(arc, anycast) == 1"]
  0s..1s: ["catchment(berlin, img) == ams"]
  1s..3s: [withdrawal(best) < 10ms]
  2s..3s: ["catchment(berlin, img) == nyc"]
  after 4s: ["catchment(berlin, img) == best"]
`

// paper runs body with a lab and a drill in virtual time.
func paper(t *testing.T, text string, body func(*testing.T, *paperLab, *Drill, Options)) {
	t.Helper()
	topo := reference(t)
	d, err := Parse("paper.yaml", []byte(text), topo)
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		mono := func() int64 { return int64(time.Since(began)) + int64(time.Hour) }
		lab := &paperLab{topo: topo, mono: mono, down: map[string]bool{}, caps: labs.Caps{Verbs: []labs.Verb{labs.Kill, labs.Heal}}}
		body(t, lab, d, Options{Mono: mono, Converge: 5 * time.Second})
	})
}

func TestRunJudgesWhatTheLabDid(t *testing.T) {
	paper(t, paperDrill, func(t *testing.T, lab *paperLab, d *Drill, o Options) {
		t.Helper()
		var out bytes.Buffer
		o.Out = &out
		r, err := Run(t.Context(), lab, d, o)
		if err != nil {
			t.Fatal(err)
		}
		if !r.Pass {
			t.Fatalf("the drill fails:\n%s", out.String())
		}
		for _, want := range []string{"best is ams", "▶ kill ams", "arc       best     192.0.2.0/24 2001:db8:53::/48 → nyc", "img 1", "PASS  paper: all 6 expectations hold"} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("the timeline does not show %q:\n%s", want, out.String())
			}
		}
		if len(r.Samples) == 0 || len(r.Events) == 0 || len(r.Faults) != 2 {
			t.Errorf("%d samples, %d events, %d faults: want all of them kept", len(r.Samples), len(r.Events), len(r.Faults))
		}
	})
}

func TestRunPrintsWhyItFails(t *testing.T) {
	paper(t, strings.Replace(paperDrill, "img) == nyc", "img) == sin", 1), func(t *testing.T, lab *paperLab, d *Drill, o Options) {
		t.Helper()
		var out bytes.Buffer
		o.Out = &out
		r, err := Run(t.Context(), lab, d, o)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"FAIL  2s..3s", "found nyc", "because berlin/img was served by an unknown node", "FAIL  paper: 1 of 6"} {
			if r.Pass || !strings.Contains(out.String(), want) {
				t.Errorf("pass %v, and the output does not show %q:\n%s", r.Pass, want, out.String())
			}
		}
	})
}

func TestVerbThatTheLabLacksIsSaidBeforeAnythingRuns(t *testing.T) {
	paper(t, strings.Replace(paperDrill, "kill best", "freeze best", 1), func(t *testing.T, lab *paperLab, d *Drill, o Options) {
		t.Helper()
		_, err := Run(t.Context(), lab, d, o)
		var lacks *LacksError
		if !errors.As(err, &lacks) || lacks.Verb != labs.Freeze || len(lab.sinks) != 0 {
			t.Errorf("error %v with %d recorders started: want a LacksError of freeze with none", err, len(lab.sinks))
		}
	})
}

func TestFeatureThatTheLabLacksIsSaidBeforeAnythingRuns(t *testing.T) {
	paper(t, "needs: [bfd]\n"+paperDrill, func(t *testing.T, lab *paperLab, d *Drill, o Options) {
		t.Helper()
		_, err := Run(t.Context(), lab, d, o)
		var lacks *LacksError
		if !errors.As(err, &lacks) || lacks.Feature != labs.BFD || len(lab.sinks) != 0 || !strings.Contains(err.Error(), "use --runner netns") {
			t.Errorf("error %v with %d recorders started: want a LacksError of bfd with none", err, len(lab.sinks))
		}
		if err := d.Check(labs.Caps{Verbs: lab.caps.Verbs, Features: labs.Features()}); err != nil {
			t.Errorf("a lab that has all: %v", err)
		}
	})
	_, err := Parse("d.yaml", []byte("needs: [bdf]\n"+paperDrill), reference(t))
	if err == nil || !strings.Contains(err.Error(), `did you mean "bfd"?`) {
		t.Errorf("got %v", err)
	}
}

func TestLabThatNeverConvergesIsAnError(t *testing.T) {
	paper(t, paperDrill, func(t *testing.T, lab *paperLab, d *Drill, o Options) {
		t.Helper()
		lab.deaf = true
		_, err := Run(t.Context(), lab, d, o)
		if err == nil || !strings.Contains(err.Error(), "no steady answers within 5s; berlin/img: connection refused") {
			t.Errorf("error %v: want one that says who got no answer", err)
		}
	})
}

func TestLabThatAnswersWronglyFromTheStartFailsTheDrill(t *testing.T) {
	paper(t, strings.Replace(paperDrill, "always: [lost == 0", "always: [wrong_bodies == 0, lost == 0", 1), func(t *testing.T, lab *paperLab, d *Drill, o Options) {
		t.Helper()
		lab.wrong = true
		r, err := Run(t.Context(), lab, d, o)
		if err != nil {
			t.Fatal(err)
		}
		if v := r.Expectations[0]; r.Pass || v.Pass || v.Text != "wrong_bodies == 0" || v.Found == "0" {
			t.Errorf("pass %v, and the verdict on the bodies is %+v: want a failure", r.Pass, v)
		}
	})
}

func TestStepThatFailsIsAnError(t *testing.T) {
	paper(t, paperDrill, func(t *testing.T, lab *paperLab, d *Drill, o Options) {
		t.Helper()
		lab.fail = errors.New("no such process")
		_, err := Run(t.Context(), lab, d, o)
		if err == nil || !strings.Contains(err.Error(), `kill "ams": no such process`) {
			t.Errorf("error %v: want the step's", err)
		}
	})
}

func TestInterruptedDrillHealsWhatItBroke(t *testing.T) {
	paper(t, paperDrill, func(t *testing.T, lab *paperLab, d *Drill, o Options) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		if _, err := Run(ctx, lab, d, o); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v: want the context's", err)
		}
		if n := len(lab.done); n == 0 || lab.done[n-1] != (labs.Fault{Verb: labs.Heal, Subject: "ams"}) {
			t.Errorf("done %v: want a heal of ams at last", lab.done)
		}
	})
}

// TestWhatIsBrokenAgainIsHealedOnce: a lab refuses to heal what works, and the drill would end without a verdict. A let
// and its POP are one subject.
func TestWhatIsBrokenAgainIsHealedOnce(t *testing.T) {
	paper(t, paperDrill, func(t *testing.T, lab *paperLab, _ *Drill, _ Options) {
		t.Helper()
		r := &run{lab: lab, rec: &Recording{Lets: map[string]string{"best": "ams"}}}
		for _, f := range []labs.Fault{
			{Verb: labs.Kill, Subject: "ams"},
			{Verb: labs.Heal, Subject: "ams"},
			{Verb: labs.Kill, Subject: "best"},
			{Verb: labs.Kill, Subject: "sin"},
			{Verb: labs.Kill, Subject: "best"},
			{Verb: labs.Heal, Subject: "sin"},
		} {
			r.rec.Faults = append(r.rec.Faults, FaultRecord{Fault: f})
		}
		if err := r.undo(t.Context()); err != nil {
			t.Fatal(err)
		}
		if want := (labs.Fault{Verb: labs.Heal, Subject: "ams"}); len(lab.done) != 1 || lab.done[0] != want {
			t.Errorf("done %v, want one heal of ams", lab.done)
		}
	})
}
