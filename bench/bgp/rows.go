//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/catchment-net/catchment/labs"
)

// row is one thing that is measured.
type row struct {
	name    string
	long    bool   // takes many minutes
	only    string // the one transit that it is about; "" for all
	measure func(ctx context.Context, o options, transit string, t *table) error
}

func (r row) wanted(o options) bool {
	if len(o.rows) > 0 {
		return slices.Contains(o.rows, r.name)
	}
	return !r.long || o.long
}

func (r row) transits(o options) []string {
	if r.only == "" {
		return o.transits
	}
	return []string{r.only}
}

// measures reports whether a speaker is wanted.
func (o options) measures(sp speaker) bool {
	return strings.Contains(strings.ToLower(sp.name), strings.ToLower(o.speakers))
}

// rows are all of them, in the order in which they run.
func rows() []row {
	return []row{
		{name: "death", measure: deaths},
		{name: "hang", measure: hangs},
		{name: "node dies", measure: nodeDies},
		{name: "drain", measure: drains},
		{name: "cut", measure: cuts},
		{name: "many", measure: withdrawsMany},
		{name: "soft", measure: softly},
		{name: "hard", measure: hardly},
		{name: "blackhole", measure: swallowed},
		{name: "idle", long: true, only: "bird", measure: idle},
		{name: "saturated", long: true, only: "bird", measure: saturated},
	}
}

func rowNames() []string {
	var all []string
	for _, r := range rows() {
		all = append(all, r.name)
	}
	return all
}

// quiet is how often a client asks where losses are counted per 200/s, and busy where drains are, and where first answers
// come within milliseconds: asked each 5 ms, they would wait 2.5 ms for a question.
const (
	quiet = 5 * time.Millisecond
	busy  = time.Millisecond
)

// bars are what must hold of the figures of a move.
type bars struct{ wire, share, first, lost bar }

// moves runs the trials of one fault with one speaker and adds the figures of each family.
func moves(ctx context.Context, o options, t *table, name string, s setting, f fault, onWire bool, must bars) error {
	if !o.measures(s.speaker) {
		return nil
	}
	c, err := up(ctx, o, s)
	if err != nil {
		return fmt.Errorf("%s: %w", s.speaker.name, err)
	}
	defer c.down() //nolint:errcheck // what it leaves is in a temporary folder
	all := [4][2][]float64{}
	for n := range o.trials {
		if n > 0 {
			if err := c.renew(ctx); err != nil {
				return fmt.Errorf("%s, before trial %d: %w", s.speaker.name, n+1, err)
			}
		}
		sleep(ctx, jitter(n)) // so that no trial meets probes and timers where the one before did
		got, err := c.trial(ctx, f, onWire)
		if err != nil {
			return fmt.Errorf("%s, trial %d: %w", s.speaker.name, n+1, err)
		}
		if o.verbose {
			fmt.Fprintf(os.Stderr, "%s %s %s: wire %.2f share %.2f first %.2f lost %v\n", name, s.speaker.name, s.transit, got.wire, got.share, got.first, got.lost)
		}
		for i := range families {
			for k, figure := range [][]float64{got.wire, got.share, got.first, got.lost} {
				if len(figure) > 0 {
					all[k][i] = append(all[k][i], figure[i])
				}
			}
		}
	}
	for i, family := range families {
		l := line{Row: name, Speaker: s.speaker.name, Transit: s.transit, Family: family}
		for k, figure := range []struct {
			what, unit string
			bar        bar
		}{
			{"withdrawn on the wire", "ms", must.wire},
			{"of that from the cause, as the speaker has it, to the wire", "ms", must.share},
			{"first answer of the next POP", "ms", must.first},
			{"lost of 200/s", "requests", must.lost},
		} {
			if len(all[k][i]) > 0 {
				l.What, l.Unit = figure.what, figure.unit
				t.add(l, figure.bar, all[k][i])
			}
		}
	}
	return nil
}

// jitter spreads the trials over the intervals of probes.
func jitter(n int) time.Duration { return time.Duration(n*37%100) * time.Millisecond }

// few is a smaller number of trials for speakers that take many seconds each.
func few(o options, n int) options {
	o.trials = min(o.trials, n)
	return o
}

// deaths: the service's process dies.
func deaths(ctx context.Context, o options, transit string, t *table) error {
	must := bars{
		wire:  bar{median: new(2.0), p95: new(5.0)},
		first: map[string]bar{"bird": {median: new(5.0)}, "frr": {median: new(70.0)}}[transit],
		lost:  map[string]bar{"bird": {max: new(1.0)}}[transit],
	}
	f := each(labs.Kill)
	for _, sp := range []speaker{ours(), ourNode()} {
		if err := moves(ctx, o, t, "death", setting{transit: transit, pops: 2, speaker: sp, services: true, every: busy}, f, true, must); err != nil {
			return err
		}
	}
	for _, sp := range []struct {
		s speaker
		n int
	}{{exabgp(exabgpFast), o.trials}, {birdAndScript(scriptFast), o.trials}, {exabgp(exabgpDefault), 5}, {birdAndScript(scriptSlow), 4}} {
		if err := moves(ctx, few(o, sp.n), t, "death", setting{transit: transit, pops: 2, speaker: sp.s, services: true, every: busy}, f, true, bars{}); err != nil {
			return err
		}
	}
	return nil
}

