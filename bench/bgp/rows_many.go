//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/catchment-net/catchment/bench/bgp/wire"
	"github.com/catchment-net/catchment/internal/event"
	"github.com/catchment-net/catchment/labs"
)

// manyPrefixes are announced besides the service's two.
const manyPrefixes = 1000

// many is one of them, a /24 of 10.0.0.0/8.
func many(i int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(1 + i>>8), byte(i), 0}), 24)
}

// withdrawsMany: the service dies in whose name a thousand prefixes are announced.
func withdrawsMany(ctx context.Context, o options, transit string, t *table) error {
	sp := thousand()
	if !o.measures(sp) {
		return nil
	}
	c, err := up(ctx, o, setting{transit: transit, pops: 2, speaker: sp, services: true, every: quiet})
	if err != nil {
		return err
	}
	defer c.down() //nolint:errcheck // what it leaves is in a temporary folder
	var last, updates []float64
	for n := range o.trials {
		if n > 0 {
			if err := c.renew(ctx); err != nil {
				return err
			}
		}
		if err := c.await(ctx, upWithin, c.manyAnnounced); err != nil {
			return err
		}
		sleep(ctx, rest)
		began := time.Now()
		if err := each(labs.Kill)(ctx, c); err != nil {
			return err
		}
		var at time.Time
		var in int
		if err := c.await(ctx, movedWithin, func() (missing string) {
			at, in, missing = c.manyGone(began)
			return missing
		}); err != nil {
			return err
		}
		last, updates = append(last, ms(at.Sub(began))), append(updates, float64(in))
	}
	l := line{Row: "many", Speaker: sp.name, Transit: transit, Unit: "ms", What: fmt.Sprintf("last of %d withdrawn on the wire", manyPrefixes)}
	t.add(l, bar{median: new(10.0)}, last)
	l.Unit, l.What = "messages", "the UPDATEs that they came in"
	t.add(l, bar{}, updates)
	return nil
}

func (c *scene) manyAnnounced() string {
	for i := range manyPrefixes {
		if !c.records[0].announced(many(i)) {
			return fmt.Sprintf("%s is not announced", many(i))
		}
	}
	return ""
}

// manyGone is when the last of the many was withdrawn after a time, and in how many UPDATEs they were.
func (c *scene) manyGone(after time.Time) (last time.Time, updates int, missing string) {
	gone, in := map[netip.Prefix]bool{}, map[int]bool{}
	for _, e := range c.records[0].since(after) {
		if e.Kind == wire.Withdraw && !gone[e.Prefix] {
			gone[e.Prefix], in[e.Update], last = true, true, e.At
		}
	}
	for i := range manyPrefixes {
		if !gone[many(i)] {
			return last, len(in), fmt.Sprintf("%s is not withdrawn", many(i))
		}
	}
	return last, len(in), ""
}

// softly: the web servers of three POPs hang one after the other, in every order. However it looks, the transit keeps a
// route.
func softly(ctx context.Context, o options, transit string, t *table) error {
	if !o.measures(ourNode()) {
		return nil
	}
	for _, gap := range []time.Duration{0, 50 * time.Millisecond, 500 * time.Millisecond} {
		var absent []float64
		for _, order := range [][]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}} {
			got, err := absence(ctx, o, transit, labs.Freeze, order, gap)
			if err != nil {
				return fmt.Errorf("order %v, %v apart: %w", order, gap, err)
			}
			absent = append(absent, got)
			if o.verbose {
				fmt.Fprintf(os.Stderr, "soft %s: order %v, %v apart: absent for %.1f ms\n", transit, order, gap, got)
			}
		}
		t.add(line{
			Row: "soft", Speaker: ourNode().name, Transit: transit, Unit: "ms",
			What: fmt.Sprintf("prefix absent while all of 3 hang, %v apart", gap),
		}, bar{max: new(0.0)}, absent)
	}
	return nil
}

// hardly: the web servers of both POPs die at once.
func hardly(ctx context.Context, o options, transit string, t *table) error {
	if !o.measures(ourNode()) {
		return nil
	}
	var absent []float64
	for range min(o.trials, 5) {
		got, err := absence(ctx, o, transit, labs.Kill, []int{0, 1}, 0)
		if err != nil {
			return err
		}
		absent = append(absent, got)
	}
	t.add(line{Row: "hard", Speaker: ourNode().name, Transit: transit, Unit: "ms", What: "prefix absent after both of 2 died at once"}, bar{}, absent)
	return nil
}

// sampleEvery is how often the transit's kernel is asked, and watched for how long after the last fault.
const (
	sampleEvery = 5 * time.Millisecond
	sampledFor  = 6 * time.Second
)

// absence is for how many milliseconds the transit's kernel lacked a route, in the family that was worse.
func absence(ctx context.Context, o options, transit string, verb labs.Verb, order []int, gap time.Duration) (float64, error) {
	c, err := up(ctx, o, setting{transit: transit, pops: len(order), speaker: ourNode(), services: true, every: quiet})
	if err != nil {
		return 0, err
	}
	defer c.down() //nolint:errcheck // what it leaves is in a temporary folder
	has, done, err := c.lab.Routes("transit")
	if err != nil {
		return 0, err
	}
	defer done()
	watching, stop := context.WithCancel(ctx)
	defer stop()
	var watch sync.WaitGroup
	var absent [2]time.Duration
	var failed error
	watch.Go(func() { absent, failed = sampled(watching, has) })
	var faults sync.WaitGroup
	errs := make([]error, len(order))
	for i, pop := range order {
		faults.Go(func() {
			sleep(ctx, time.Duration(i)*gap)
			errs[i] = c.do(ctx, verb, node(pop)+"/popd")
		})
	}
	faults.Wait()
	sleep(ctx, sampledFor)
	stop()
	watch.Wait()
	return ms(max(absent[0], absent[1])), errors.Join(append(errs, failed)...)
}

