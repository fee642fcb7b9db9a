package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/catchment-net/catchment/admin"
	"github.com/catchment-net/catchment/bgpd"
	"github.com/catchment-net/catchment/bgpd/speaker"
	"github.com/catchment-net/catchment/health"
	"github.com/catchment-net/catchment/internal/daemon"
	"github.com/catchment-net/catchment/labs"
	"github.com/catchment-net/catchment/labs/runner"
	"github.com/catchment-net/catchment/node"
)

// restartDrain is how long the drain of a restart lasts if nobody is left to lift it.
const restartDrain = 15 * time.Minute

func (a *app) restart() *cobra.Command {
	var t target
	var within time.Duration
	var force bool
	cmd := &cobra.Command{
		Use: "restart NODE", Short: "Restart a node's daemons without losing a request: drain, restart, wait until all is well, undrain", Args: cobra.ExactArgs(1),
		Example: "  catchment restart ams1",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := t.clientOf(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			r := restart{a: a, c: c, name: args[0], within: within, force: force}
			return r.run(cmd.Context())
		},
	}
	cmd.Flags().DurationVar(&within, "within", time.Minute, "how long the node may take to be as well as before; then it stays drained")
	cmd.Flags().BoolVar(&force, "force", false, "although more POPs would be drained at once than the topology allows, or nobody else announces")
	return targetFlags(cmd, &t)
}

// clientOf reaches the admin socket of one node and no other.
func (t *target) clientOf(ctx context.Context, name string) (*admin.Client, error) {
	c := &admin.Client{Socket: strings.TrimPrefix(t.admin, "unix:")}
	if c.Socket == "" && t.lab == "" {
		c.Socket = os.Getenv("CATCHMENT_ADMIN")
	}
	if c.Socket == "" {
		state, err := daemon.DefaultState(name, os.Getenv)
		here := filepath.Join(state, "admin.sock")
		_, missing := os.Stat(here)
		if t.lab == "" && err == nil && missing == nil && len(runner.Running(runner.StateRoot())) == 0 {
			c.Socket = here
		} else if c.Socket, err = t.inLab(ctx, name); err != nil {
			return nil, err
		}
	}
	var st node.Status
	if err := c.Get(ctx, "/v1/status", &st); err != nil {
		return nil, refused(err)
	}
	if st.Node != name {
		return nil, fmt.Errorf("admin socket %q is that of node %q; name the one of %q with --admin", c.Socket, st.Node, name)
	}
	return c, nil
}

// inLab is the admin socket of a node of the lab that is up.
func (t *target) inLab(ctx context.Context, name string) (string, error) {
	lab, err := connect(t.lab)
	if err != nil {
		return "", err
	}
	st, err := lab.Status(ctx)
	if err != nil {
		return "", err
	}
	i := slices.IndexFunc(st.Nodes, func(n labs.NodeStatus) bool { return n.Name == name && n.Admin != "" })
	if i < 0 {
		return "", fmt.Errorf("lab %q has no node %q", st.Name, name)
	}
	return st.Nodes[i].Admin, nil
}

// restart is one restart of a node.
type restart struct {
	a      *app
	c      *admin.Client
	name   string
	within time.Duration
	force  bool
}

func (r *restart) run(ctx context.Context) error {
	before, err := r.status(ctx)
	if err != nil {
		return refused(err)
	}
	was := slices.ContainsFunc(before.Intents, func(i health.Intent) bool {
		return i.InForce(before.Now) && (i.Target == r.name || i.Target == before.POP)
	})
	if !was {
		req := node.IntentRequest{Target: r.name, Drain: true, Why: "restart", By: operator(), For: restartDrain, Force: r.force}
		if err := r.a.wish(ctx, r.c, req, false); err != nil {
			return err
		}
	}
	drained := r.name
	if was && !slices.ContainsFunc(before.Intents, func(i health.Intent) bool { return i.Target == r.name && i.InForce(before.Now) }) {
		drained = before.POP
	}
	patience := stuckFor
	if r.force {
		patience = 0
	}
	if err := r.a.followDrain(ctx, r.c, drained, patience); err != nil && !r.force {
		return fmt.Errorf("%s was not restarted: %w", r.name, err)
	}
	r.say("restarts")
	if err := r.c.Post(ctx, "/v1/restart", nil, nil); err != nil {
		return refused(err)
	}
	if err := r.wait(ctx, before); err != nil {
		return &daemon.ExitError{Code: daemon.No, Err: err}
	}
	r.say("is as well as before")
	if was {
		r.say("stays drained, as it was")
		return nil
	}
	return r.a.wish(ctx, r.c, node.IntentRequest{Target: r.name, By: operator()}, true)
}

func (r *restart) say(what string) { fmt.Fprintf(r.a.out, "%s %s\n", r.name, what) }

func (r *restart) status(ctx context.Context) (*node.Status, error) {
	var st node.Status
	err := r.c.Get(ctx, "/v1/status", &st)
	return &st, err
}

// wait waits until the node has begun anew and has all that it had.
func (r *restart) wait(ctx context.Context, before *node.Status) error {
	ctx, cancel := context.WithTimeout(ctx, r.within)
	defer cancel()
	missing := "it has not ended yet"
	for {
		st, err := r.status(ctx)
		switch {
		case err != nil && ctx.Err() == nil:
			missing = "it does not answer yet"
		case err == nil && st.Since.After(before.Since):
			if missing = worse(before, st); missing == "" {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s stays drained: %s, after %v", r.name, missing, r.within)
		case <-time.After(lookEvery):
		}
	}
}

// worse says what a node had before a restart and has not now; empty if nothing.
func worse(before, now *node.Status) string {
	for _, b := range before.BGP {
		i := slices.IndexFunc(now.BGP, func(n bgpd.NeighborStatus) bool { return n.Address == b.Address })
		if b.State == string(speaker.Established) && (i < 0 || now.BGP[i].State != b.State) {
			return fmt.Sprintf("its session with %s is not up", b.Name)
		}
	}
	for _, m := range before.Members {
		if !slices.Contains(now.Members, m) {
			return fmt.Sprintf("its gossip has not found %s", m)
		}
	}
	for _, s := range health.Services {
		if before.Links[s] == "ready" && now.Links[s] != "ready" {
			return fmt.Sprintf("its %s daemon is not ready", s)
		}
		own := func(st *node.Status) health.State { return st.View.Nodes[st.Node].Services[s].State }
		if good(own(before)) && !good(own(now)) {
			return fmt.Sprintf("its service %s is %s", s, own(now))
		}
	}
	return ""
}

// good reports whether a service is known to be usable, drained or not.
func good(s health.State) bool { return s == health.Up || s == health.Degraded || s == health.Draining }
