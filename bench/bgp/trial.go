//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/catchment-net/catchment/admin"
	"github.com/catchment-net/catchment/bench/bgp/wire"
	"github.com/catchment-net/catchment/internal/event"
	"github.com/catchment-net/catchment/labs"
)

// fault breaks something at the first POP.
type fault func(ctx context.Context, c *scene) error

// each does one thing to several processes at once.
func each(verb labs.Verb) fault {
	return func(ctx context.Context, c *scene) error {
		errs := make([]error, len(c.speaker.victim))
		var all sync.WaitGroup
		for i, name := range c.speaker.victim {
			all.Go(func() { errs[i] = c.do(ctx, verb, node(0)+"/"+name) })
		}
		all.Wait()
		for _, err := range errs {
			if err != nil {
				return err
			}
		}
		return nil
	}
}

func everything(ctx context.Context, c *scene) error { return c.do(ctx, labs.Kill, "best") }

func blackhole(ctx context.Context, c *scene) error { return c.do(ctx, labs.Blackhole, c.link(0)) }

// outcome is what a trial found, in milliseconds from the fault, and requests lost.
type outcome struct {
	wire, share, first, lost []float64 // by family; share is of wire from the cause on, where the speaker tells it
}

// The limits of a trial.
const (
	movedWithin = 60 * time.Second // the slowest defaults take 25 s
	rest        = 300 * time.Millisecond
	before      = 20 * time.Millisecond // requests under way when the fault came count, too
)

// trial breaks something, waits until the second POP answers over both families, and counts. onWire says that a withdrawal
// or the session's end is to be seen, which a path that swallows everything does not show.
func (c *scene) trial(ctx context.Context, f fault, onWire bool) (outcome, error) {
	began := time.Now()
	if err := f(ctx, c); err != nil {
		return outcome{}, err
	}
	err := c.await(ctx, movedWithin, func() string {
		for i, l := range c.loads {
			if onWire && c.records[0].gone(prefixes[i], began).IsZero() {
				return fmt.Sprintf("%s is not withdrawn", prefixes[i])
			}
			if l.first(next, began).IsZero() {
				return fmt.Sprintf("the second POP does not answer over %s", families[i])
			}
		}
		return ""
	})
	if err != nil {
		return outcome{}, err
	}
	ended := time.Now()
	sleep(ctx, rest) // a busy machine's answers may be late, and are no losses
	var o outcome
	var noticed map[string]time.Time
	if onWire && c.speaker.isOurs {
		if noticed, err = c.noticed(ctx, began); err != nil {
			return outcome{}, err
		}
	}
	for i, l := range c.loads {
		o.lost = append(o.lost, float64(l.lost(began.Add(-before), ended, int(quiet/c.every))))
		o.first = append(o.first, ms(l.first(next, began).Sub(began)))
		if onWire {
			gone := c.records[0].gone(prefixes[i], began)
			o.wire = append(o.wire, ms(gone.Sub(began)))
			if at, ok := noticed[prefixes[i].String()]; ok {
				o.share = append(o.share, ms(gone.Sub(at)))
			}
		}
	}
	return o, nil
}

// noticed is when the first POP's speaker had the cause of its withdrawals, by its own events; nothing where it is dead.
func (c *scene) noticed(ctx context.Context, after time.Time) (map[string]time.Time, error) {
	at := map[string]time.Time{}
	err := c.events(ctx, after, func(e event.Event) {
		if e.Kind != event.Announce || e.State != "withdrawn" || !at[e.Subject].IsZero() {
			return
		}
		if took, err := strconv.ParseFloat(e.Detail["ms_from_cause"], 64); err == nil { // else its cause has no time
			at[e.Subject] = e.Time.Add(-time.Duration(took * float64(time.Millisecond)))
		}
	})
	return at, err
}

// events are those of the first POP's speaker after a time; none where it is dead.
func (c *scene) events(ctx context.Context, after time.Time, fn func(event.Event)) error {
	client := admin.Client{Socket: filepath.Join(c.home, "r/b/nodes", node(0), adminSocket)}
	err := client.Follow(ctx, "/v1/events", func(text []byte) error {
		var e event.Event
		if err := json.Unmarshal(text, &e); err != nil {
			return fmt.Errorf("decode event %q: %w", text, err)
		}
		if !e.Time.Before(after) {
			fn(e)
		}
		return nil
	})
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// sleep lets time pass.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// withdrawals counts what the first POP has withdrawn since a time.
func (c *scene) withdrawals(since time.Time) int {
	n := 0
	for _, e := range c.records[0].since(since) {
		if e.Kind != wire.Announce {
			n++
		}
	}
	return n
}
