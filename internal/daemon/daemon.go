// Package daemon is the life of a process that serves: signals, the ready file, systemd's notices, the state folder,
// an orderly stop and the exit status.
//
//	start ──► Run ─── ready: ready file, READY=1
//	            │
//	            ├─ first SIGTERM or SIGINT ──► STOPPING=1, Drain (bounded) ──► ctx of Run ends
//	            ├─ second ──► ctx of Run ends at once
//	            ├─ Process.Restart ──► Drain, ctx of Run ends, Exec takes the process's place
//	            └─ Run returns by itself ──► its error ends the process
//
// It reads no environment and no clock of its own: cmd hands everything in by Options.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

// Daemon is what a process runs. Run blocks until ctx is done, which means stop now; Drain moves the clients away while
// Run goes on, and returns when it may be stopped.
type Daemon interface {
	Run(ctx context.Context) error
	Drain(ctx context.Context) error
}

// Options configures a process. Only Name is required.
type Options struct {
	Name string // "catchment": stands before the message of an error
	Node string // the node's name in the ready file; may be empty

	State string // the state folder, made and locked before anything starts; empty for none
	Ready string // the ready file; empty for none

	// DrainMax bounds the drain after the first signal. Zero means 60 s: a drain waits for resolvers' TTLs.
	DrainMax time.Duration
	// StopMax is how long Run may take to return once it has been told to stop. Zero means 5 s; then the process ends
	// without it and says so.
	StopMax time.Duration

	// Exec takes the place of this process once its daemon has restarted: with the same arguments, from the file that is
	// there now. Nil means that a daemon cannot restart.
	Exec func() error

	Systemd Systemd          // where to send notices; the zero value sends none
	Signals <-chan os.Signal // nil means SIGTERM and SIGINT of this process
	Stderr  io.Writer        // for Main's message; nil means os.Stderr
	Logger  *slog.Logger     // nil discards
	Now     func() time.Time // nil means time.Now
}

// Process is a process in the making, for the function that starts its daemon.
type Process struct {
	State *State // nil without Options.State

	o       Options
	restart chan struct{} // capacity 1: the daemon wants to restart

	mu    sync.Mutex // guards ready
	ready bool
}

// ErrRestart is the cause of the end of Run's ctx when the process begins anew.
var ErrRestart = errors.New("is restarting")

// Main runs a daemon as Run does, reports its error on Stderr and returns the exit status.
func Main(ctx context.Context, o Options, start func(*Process) (Daemon, error)) int {
	if o.Stderr == nil {
		o.Stderr = os.Stderr
	}
	return Report(o.Stderr, o.Name, Run(ctx, o, start))
}

// Run opens the state folder, calls start, which wires the daemon and hands p.Ready to it, and runs that until it ends
// or is told to stop. An error before the daemon was ready has exit status BadInput, a later one No, unless it has its
// own. What Run made, the ready file and the lock, is gone when it returns.
func Run(ctx context.Context, o Options, start func(*Process) (Daemon, error)) (err error) {
	setDefaults(&o)
	if o.Signals == nil {
		signals := make(chan os.Signal, 2)
		signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT) // first of all: a signal that comes earlier just kills
		defer signal.Stop(signals)
		o.Signals = signals
	}
	restarts := false
	defer func() { // after the lock is given up
		if restarts && err == nil && len(o.Signals) == 0 { // a signal that came meanwhile is obeyed
			err = WithCode(No, o.Exec())
		}
	}()
	p := &Process{o: o, restart: make(chan struct{}, 1)}
	if o.State != "" {
		if p.State, err = OpenState(StateOptions{Dir: o.State, Now: o.Now, Logger: o.Logger}); err != nil {
			return WithCode(BadInput, err)
		}
		defer func() { err = errors.Join(err, p.State.Close()) }()
	}
	d, err := start(p)
	if err != nil {
		return WithCode(BadInput, err)
	}
	defer func() { err = errors.Join(err, p.forget()) }()
	if restarts, err = p.live(ctx, d); err != nil {
		if p.isReady() {
			return WithCode(No, err)
		}
		return WithCode(BadInput, err)
	}
	return nil
}

