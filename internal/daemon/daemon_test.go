package daemon

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// fake is a daemon that notes what is asked of it.
type fake struct {
	run   func(ctx context.Context) error
	drain func(ctx context.Context) error

	mu    sync.Mutex
	calls []string
}

func (f *fake) note(what string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, what)
}

func (f *fake) Run(ctx context.Context) error {
	f.note("run")
	err := f.run(ctx)
	f.note("stopped")
	return err
}

func (f *fake) Drain(ctx context.Context) error {
	f.note("drain")
	err := f.drain(ctx)
	f.note("drained")
	return err
}

func untilDone(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

func hang(context.Context) error {
	time.Sleep(time.Hour)
	return nil
}

func TestSignals(t *testing.T) {
	takes3s := func(ctx context.Context) error {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(3 * time.Second):
			return nil
		}
	}
	tests := []struct {
		name       string
		run, drain func(context.Context) error
		signals    []time.Duration // when they come
		cancel     time.Duration   // when the caller's ctx ends; 0 never
		calls      string
		took       time.Duration
		err        string
	}{
		{"one signal drains, then stops", untilDone, takes3s, []time.Duration{time.Second}, 0, "run drain drained stopped", 4 * time.Second, ""},
		{"a second one stops now", untilDone, takes3s, []time.Duration{time.Second, 2 * time.Second}, 0, "run drain drained stopped", 2 * time.Second, ""},
		{"a drain is bounded", untilDone, untilDone, []time.Duration{time.Second}, 0, "run drain drained stopped", 11 * time.Second, ""},
		{"a caller's end stops without a drain", untilDone, takes3s, nil, time.Second, "run stopped", time.Second, ""},
		{"a run that ends by itself ends all", func(context.Context) error { time.Sleep(time.Second); return nil }, takes3s, nil, 0, "run stopped", time.Second, ""},
		{"a run that ends while it drains", func(context.Context) error { time.Sleep(2 * time.Second); return nil }, takes3s, []time.Duration{time.Second}, 0, "run drain stopped drained", 2 * time.Second, ""},
		{"a run that hangs is left behind", hang, takes3s, nil, time.Second, "run", 6 * time.Second, "run of test did not end within 5s of being told to"},
		{"a drain that hangs is left behind", untilDone, hang, []time.Duration{time.Second, 2 * time.Second}, 0, "run drain stopped", 7 * time.Second, "drain of test did not end within 5s of being told to"},
		{"a failure is the process's", func(context.Context) error { return errors.New("listen: port taken") }, takes3s, nil, 0, "run stopped", 0, "listen: port taken"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fake{run: tt.run, drain: tt.drain}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if tt.cancel > 0 {
					time.AfterFunc(tt.cancel, cancel)
				}
				signals := make(chan os.Signal, 2)
				for _, at := range tt.signals {
					time.AfterFunc(at, func() { signals <- syscall.SIGTERM })
				}
				began := time.Now()
				err := Run(ctx, Options{Name: "test", Signals: signals, DrainMax: 10 * time.Second}, func(*Process) (Daemon, error) { return f, nil })
				took := time.Since(began)
				defer time.Sleep(2 * time.Hour) // virtual: what hangs must end within the bubble
				f.mu.Lock()
				calls := strings.Join(f.calls, " ")
				f.mu.Unlock()
				// When both end in one instant of virtual time, their order is the scheduler's.
				if calls != tt.calls && calls != strings.Replace(tt.calls, "drained stopped", "stopped drained", 1) && calls != strings.Replace(tt.calls, "stopped drained", "drained stopped", 1) {
					t.Errorf("calls: got %q, want %q", calls, tt.calls)
				}
				if took != tt.took {
					t.Errorf("took %v, want %v", took, tt.took)
				}
				if got := errText(err); got != tt.err {
					t.Errorf("error: got %q, want %q", got, tt.err)
				}
			})
		})
	}
}

