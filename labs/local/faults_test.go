package local

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/catchment-net/catchment/labs"
	"github.com/catchment-net/catchment/labs/drill"
)

// runDrill runs a drill that ships with the quickstart.
func runDrill(t *testing.T, l labs.Lab, dir, name string) *drill.Report {
	t.Helper()
	file := filepath.Join(dir, "drills", name+".yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	d, err := drill.Parse(file, text, l.Topology())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	r, err := drill.Run(ctx, l, d, drill.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// A machine that cannot run a timer on time cannot run a lab on time either: what a drill then finds says nothing of the
// system. Such a finding is thrown away and the drill is run again, in a new lab.
const (
	starved  = 50 * time.Millisecond // a timer of ours fired so late
	attempts = 3
)

// tryDrill runs a drill in a new lab and returns the report and what wrong finds in it, which a starved machine cannot
// explain unless it was starved every time.
func tryDrill(t *testing.T, o Options, name string, wrong func(*drill.Report) []string) *drill.Report {
	t.Helper()
	for attempt := 1; ; attempt++ {
		l := upOutside(t, o)
		late := watchTimers(t.Context())
		r := runDrill(t, l, o.Dir, name)
		lateness := late()
		if err := l.end(); err != nil {
			t.Errorf("the runner ended with %v", err)
		}
		found := wrong(r)
		if len(found) > 0 && lateness > starved && attempt < attempts {
			t.Logf("attempt %d of %s is void: a timer fired %v late; it found:\n%s", attempt, name, lateness, strings.Join(found, "\n"))
			continue
		}
		for _, f := range found {
			t.Errorf("%s (timers were at most %v late): %s", name, lateness, f)
		}
		return r
	}
}

// watchTimers measures until its result is called by how much timers are late at most.
func watchTimers(ctx context.Context) func() time.Duration {
	const every = 10 * time.Millisecond
	ctx, cancel := context.WithCancel(ctx)
	worst := make(chan time.Duration, 1)
	go func() {
		var late time.Duration
		for {
			due := time.Now().Add(every)
			select {
			case <-ctx.Done():
				worst <- late
				return
			case <-time.After(every):
				late = max(late, time.Since(due))
			}
		}
	}()
	return func() time.Duration {
		cancel()
		return <-worst
	}
}

// failed is what is wrong with a drill that should pass.
func failed(r *drill.Report) []string {
	if r.Pass {
		return nil
	}
	return []string{"it fails:\n" + verdicts(r)}
}

// verdicts are the failures of a report, with their explanations.
func verdicts(r *drill.Report) string {
	var b strings.Builder
	for _, v := range r.Expectations {
		if !v.Pass {
			b.WriteString(verdict(v) + "\n  around  " + strings.Join(v.Around, "\n          ") + "\n")
		}
	}
	return b.String()
}

// verdict is what a failed expectation says: itself, the cause that it names, and why.
func verdict(v drill.Verdict) string {
	return v.Window + ": " + v.Text + ": found " + v.Found + "\n  cause   " + v.Cause + "\n  because " + strings.Join(v.Why, "\n  and     ")
}

// A sound system passes what the broken ones below fail.
func TestShippedDrillsPass(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"steady-state", "kill-web-server", "kill-best-pop", "freeze-best-pop", "drain-best-pop", "private-answers"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := quickstart(t)
			o.Split = name == "kill-web-server"
			if r := tryDrill(t, o, name, failed); r.Pass && name == "kill-best-pop" {
				checkKillReport(t, r)
			}
		})
	}
}

// checkKillReport checks what the report of a passed kill-best-pop says beyond its verdicts: who served whom, where the
// time of an outage went, and when each router let go.
func checkKillReport(t *testing.T, r *drill.Report) {
	t.Helper()
	for _, c := range r.Clients {
		for name, l := range c.Loads {
			if l.Samples == 0 || l.HitRatio == 0 || l.Before == "" || l.During == "" || l.After == "" {
				t.Errorf("%s/%s is %+v", c.Client, name, l)
			}
			for _, o := range l.Outages {
				if o.Detection == nil || o.Convergence == nil || o.TTLWait == nil || o.Cause != "kill best" {
					t.Errorf("outage of %s/%s is %+v: want one split into its parts, caused by the kill", c.Client, name, o)
				}
			}
		}
		if c.Client != "berlin" {
			continue
		}
		for name, l := range c.Loads {
			if l.Before != "ams" || l.During != "nyc" || l.After != "ams" {
				t.Errorf("berlin/%s went to %s, %s and %s; want ams, nyc, ams", name, l.Before, l.During, l.After)
			}
		}
		if l := c.Loads["www"]; len(l.Outages) != 1 || l.Lost == 0 {
			t.Errorf("berlin/www had %d outages and lost %d requests; want one outage: its answers still named the dead POP", len(l.Outages), l.Lost)
		}
	}
	let := map[string]int{}
	for _, router := range r.Routers {
		for _, w := range router.Withdrawals {
			for family, took := range w.Family {
				let[router.Router+" "+family]++
				if w.POP != "ams" || time.Duration(took) >= 100*time.Millisecond {
					t.Errorf("%s let go of %s over %s after %v, want under 100ms", router.Router, w.POP, family, took)
				}
			}
		}
	}
	for _, router := range []string{"arc", "berlin", "lisbon", "saopaulo"} {
		for _, family := range []string{"ipv4", "ipv6"} {
			if let[router+" "+family] != 1 {
				t.Errorf("the report has %d withdrawals at %s over %s, want 1", let[router+" "+family], router, family)
			}
		}
	}
}
