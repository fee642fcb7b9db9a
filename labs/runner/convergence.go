package runner

import (
	"context"
	"fmt"
	"time"

	"github.com/catchment-net/catchment/admin"
)

// fleetView is the part of a node's status that tells when the lab has converged.
type fleetView struct {
	View struct {
		POPs map[string]struct {
			Services map[string]struct {
				State string `json:"state"`
			} `json:"services"`
		} `json:"pops"`
		Nodes map[string]struct {
			Heard bool `json:"heard"`
		} `json:"nodes"`
	} `json:"view"`
	BGP []struct {
		Name  string `json:"name"`
		State string `json:"state"`
	} `json:"bgp"`
}

// pollEvery is how often a runner looks whether the lab has converged.
const pollEvery = 20 * time.Millisecond

// Converge waits until missing says that nothing is missing, every node's sessions stand, and every node sees every
// service of every POP up and hears every node. It fails when a node has ended by itself or ctx does.
func (f *Fleet) Converge(ctx context.Context, missing func() string) error {
	for {
		what := missing()
		if what == "" {
			what = f.missing(ctx)
		}
		if what == "" {
			return nil
		}
		if err := f.Ended(); err != nil {
			return fmt.Errorf("while the lab came up, %w", err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %s", context.Cause(ctx), what)
		case <-time.After(pollEvery):
		}
	}
}

// settleWithin bounds how long a lab may take to stand again as it did: a POP's rise after a flap doubles.
const settleWithin = time.Minute

// Settle waits until the lab has converged and every path leads where it did at first.
func (f *Fleet) Settle(ctx context.Context, bests *Bests, missing func() string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, settleWithin, fmt.Errorf("the lab does not stand as it did when it came up, after %v; heal what is broken, or bring it up anew", settleWithin))
	defer cancel()
	return f.Converge(ctx, func() string {
		if what := missing(); what != "" {
			return what
		}
		return bests.Moved()
	})
}

// missing says what the nodes still wait for; empty when nothing.
func (f *Fleet) missing(ctx context.Context) string {
	for _, node := range f.Topology.Nodes() {
		var v fleetView
		c := admin.Client{Socket: f.Admin(node.Name)}
		if err := c.Get(ctx, "/v1/status", &v); err != nil {
			return fmt.Sprintf("node %s does not answer yet: %v", node.Name, err)
		}
		for _, neighbor := range v.BGP {
			if neighbor.State != "established" {
				return fmt.Sprintf("the session of %s with %s is %s", node.Name, neighbor.Name, neighbor.State)
			}
		}
		for _, p := range f.Topology.POPs {
			for _, service := range []string{"dns", "web"} {
				if state := v.View.POPs[p.Name].Services[service].State; state != "up" {
					return fmt.Sprintf("%s sees %s of %s as %q", node.Name, service, p.Name, state)
				}
			}
			for _, other := range p.Nodes {
				if other != node && !v.View.Nodes[other.Name].Heard {
					return fmt.Sprintf("%s does not hear %s", node.Name, other.Name)
				}
			}
		}
	}
	return ""
}