// A restart drains as a signal does, gives up the lock and the ready file, and only then lets the new process in.
func TestRestart(t *testing.T) {
	takes3s := func(ctx context.Context) error {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(3 * time.Second):
			return nil
		}
	}
	for _, tt := range []struct {
		name    string
		run     func(context.Context) error
		signals []time.Duration // when they come; the restart is asked for after 1 s
		calls   string
		execs   int
		took    time.Duration
		err     string
	}{
		{"it drains and begins anew", untilDone, nil, "run drain drained stopped", 1, 4 * time.Second, ""},
		{"a signal ends it for good", untilDone, []time.Duration{2 * time.Second}, "run drain drained stopped", 0, 2 * time.Second, ""},
		{"while it drains to stop it stops", untilDone, []time.Duration{time.Second / 2}, "run drain drained stopped", 0, 3500 * time.Millisecond, ""},
		{"what failed meanwhile does not begin anew", func(context.Context) error { time.Sleep(2 * time.Second); return errors.New("broken") }, nil, "run drain stopped drained", 0, 2 * time.Second, "broken"},
		{"what hangs does not begin anew", hang, nil, "run drain drained", 0, 9 * time.Second, "run of test did not end within 5s of being told to"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				causes := make(chan error, 1) // why the run was told to end
				f := &fake{drain: takes3s, run: func(ctx context.Context) error {
					err := tt.run(ctx)
					causes <- context.Cause(ctx)
					return err
				}}
				signals := make(chan os.Signal, 2)
				for _, at := range tt.signals {
					time.AfterFunc(at, func() { signals <- syscall.SIGTERM })
				}
				execs := 0
				began := time.Now()
				err := Run(t.Context(), Options{Name: "test", Signals: signals, Exec: func() error { execs++; return nil }}, func(p *Process) (Daemon, error) {
					time.AfterFunc(time.Second, func() {
						if err := errors.Join(p.Restart(), p.Restart()); err != nil {
							t.Error(err)
						}
					})
					return f, nil
				})
				took := time.Since(began)
				defer time.Sleep(2 * time.Hour)
				f.mu.Lock()
				calls := strings.Join(f.calls, " ")
				f.mu.Unlock()
				if one, other := "drained stopped", "stopped drained"; calls == strings.Replace(tt.calls, one, other, 1) || calls == strings.Replace(tt.calls, other, one, 1) {
					calls = tt.calls // in one instant of virtual time the order is the scheduler's
				}
				if calls != tt.calls || took != tt.took || execs != tt.execs || errText(err) != tt.err {
					t.Errorf("got %q after %v with %d execs and error %q; want %q after %v with %d, %q", calls, took, execs, errText(err), tt.calls, tt.took, tt.execs, tt.err)
				}
				if tt.execs > 0 {
					if cause := <-causes; !errors.Is(cause, ErrRestart) {
						t.Errorf("the run's end is because of %v", cause)
					}
				}
			})
		})
	}
	if err := (&Process{o: Options{Name: "test"}}).Restart(); err == nil {
		t.Error("a process that cannot restart says nothing")
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// The real signals of this process reach the daemon, and do not kill the test.
func TestRealSIGTERMDrains(t *testing.T) {
	f := &fake{run: untilDone, drain: func(context.Context) error { return nil }}
	f.run = func(ctx context.Context) error {
		if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
			return err
		}
		return untilDone(ctx)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := Run(ctx, Options{Name: "test"}, func(*Process) (Daemon, error) { return f, nil }); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"drain", "drained", "run", "stopped"}, slices.Sorted(slices.Values(f.calls))); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}

