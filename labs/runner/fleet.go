package runner

import (
	"context"
	"log/slog"
	"time"

	"github.com/catchment-net/catchment/admin"
	"github.com/catchment-net/catchment/internal/event"
	"github.com/catchment-net/catchment/topology"
)

// Fleet is the POP nodes of a lab as their admin sockets show them, whatever they run in. All fields are required. It is
// safe for concurrent use.
type Fleet struct {
	Lab      string // its name
	Topology *topology.Topology
	Ring     *event.Ring
	Logger   *slog.Logger
	Admin    func(node string) string // its socket
	Alive    func(node string) bool   // it runs, and no fault stops it
	Ended    func() error             // a node that has ended by itself, and its last words; nil when there is none

	drains drains
}

// Follow copies a node's events into the lab's, over every restart of the node, until ctx is done.
func (f *Fleet) Follow(ctx context.Context, node string) {
	for ctx.Err() == nil {
		// A new process counts its events from zero again.
		err := admin.Client{Socket: f.Admin(node)}.Events(ctx, 0, func(line admin.Line) error {
			f.Ring.Add(line.Event)
			return nil
		})
		if err != nil && ctx.Err() == nil {
			f.Logger.Debug("events of node ended", "node", node, "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
}