func setDefaults(o *Options) {
	if o.DrainMax == 0 {
		o.DrainMax = 60 * time.Second
	}
	if o.StopMax == 0 {
		o.StopMax = 5 * time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
}

// Ready says that the daemon listens on addrs: it writes the ready file and tells systemd. Later calls do nothing.
// Safe for concurrent use; it fits the daemons' Options.Ready. A ready file that cannot be written is logged: whoever
// waits for it will say so, and the service itself is not worse.
func (p *Process) Ready(addrs []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ready {
		return
	}
	p.ready = true
	if p.o.Ready != "" {
		f := ReadyFile{Status: "ok", Node: p.o.Node, PID: os.Getpid(), Addrs: addrs, Since: p.o.Now().UTC()}
		if p.State != nil {
			f.State, f.Incarnation = p.State.Dir, p.State.Incarnation
		}
		if err := writeReady(p.o.Ready, f); err != nil {
			p.o.Logger.Error("ready file not written", "file", p.o.Ready, "error", err)
		}
	}
	p.tell("READY=1")
}

// Restart asks the process to drain, to end its daemon and to begin anew, as the same process with the same arguments. It
// returns at once; an error says that it cannot.
func (p *Process) Restart() error {
	if p.o.Exec == nil {
		return fmt.Errorf("%s cannot restart itself", p.o.Name)
	}
	select {
	case p.restart <- struct{}{}:
	default: // asked already
	}
	return nil
}

func (p *Process) isReady() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ready
}

// forget removes the ready file, if it is ours.
func (p *Process) forget() error {
	if p.o.Ready == "" || !p.isReady() {
		return nil
	}
	return removeReady(p.o.Ready, os.Getpid())
}

func (p *Process) tell(state string) {
	if err := p.o.Systemd.notify(state); err != nil {
		p.o.Logger.Warn("systemd not notified", "state", state, "error", err)
	}
}

// live runs d until it ends, is drained, or must stop, and reports whether the process is to begin anew.
func (p *Process) live(ctx context.Context, d Daemon) (restarts bool, err error) {
	ctx, end := context.WithCancelCause(ctx)
	stop := func() {
		if restarts {
			end(ErrRestart)
			return
		}
		end(nil)
	}
	defer stop()
	beat, endBeat := p.watchdog()
	defer endBeat()
	ran, drained := make(chan error, 1), make(chan error, 1)
	go func() { ran <- d.Run(ctx) }()
	draining := false
	drain := func(limit time.Duration) {
		draining = true
		go func() {
			ctx, cancel := context.WithTimeout(ctx, limit)
			defer cancel()
			drained <- d.Drain(ctx)
		}()
	}
	for {
		select {
		case err := <-ran:
			err = unlessStopped(ctx, err)
			stop() // a drain of what has ended is pointless
			return restarts && err == nil, errors.Join(err, p.await(drained, draining, "drain"))
		case err := <-drained:
			draining = false
			if err != nil && ctx.Err() == nil {
				p.o.Logger.Warn("drain not finished", "error", err)
			}
			stop()
		case <-ctx.Done():
			if !restarts { // systemd would take the process for one that ends
				p.tell("STOPPING=1")
			}
			return restarts, errors.Join(unlessStopped(ctx, p.await(ran, true, "run")), p.await(drained, draining, "drain"))
		case sig := <-p.o.Signals:
			restarts = false // a signal to stop is obeyed, whatever was asked before
			if draining {
				p.o.Logger.Warn("stopping now", "signal", sig.String())
				stop()
				continue
			}
			p.o.Logger.Info("draining", "signal", sig.String(), "at_most_seconds", p.o.DrainMax.Seconds())
			p.tell("STOPPING=1")
			drain(p.o.DrainMax)
		case <-p.restart:
			if draining {
				continue
			}
			restarts = true
			p.o.Logger.Info("restarting", "at_most_seconds", p.o.DrainMax.Seconds())
			p.tell("STATUS=restarting")
			drain(p.o.DrainMax)
		case <-beat:
			p.tell("WATCHDOG=1")
		}
	}
}

// await waits for one of the daemon's two calls after its ctx has ended, but not for ever: a call that hangs must not
// keep the process. The error of a drain that was cut short says nothing new.
func (p *Process) await(ended <-chan error, started bool, what string) error {
	if !started {
		return nil
	}
	limit := time.NewTimer(p.o.StopMax)
	defer limit.Stop()
	select {
	case err := <-ended:
		if what == "drain" {
			return nil
		}
		return err
	case <-limit.C:
		return fmt.Errorf("%s of %s did not end within %v of being told to", what, p.o.Name, p.o.StopMax)
	}
}

// unlessStopped drops an error that only says that ctx has ended.
func unlessStopped(ctx context.Context, err error) error {
	if ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.Cause(ctx))) {
		return nil
	}
	return err
}

func (p *Process) watchdog() (<-chan time.Time, func()) {
	if p.o.Systemd.Watchdog <= 0 {
		return nil, func() {}
	}
	t := time.NewTicker(p.o.Systemd.Watchdog / 2) // sd_watchdog_enabled(3): half of the time allowed
	return t.C, t.Stop
}