// sampled asks until ctx is done, and adds up the time for which each family had no route.
func sampled(ctx context.Context, has func(netip.Prefix) (bool, error)) (absent [2]time.Duration, err error) {
	last := time.Now()
	for ctx.Err() == nil {
		sleep(ctx, sampleEvery)
		now := time.Now()
		for i, p := range prefixes {
			there, err := has(p)
			if err != nil {
				return absent, err
			}
			if !there {
				absent[i] += now.Sub(last)
			}
		}
		last = now
	}
	return absent, nil
}

// idle: eight sessions in which nothing happens.
func idle(ctx context.Context, o options, transit string, t *table) error {
	const eight = 7 // besides the transit
	for _, sp := range []struct {
		s       speaker
		process string
		bar     bar
	}{{bare(), "speaker", bar{max: new(0.1)}}, {ours(), "speaker", bar{}}, {ourNode(), "bgpd", bar{}}} {
		if !o.measures(sp.s) {
			continue
		}
		if err := idleOf(ctx, o, setting{transit: transit, pops: 2, peers: eight, speaker: sp.s, services: true, every: time.Second / 10}, sp.process, sp.bar, t); err != nil {
			return fmt.Errorf("%s: %w", sp.s.name, err)
		}
	}
	return nil
}

// idleFor is how long nothing happens.
const idleFor = 2 * time.Minute

func idleOf(ctx context.Context, o options, s setting, process string, b bar, t *table) error {
	c, err := up(ctx, o, s)
	if err != nil {
		return err
	}
	defer c.down() //nolint:errcheck // what it leaves is in a temporary folder
	sleep(ctx, 5*time.Second)
	pid, err := c.pid(ctx, node(0)+"/"+process)
	if err != nil {
		return err
	}
	began := time.Now()
	taken, err := cpu(pid)
	if err != nil {
		return err
	}
	sleep(ctx, idleFor)
	after, err := cpu(pid)
	if err != nil {
		return err
	}
	l := line{Row: "idle", Speaker: s.speaker.name, Transit: s.transit, Unit: "% of a core", What: "8 sessions, process " + process}
	t.add(l, b, []float64{100 * (after - taken).Seconds() / time.Since(began).Seconds()})
	l.Unit, l.What = "messages", fmt.Sprintf("UPDATEs in %v", idleFor)
	t.add(l, bar{max: new(0.0)}, []float64{float64(len(c.records[0].since(began)))})
	return ctx.Err()
}

// cpu is the processor time that a process has taken: schedstat counts nanoseconds, one thread a file.
func cpu(pid int) (time.Duration, error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(files) == 0 {
		return 0, fmt.Errorf("process %d has no times in /proc", pid)
	}
	var sum time.Duration
	for _, file := range files {
		text, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) {
			continue // the thread has ended
		}
		if err != nil {
			return 0, err
		}
		first, _, _ := strings.Cut(string(text), " ")
		n, err := strconv.ParseInt(first, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read %q: %w", file, err)
		}
		sum += time.Duration(n)
	}
	return sum, nil
}

// saturated: nothing is wrong but that there is no processor time.
func saturated(ctx context.Context, o options, transit string, t *table) error {
	for _, sp := range []speaker{ours(), ourNode()} {
		if !o.measures(sp) {
			continue
		}
		c, err := up(ctx, o, setting{transit: transit, pops: 2, speaker: sp, services: true, every: quiet})
		if err != nil {
			return fmt.Errorf("%s: %w", sp.name, err)
		}
		burning, stop := context.WithCancel(ctx)
		var fires sync.WaitGroup
		for range 2 {
			fires.Go(func() {
				_ = c.lab.Exec(burning, "client", []string{"/bin/sh", "-c", "while :; do :; done"}, io.Discard, io.Discard)
			})
		}
		began := time.Now()
		sleep(ctx, o.hot)
		n := c.withdrawals(began)
		if n > 0 {
			err = c.events(ctx, began, func(e event.Event) {
				fmt.Fprintf(os.Stderr, "saturated %s: %s %s %s %s: %s\n", sp.name, e.Time.Format("15:04:05.000"), e.Kind, e.Subject, e.State, e.Cause)
			})
		}
		stop()
		fires.Wait()
		if err := errors.Join(err, c.down(), ctx.Err()); err != nil {
			return err
		}
		t.add(line{Row: "saturated", Speaker: sp.name, Transit: transit, Unit: "withdrawals", What: fmt.Sprintf("without a cause, in %v", o.hot)}, bar{max: new(0.0)}, []float64{float64(n)})
	}
	return nil
}

// swallowed: the first POP's cable swallows everything and says nothing.
func swallowed(ctx context.Context, o options, transit string, t *table) error {
	s := setting{transit: transit, pops: 2, speaker: ours(), services: true, every: quiet, bfd: o.bfd}
	first := bar{median: new(120.0)}
	if o.bfd == 0 {
		o, first = few(o, 3), bar{}
	}
	return moves(ctx, o, t, "blackhole", s, blackhole, false, bars{first: first})
}
