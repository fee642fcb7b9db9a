package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"github.com/catchment-net/catchment/control"
	"github.com/catchment-net/catchment/health"
)

// How long a daemon waits before it looks for its hub again: the first time, and at most while the hub refuses it.
const (
	redialEvery = 200 * time.Millisecond
	redialMax   = 5 * time.Second
)

// errRefused says that the hub does not want this daemon.
var errRefused = errors.New("the hub refuses this daemon")

// follower keeps a daemon's process joined to its hub. All its calls come from the goroutine of run.
type follower struct {
	socket  string
	service health.Service
	node    string
	log     *slog.Logger
	changed chan struct{}                 // capacity 1: the report has changed
	state   func() report                 // ready, draining, last
	often   func() bool                   // the hub wants to hear often; a change of that is one of the report
	apply   func(*control.Snapshot) error // takes the hub's Snapshot
	view    func(*health.View)            // takes the hub's View; the first one says that the hub is there
	left    func()                        // the hub is away
	restart func() error                  // begins anew; nil where the process cannot
	purge   func([]purgeOrder)            // forgets
}

func (f *follower) run(ctx context.Context) error {
	wait, told := redialEvery, ""
	for ctx.Err() == nil {
		joined, err := f.join(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case joined:
			f.log.Warn("lost the hub; going on with the last configuration and own probes", "error", errText(err))
			wait, told = redialEvery, ""
		case err != nil && err.Error() != told:
			told = err.Error()
			f.log.Warn("no hub; going on without", "socket", f.socket, "error", err)
		}
		if errors.Is(err, errRefused) {
			wait = min(2*wait, redialMax)
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
	return nil
}

// join follows the hub for as long as it is there, and reports whether it was.
func (f *follower) join(ctx context.Context) (joined bool, err error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", f.socket)
	if err != nil {
		return false, err
	}
	joined, err = f.follow(ctx, conn)
	if joined {
		f.left()
	}
	return joined, err
}

func errText(err error) string {
	if err == nil {
		return "end of file"
	}
	return err.Error()
}

// follow is the daemon's end of one connection.
func (f *follower) follow(ctx context.Context, conn net.Conn) (joined bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var refused refusal
	var sender sync.WaitGroup
	sender.Go(func() { f.report(ctx, conn, &refused) })
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	err = readLines(conn, func(u update) error {
		if u.Refuse != "" {
			return fmt.Errorf("%w: %s", errRefused, u.Refuse)
		}
		if !joined {
			joined = true
			f.log.Info("joined the hub", "socket", f.socket)
		}
		if u.Restart {
			f.begin()
		}
		if len(u.Purge) > 0 {
			f.purge(u.Purge)
		}
		if u.View != nil { // it is small, and clients wait for it
			f.view(u.View)
		}
		if u.Files != nil {
			snap, err := control.ParseServing(u.Name, u.Files, nil)
			if err == nil {
				err = f.apply(snap)
			}
			refused.set(err)
			notify(f.changed)
		}
		return nil
	})
	cancel()
	conn.Close()
	sender.Wait()
	return joined, err
}

// begin has the process begin anew.
func (f *follower) begin() {
	err := errors.New("it was not started as a process that can")
	if f.restart != nil {
		err = f.restart()
	}
	if err != nil {
		f.log.Error("not restarted", "error", err)
	}
}

// report tells the hub how the daemon is, every half second and on each change, until ctx is done or the hub is gone.
func (f *follower) report(ctx context.Context, conn net.Conn, refused *refusal) {
	out := json.NewEncoder(conn)
	next := time.NewTimer(reportEvery)
	defer next.Stop()
	for {
		r := f.state()
		r.Service, r.Node, r.Refused, r.Pid = f.service, f.node, refused.get(), os.Getpid()
		if err := out.Encode(r); err != nil {
			return // the reader sees the same end
		}
		next.Reset(reportEvery)
		if f.often() {
			next.Reset(reportOften)
		}
		select {
		case <-ctx.Done():
			return
		case <-next.C:
		case <-f.changed:
		}
	}
}

// notify wakes the reader of a channel of capacity 1; it never blocks.
func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// refusal is why the daemon would not take the last Snapshot; empty when it did.
type refusal struct {
	mu   sync.Mutex // guards text
	text string
}

func (r *refusal) set(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.text = ""
	if err != nil {
		r.text = err.Error()
	}
}

func (r *refusal) get() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text
}