// hangs: the service's process is stopped, takes connections and never answers.
func hangs(ctx context.Context, o options, transit string, t *table) error {
	must := bars{wire: bar{max: new(90.0)}}
	for _, sp := range []speaker{ours(), ourNode()} {
		s := setting{transit: transit, pops: 2, speaker: sp, services: true, every: quiet}
		if err := moves(ctx, o, t, "hang", s, each(labs.Freeze), true, must); err != nil {
			return err
		}
	}
	return nil
}

// nodeDies: everything on the machine is killed at once.
func nodeDies(ctx context.Context, o options, transit string, t *table) error {
	for _, sp := range []speaker{ours(), ourNode()} {
		s := setting{transit: transit, pops: 2, speaker: sp, services: true, every: quiet}
		if err := moves(ctx, o, t, "node dies", s, everything, true, bars{first: bar{median: new(80.0)}}); err != nil {
			return err
		}
	}
	return nil
}

// drains: planned work under 1000 requests a second of each family.
func drains(ctx context.Context, o options, transit string, t *table) error {
	for _, hidden := range []bool{false, true} {
		for _, sp := range []struct {
			s   speaker
			bar bar
			n   int
		}{{ours(), bar{max: new(0.0)}, o.trials}, {ourNode(), bar{max: new(0.0)}, o.trials}, {exabgp(exabgpFast), bar{}, 5}, {birdAndScript(scriptFast), bar{}, 5}} {
			if err := drainOf(ctx, few(o, sp.n), transit, hidden, sp.s, sp.bar, t); err != nil {
				return fmt.Errorf("%s: %w", sp.s.name, err)
			}
		}
	}
	return nil
}

func drainOf(ctx context.Context, o options, transit string, hidden bool, sp speaker, b bar, t *table) error {
	if !o.measures(sp) {
		return nil
	}
	c, err := up(ctx, o, setting{transit: transit, hidden: hidden, pops: 2, speaker: sp, services: true, every: busy})
	if err != nil {
		return err
	}
	defer c.down() //nolint:errcheck // what it leaves is in a temporary folder
	var lost [2][]float64
	var broken []float64
	for n := range o.trials {
		if n > 0 {
			if err := c.renew(ctx); err != nil {
				return err
			}
		}
		got, err := c.drainTrial(ctx)
		if err != nil {
			return err
		}
		if o.verbose {
			fmt.Fprintf(os.Stderr, "drain %s %s hidden %v: %+v\n", sp.name, transit, hidden, got)
		}
		for i := range families {
			lost[i] = append(lost[i], got.lost[i])
		}
		broken = append(broken, 100*got.broken/max(1, got.inFlight))
	}
	where := "alternative visible"
	if hidden {
		where = "alternative hidden"
	}
	l := line{Row: "drain", Speaker: sp.name, Transit: transit, Unit: "requests", What: "lost of 1000/s, " + where}
	for i, family := range families {
		l.Family = family
		t.add(l, b, lost[i])
	}
	l.Family, l.Unit, l.What = families[0], "%", "transfers in flight that broke, "+where
	t.add(l, bar{}, broken)
	return nil
}

// cuts: the first POP's cable loses its carrier for a while; how long after its return is it used again?
func cuts(ctx context.Context, o options, transit string, t *table) error {
	for _, sp := range []speaker{ours(), ourNode()} {
		if !o.measures(sp) {
			continue
		}
		c, err := up(ctx, o, setting{transit: transit, pops: 2, speaker: sp, services: true, every: quiet})
		if err != nil {
			return fmt.Errorf("%s: %w", sp.name, err)
		}
		back, err := c.cuts(ctx, o)
		if down := c.down(); err == nil {
			err = down
		}
		if err != nil {
			return fmt.Errorf("%s: %w", sp.name, err)
		}
		for i, family := range families {
			t.add(line{Row: "cut", Speaker: sp.name, Transit: transit, Family: family, What: "used again after its return", Unit: "ms"}, bar{max: new(2000.0)}, back[i])
		}
	}
	return nil
}

func (c *scene) cuts(ctx context.Context, o options) (back [2][]float64, err error) {
	for n := range o.trials {
		if err := c.do(ctx, labs.Cut, c.link(0)); err != nil {
			return back, err
		}
		sleep(ctx, 200*time.Millisecond+13*jitter(n*31)) // up to 1.5 s
		if err := c.do(ctx, labs.Heal, c.link(0)); err != nil {
			return back, err
		}
		healed := time.Now()
		var at [2]time.Time
		err := c.await(ctx, 30*time.Second, func() string {
			for i, l := range c.loads {
				if at[i] = l.first(best, healed); at[i].IsZero() {
					return "the first POP does not answer over " + families[i]
				}
			}
			return ""
		})
		if err != nil {
			return back, fmt.Errorf("cut %d: %w", n+1, err)
		}
		for i := range at {
			back[i] = append(back[i], ms(at[i].Sub(healed)))
		}
		if o.verbose {
			fmt.Fprintf(os.Stderr, "cut %s: back after %.0f and %.0f ms\n", c.transit, back[0][n], back[1][n])
		}
		if err := c.ready(ctx); err != nil {
			return back, err
		}
	}
	return back, nil
}
