package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Group runs parts side by side and stops them one after the other, the last one added first: a part may use every part
// added before it until its own end. The zero value is ready for use; it is not safe for concurrent use, and runs once.
type Group struct {
	// StopMax bounds the whole stop. Zero means 5 s. A part that has not returned by then is left behind and named in
	// the error.
	StopMax time.Duration

	parts []*part
}

// part is one Run with a life of its own.
type part struct {
	name string
	run  func(context.Context) error
	stop context.CancelFunc
	done chan struct{} // closed when run has returned
	err  error         // what it returned; valid once done is closed
}

// Add adds a part before Run. A part that returns nil by itself has done its work and ends nothing else.
func (g *Group) Add(name string, run func(ctx context.Context) error) {
	g.parts = append(g.parts, &part{name: name, run: run, done: make(chan struct{})})
}

// Run starts all parts and blocks until ctx is done, a part fails, or all have done their work; then it stops what is
// left and returns every failure, joined, each with its part's name.
func (g *Group) Run(ctx context.Context) error {
	failed := make(chan struct{}, len(g.parts))
	ended := make(chan struct{}, len(g.parts))
	for _, p := range g.parts {
		pctx, stop := context.WithCancel(context.WithoutCancel(ctx))
		p.stop = stop
		go func() {
			defer close(p.done)
			defer func() { ended <- struct{}{} }()
			if p.err = p.run(pctx); pctx.Err() != nil && errors.Is(p.err, context.Canceled) {
				p.err = nil // it was told to
			}
			if p.err != nil {
				failed <- struct{}{}
			}
		}()
	}
	g.wait(ctx, failed, ended)
	return g.stop()
}

func (g *Group) wait(ctx context.Context, failed, ended <-chan struct{}) {
	for range g.parts {
		select {
		case <-ctx.Done():
			return
		case <-failed:
			return
		case <-ended:
		}
	}
}

// stop ends the parts in order. A part that takes more than half of the time makes all others stop at once: that is out
// of order, but better than not at all.
func (g *Group) stop() error {
	limit := g.StopMax
	if limit == 0 {
		limit = 5 * time.Second
	}
	patience, cancel := context.WithTimeout(context.Background(), limit/2)
	defer cancel()
	end, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	for _, p := range slices.Backward(g.parts) {
		p.stop()
		p.endsBefore(patience)
	}
	var errs []error
	for _, p := range slices.Backward(g.parts) {
		switch {
		case !p.endsBefore(end):
			errs = append(errs, fmt.Errorf("%s did not stop within %v", p.name, limit))
		case p.err != nil:
			errs = append(errs, fmt.Errorf("%s: %w", p.name, p.err))
		}
	}
	return errors.Join(errs...)
}

// endsBefore waits for the part's end, at most until limit is done.
func (p *part) endsBefore(limit context.Context) bool {
	select {
	case <-p.done:
		return true
	case <-limit.Done():
	}
	select {
	case <-p.done: // both
		return true
	default:
		return false
	}
}