func TestReadyFileExistsExactlyWhileItServes(t *testing.T) {
	dir := t.TempDir()
	ready, state := filepath.Join(dir, "ready.json"), filepath.Join(dir, "state")
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	err := Run(t.Context(), Options{
		Name: "test", Node: "ams1", Ready: ready, State: state, Signals: make(chan os.Signal), Now: func() time.Time { return now },
	}, func(p *Process) (Daemon, error) {
		return &fake{run: func(context.Context) error {
			if _, err := ReadReady(ready); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("ready file before ready: got error %v, want none there", err)
			}
			p.Ready([]string{"127.0.0.1:4711"})
			p.Ready([]string{"127.0.0.1:1"}) // says nothing new
			got, err := ReadReady(ready)
			if err != nil {
				t.Error(err)
			}
			want := ReadyFile{Status: "ok", Node: "ams1", PID: os.Getpid(), Addrs: []string{"127.0.0.1:4711"}, State: state, Incarnation: uint64(now.Unix()), Since: now}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("ready file (-want +got):\n%s", diff)
			}
			return nil
		}}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*ready*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if s, err := OpenState(StateOptions{Dir: state}); err != nil {
		t.Errorf("state folder not given back: %v", err)
	} else {
		s.Close()
	}
}

func TestReadyFileOfASuccessorStays(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ready.json")
	if err := writeReady(path, ReadyFile{Status: "ok", PID: os.Getpid() + 1}); err != nil {
		t.Fatal(err)
	}
	if err := removeReady(path, os.Getpid()); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadReady(path); err != nil {
		t.Errorf("the ready file of another process is gone: %v", err)
	}
}

func TestExitStatus(t *testing.T) {
	start := func(d Daemon, err error) func(*Process) (Daemon, error) {
		return func(*Process) (Daemon, error) { return d, err }
	}
	fails := &fake{run: func(context.Context) error { return errors.New("bind 192.0.2.53:53: address already in use") }}
	locked := t.TempDir()
	holder, err := OpenState(StateOptions{Dir: locked})
	if err != nil {
		t.Fatal(err)
	}
	defer holder.Close()
	tests := []struct {
		name  string
		o     Options
		start func(*Process) (Daemon, error)
		code  int
		line  string
	}{
		{"done", Options{}, start(&fake{run: func(context.Context) error { return nil }}, nil), 0, ""},
		{"set-up wrong", Options{}, start(nil, errors.New(`unknown node "x"`)), 2, "test: unknown node \"x\"\n"},
		{"host cannot", Options{}, start(nil, &ExitError{CannotRun, errors.New("labs need Linux")}), 3, "test: labs need Linux\n"},
		{"port in use", Options{}, start(fails, nil), 2, "test: bind 192.0.2.53:53: address already in use\n"},
		{"failed later", Options{}, func(p *Process) (Daemon, error) {
			return &fake{run: func(context.Context) error { p.Ready(nil); return errors.New("disk full") }}, nil
		}, 1, "test: disk full\n"},
		{"state locked", Options{State: locked}, start(fails, nil), 2, "test: state directory \"" + locked + "\" is in use by process " + itoa(os.Getpid()) + "; stop that or choose another with --state DIR\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out strings.Builder
			tt.o.Name, tt.o.Signals, tt.o.Stderr = "test", make(chan os.Signal), &out
			if code := Main(t.Context(), tt.o, tt.start); code != tt.code {
				t.Errorf("exit status: got %d, want %d", code, tt.code)
			}
			if out.String() != tt.line {
				t.Errorf("stderr: got %q, want %q", out.String(), tt.line)
			}
		})
	}
}

func TestDrainFailureIsLogged(t *testing.T) {
	var out strings.Builder
	signals := make(chan os.Signal, 1)
	signals <- syscall.SIGINT
	f := &fake{run: untilDone, drain: func(context.Context) error { return errors.New("peer does not answer") }}
	err := Run(t.Context(), Options{Name: "test", Signals: signals, Logger: slog.New(slog.NewTextHandler(&out, nil))}, func(*Process) (Daemon, error) { return f, nil })
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), `msg="drain not finished" error="peer does not answer"`) {
		t.Errorf("log: got %q, want the drain's failure", out.String())
	}
}
