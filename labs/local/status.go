package local

import (
	"context"
	"fmt"
	"io"

	"github.com/catchment-net/catchment/labs"
)

// Status tells where every client lands now and what runs.
func (l *Lab) Status(context.Context) (*labs.Status, error) {
	st := &labs.Status{Name: l.o.Name, Runner: "local", Dir: l.o.Dir, State: l.state.Path, Since: l.since, Nodes: l.nodes.Status()}
	for _, u := range l.world.Users {
		st.Clients = append(st.Clients, u.Status(l.bests))
	}
	for _, n := range l.topo.Internet.Networks {
		st.Routers = append(st.Routers, labs.RouterStatus{Name: n.Name, Best: l.bests.Of(n.Name)})
	}
	st.Origins = l.world.Status()
	return st, nil
}

// Sample runs the loads from their clients until ctx is done.
func (l *Lab) Sample(ctx context.Context, loads []labs.Load, fn func(labs.Sample)) error {
	return l.world.Users.Sample(ctx, loads, fn)
}

// Exec runs a command with CATCHMENT_ADMIN naming the node's admin socket, in the node's state folder. A command that
// ends with another status than 0 is an *exec.ExitError.
func (l *Lab) Exec(ctx context.Context, node string, argv []string, stdout, stderr io.Writer) error {
	return l.nodes.Exec(ctx, node, l.o.Binary, argv, stdout, stderr)
}

// Capture is what this runner cannot do: its links carry connections, not packets.
func (l *Lab) Capture(context.Context, string, io.Writer) error {
	return &labs.CannotError{What: "capture packets in a local lab, whose links carry whole connections", Fix: "bring the lab up with --runner netns"}
}

// missing says which router has no route to an anycast prefix, or which session does not stand; empty when neither.
func (l *Lab) missing() string {
	if what, ok := l.bests.Whole(); !ok {
		return what
	}
	for _, n := range l.topo.Internet.Networks {
		for _, s := range l.routers[n.Name].Sessions() {
			if s.State != "established" {
				return fmt.Sprintf("the session of %s with %s is %s", n.Name, s.Neighbor, s.State)
			}
		}
	}
	return ""
}

// Settle waits until the lab stands as it did when it came up, and empties the resolvers' caches.
func (l *Lab) Settle(ctx context.Context) error {
	if err := l.nodes.Settle(ctx, l.bests, l.missing); err != nil {
		return err
	}
	l.world.Forget()
	return nil
}
