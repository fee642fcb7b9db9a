package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// part names a daemon in its error. One that ends by itself, without an error, has failed all the same: the rest must
// not go on as if it were there.
func part(name string, run func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		err := run(ctx)
		switch {
		case err != nil:
			return fmt.Errorf("%s: %w", name, err)
		case ctx.Err() == nil:
			return fmt.Errorf("%s: it ended by itself", name)
		}
		return nil
	}
}

// runAll runs the parts until one fails or ctx is done, then stops the others and returns the first failure.
func runAll(ctx context.Context, parts ...func(context.Context) error) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	first := make(chan error, 1)
	var all sync.WaitGroup
	for _, run := range parts {
		all.Go(func() {
			err := run(ctx)
			if ends(ctx, err) {
				return
			}
			select {
			case first <- err:
			default:
			}
			stop()
		})
	}
	all.Wait()
	select {
	case err := <-first:
		return err
	default:
		return nil
	}
}

// ends reports whether an error is only the end of its context, or the cause of that.
func ends(ctx context.Context, err error) bool {
	return err == nil || ctx.Err() != nil && (errors.Is(err, ctx.Err()) || errors.Is(err, context.Cause(ctx)))
}

// gate tells once that all parts of a process listen: only then is it ready, and a port that is in use is an error
// before that.
type gate struct {
	open func(addrs []string) // nil means nobody waits

	mu      sync.Mutex // guards the following; held for an assignment
	waiting int        // parts that do not listen yet
	addrs   []string
}

// listens notes that one part listens on addrs, of which it names those that people may want to know.
func (g *gate) listens(addrs []string) {
	g.mu.Lock()
	g.waiting--
	g.addrs = append(g.addrs, addrs...)
	all, opens := g.addrs, g.waiting == 0
	g.mu.Unlock()
	if opens && g.open != nil {
		g.open(all)
	}
}
