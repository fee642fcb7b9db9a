package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/catchment-net/catchment/admin"
	"github.com/catchment-net/catchment/health"
	"github.com/catchment-net/catchment/internal/daemon"
	"github.com/catchment-net/catchment/node"
)

// How a drain is followed.
const (
	lookEvery = 100 * time.Millisecond
	tellEvery = time.Second     // how many requests there still are, while a step lasts
	stuckFor  = 5 * time.Second // a node that goes no further, or is not heard, for so long ends the waiting
)

func (a *app) drain() *cobra.Command {
	var t target
	var why string
	var long time.Duration
	var wait, force bool
	cmd := a.jsonFlag(&cobra.Command{
		Use: "drain POP|NODE", Short: "Move the clients away: DNS first, then GSHUT, then withdraw once it is quiet", Args: cobra.ExactArgs(1),
		Example: `  catchment drain ams --why "new kernel" --for 2h
  catchment drain ams1 --wait`,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := t.client(cmd.Context())
			if err != nil {
				return err
			}
			req := node.IntentRequest{Target: args[0], Drain: true, Why: why, By: operator(), For: long, Force: force}
			if err := a.wish(cmd.Context(), c, req, !wait); err != nil || !wait {
				return err
			}
			return a.followDrain(cmd.Context(), c, args[0], stuckFor)
		},
	})
	cmd.Flags().StringVar(&why, "why", "", "the reason, shown to everyone who asks")
	cmd.Flags().DurationVar(&long, "for", 0, "lift the drain by itself after this time (default: never)")
	cmd.Flags().BoolVar(&wait, "wait", false, "print each step with the requests that still come; end when no route is left")
	cmd.Flags().BoolVar(&force, "force", false, "although more POPs would be drained at once than the topology allows")
	return targetFlags(cmd, &t)
}

func (a *app) undrain() *cobra.Command {
	var t target
	cmd := a.jsonFlag(&cobra.Command{
		Use: "undrain POP|NODE", Short: "Take the clients back, from whatever step the drain is at", Args: cobra.ExactArgs(1), Example: "  catchment undrain ams",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := t.client(cmd.Context())
			if err != nil {
				return err
			}
			return a.wish(cmd.Context(), c, node.IntentRequest{Target: args[0], By: operator()}, true)
		},
	})
	return targetFlags(cmd, &t)
}

// wish asks for a drain, or for its end, and says so.
func (a *app) wish(ctx context.Context, c *admin.Client, req node.IntentRequest, tell bool) error {
	var intent health.Intent
	if err := c.Post(ctx, "/v1/intents", req, &intent); err != nil {
		return refused(err)
	}
	what := "is draining"
	if !req.Drain {
		what = "is no longer draining"
	}
	switch {
	case !tell:
		return nil
	case a.json:
		return a.printJSON(intent)
	}
	_, err := fmt.Fprintf(a.out, "%s %s; `catchment status` shows how far it is\n", req.Target, what)
	return err
}

// followDrain prints the steps of the target's nodes until all are withdrawn, or one has gone no further for too long.
func (a *app) followDrain(ctx context.Context, c *admin.Client, target string, patience time.Duration) error {
	w := drainWatch{target: target, patience: patience, began: time.Now(), nodes: map[string]*watchedNode{}}
	for {
		var st node.Status
		if err := c.Get(ctx, "/v1/status", &st); err != nil {
			return refused(err)
		}
		lines, done, err := w.look(time.Now(), &st)
		for _, l := range lines {
			if err := a.printStep(l); err != nil {
				return err
			}
		}
		if err != nil {
			return &daemon.ExitError{Code: daemon.No, Err: err}
		}
		if done {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the drain of %q goes on: %w", target, ctx.Err())
		case <-time.After(lookEvery):
		}
	}
}

func (a *app) printStep(l stepLine) error {
	if a.json {
		return json.NewEncoder(a.out).Encode(l)
	}
	_, err := fmt.Fprintln(a.out, l)
	return err
}

// stepLine is what --wait prints of one node.
type stepLine struct {
	Seconds  float64     `json:"seconds"` // since the command began
	Node     string      `json:"node"`
	Step     health.Step `json:"step"`
	Requests uint32      `json:"requests"` // in the last second
	Kept     bool        `json:"kept,omitempty"`
}

func (l stepLine) String() string {
	what := ""
	switch {
	case l.Kept:
		what = "goes no further: nobody else would take its clients"
	case l.Step == health.StepDNS:
		what = "name servers stop naming it"
	case l.Step == health.StepGSHUT:
		what = "its routes ask to be avoided"
	case l.Step == health.StepWithdrawn:
		what = "its routes are gone"
	case l.Step == health.StepDown:
		what = "its sessions are closed"
	}
	return fmt.Sprintf("%5.1f s  %s  %-9s  %5d requests in the last second; %s", l.Seconds, l.Node, l.Step, l.Requests, what)
}

// drainWatch follows the drain of a POP or node by what one node of the fleet knows.
type drainWatch struct {
	target   string
	patience time.Duration
	began    time.Time
	nodes    map[string]*watchedNode
}

type watchedNode struct {
	step  health.Step
	kept  bool
	told  time.Time // when its last line was printed
	stuck time.Time // since when it goes no further; zero while it does
}

// look returns what is new, whether all nodes are withdrawn, and why that cannot be waited for.
func (w *drainWatch) look(now time.Time, st *node.Status) (lines []stepLine, done bool, err error) {
	if i := slices.IndexFunc(st.Intents, func(i health.Intent) bool { return i.Target == w.target }); i < 0 || !st.Intents[i].InForce(st.Now) {
		why := "it has expired"
		if i >= 0 && st.Intents[i].Lifted {
			why = "by " + st.Intents[i].By
		}
		return nil, false, fmt.Errorf("the drain of %q was undone: %s", w.target, why)
	}
	done = true
	for _, name := range slices.Sorted(maps.Keys(st.View.Nodes)) {
		v := st.View.Nodes[name]
		if name != w.target && v.POP != w.target {
			continue
		}
		n := w.nodes[name]
		if n == nil {
			n = &watchedNode{told: now}
			w.nodes[name] = n
		}
		p := v.Progress
		if p.Step != n.step || p.Kept != n.kept || p.Step != health.NoStep && p.Step < health.StepWithdrawn && now.Sub(n.told) >= tellEvery {
			n.step, n.kept, n.told = p.Step, p.Kept, now
			lines = append(lines, stepLine{now.Sub(w.began).Seconds(), name, p.Step, p.Requests, p.Kept})
		}
		if v.Heard && p.Step >= health.StepWithdrawn {
			n.stuck = time.Time{}
			continue
		}
		done = false
		switch {
		case v.Heard && !p.Kept:
			n.stuck = time.Time{}
		case n.stuck.IsZero() && w.patience > 0:
			n.stuck = now
		case now.Sub(n.stuck) >= w.patience:
			err = errors.Join(err, stuck(name, v))
		}
	}
	return lines, done, err
}

func stuck(name string, v health.NodeView) error {
	if !v.Heard {
		return fmt.Errorf("%s is not heard; nobody knows what it announces", name)
	}
	return fmt.Errorf("%s stays at gshut, since nobody else would take its clients; it goes on when somebody would", name)
}
