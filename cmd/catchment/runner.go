package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/catchment-net/catchment/containerlab"
	"github.com/catchment-net/catchment/control"
	"github.com/catchment-net/catchment/internal/daemon"
	"github.com/catchment-net/catchment/labs"
	"github.com/catchment-net/catchment/labs/local"
	"github.com/catchment-net/catchment/labs/netns"
	"github.com/catchment-net/catchment/labs/netns/kernel"
	"github.com/catchment-net/catchment/labs/router"
	"github.com/catchment-net/catchment/labs/runner"
	"github.com/catchment-net/catchment/topology"
)

// A lab lives in a process of its own, its runner, that the command which brings it up starts and leaves behind. It gets
// three kinds of descriptors:
//
//	3    takes its progress, one JSON object a line
//	4    the lifeline: the lab ends with it (a drill's own lab); /dev/null where the lab outlives its command
//	5 …  the access ports of its users, three each, for a runner that is not in the host's network
const (
	progressFile = 3
	lifelineFile = 4
	firstDoor    = 5
)

// runners are the ways to run a lab. `auto` is the one that works everywhere.
func runners() []string { return []string{"local", "netns", "containerlab"} }

func runnerFlag(cmd *cobra.Command, kind *string) {
	cmd.Flags().StringVar(kind, "runner", "auto", "how to run it: local (a process for each POP node, no rights needed), netns (a network namespace for each machine) or containerlab (a container for each machine); auto is local")
}

func routerFlag(cmd *cobra.Command, software *string) {
	cmd.Flags().StringVar(software, "router", "", "what routes where a runner has a choice: ours, frr or bird (default: what the topology says)")
}

// foreign is how people call the software of routers that others wrote.
var foreign = map[string]string{topology.FRR: "FRR", topology.BIRD: "BIRD"} //nolint:gochecknoglobals // a constant table

// wantRouter checks the wanted software of the routers.
func wantRouter(kind, software string) error {
	if software != "" && software != topology.Ours && software != topology.FRR && software != topology.BIRD {
		return fmt.Errorf("router %q: want %s, %s or %s", software, topology.Ours, topology.FRR, topology.BIRD)
	}
	if name := foreign[software]; name != "" && kind == "local" {
		return &labs.CannotError{What: "run " + name + " in a local lab, whose routers are in the runner", Fix: "use --runner netns"}
	}
	return nil
}

// wantRunner checks the wanted runner and puts a real one in the place of `auto`.
func wantRunner(kind *string) error {
	if *kind == "auto" {
		*kind = "local"
	}
	if !slices.Contains(runners(), *kind) {
		return fmt.Errorf("runner %q: want auto, %s", *kind, strings.Join(runners(), " or "))
	}
	var err error
	switch *kind {
	case "netns":
		self, exeErr := os.Executable()
		if exeErr != nil {
			return fmt.Errorf("find own binary: %w", exeErr)
		}
		err = netns.Able(self)
	case "containerlab":
		err = containerlab.Able(context.Background())
	}
	if err != nil {
		return &daemon.ExitError{Code: daemon.CannotRun, Err: err}
	}
	return nil
}

// order is a lab to be brought up.
type order struct {
	lab, name, runner string
	router            string   // what routes where a runner has a choice; "" leaves it to the topology
	split             bool     // a node's daemons are processes of their own, as a drill wants that breaks one of them
	lifeline          *os.File // the lab ends when the other end of this pipe closes; nil lets it outlive this process
	tell              io.Writer
}

// spawnRunner starts the lab's runner in the background and waits until it is up, showing its progress.
func (a *app) spawnRunner(ctx context.Context, o order) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find own binary: %w", err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("make progress pipe: %w", err)
	}
	defer r.Close()
	defer w.Close()
	cmd := exec.Command(self, "lab", "serve", o.lab, "--name", o.name, "--runner", o.runner, "--router", o.router, "--root", runner.StateRoot()) //nolint:noctx // it outlives this command
	if o.split {
		cmd.Args = append(cmd.Args, "--split")
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	line := o.lifeline
	if line == nil {
		if line, err = os.Open(os.DevNull); err != nil {
			return err
		}
	}
	files := []*os.File{w, line}
	if o.runner == "netns" {
		doors, err := doorFiles(o.lab)
		if err != nil {
			return err
		}
		files = append(files, doors...)
		netns.Isolate(cmd)
	}
	cmd.ExtraFiles = files
	err = cmd.Start()
	for _, f := range files {
		f.Close()
	}
	if err != nil {
		return fmt.Errorf("start runner: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Signal(syscall.SIGTERM) })
	defer stop()
	return a.awaitRunner(ctx, cmd, r, o)
}

// doorFiles opens the access ports for the users of a lab.
func doorFiles(lab string) ([]*os.File, error) {
	dir, _, cleanup, err := openLab(lab)
	if err != nil {
		return nil, err
	}
	defer cleanup()
	snap, err := control.Load(dir)
	if err != nil {
		return nil, err
	}
	doors, err := runner.OpenDoors(users(snap.Topology), 0)
	if err != nil {
		return nil, err
	}
	return runner.Files(doors)
}

func users(t *topology.Topology) int {
	n := 0
	for _, net := range t.Internet.Networks {
		if net.Users > 0 {
			n++
		}
	}
	return n
}

// awaitRunner shows a runner's progress until it is up.
func (a *app) awaitRunner(ctx context.Context, cmd *exec.Cmd, r io.Reader, o order) error {
	dec := json.NewDecoder(r)
	for {
		var p progress
		if err := dec.Decode(&p); err != nil {
			break
		}
		switch {
		case p.Up:
			return cmd.Process.Release()
		case p.Error != "":
			_ = cmd.Wait()
			if p.Raw {
				fmt.Fprint(a.err, p.Error)
				return &daemon.ExitError{Code: p.Code}
			}
			return &daemon.ExitError{Code: p.Code, Err: errors.New(p.Error)}
		default:
			fmt.Fprintln(o.tell, p.Line)
		}
	}
	_ = cmd.Wait() // how it ended is in ProcessState
	if ctx.Err() != nil {
		return &daemon.ExitError{Code: daemon.No, Err: fmt.Errorf("lab %q was interrupted while coming up; nothing is left of it", o.name)}
	}
	return fmt.Errorf("the lab's runner ended before the lab was up (%v); run `catchment lab serve %s` to see why", cmd.ProcessState, o.lab)
}

// progress is what a runner tells the command that started it.
type progress struct {
	Line  string `json:"line,omitempty"`
	Up    bool   `json:"up,omitempty"`
	Error string `json:"error,omitempty"`
	Raw   bool   `json:"raw,omitempty"` // Error is rendered already
	Code  int    `json:"code,omitempty"`
}

// labServe is the runner's process. It is not for people: `lab up` starts it.
func (a *app) labServe() *cobra.Command {
	var o order
	var root string
	cmd := &cobra.Command{
		Use: "serve LAB|DIR", Short: "Run a lab in the foreground", Hidden: true, Args: cobra.ExactArgs(1), Example: "  catchment lab serve quickstart",
		RunE: func(cmd *cobra.Command, args []string) error {
			signal.Ignore(syscall.SIGHUP) // the terminal that said `lab up` may close
			o.lab = args[0]
			tell := func(p progress) { fmt.Fprintln(a.out, p.Line) }
			ctx, end := context.WithCancel(cmd.Context())
			defer end()
			if pipe := inherited(progressFile); pipe != nil {
				enc := json.NewEncoder(pipe)
				tell = func(p progress) { _ = enc.Encode(p) }
				if line := inherited(lifelineFile); line != nil {
					go func() {
						_, _ = io.Copy(io.Discard, line)
						end()
					}()
				}
			}
			err := a.serveLab(ctx, o, root, tell)
			if err != nil {
				var text strings.Builder
				b := &app{err: &text}
				code := b.report(err)
				tell(progress{Error: text.String(), Raw: true, Code: code})
			}
			return err
		},
	}
	cmd.Flags().StringVar(&o.name, "name", "", "what to call this lab")
	cmd.Flags().StringVar(&o.runner, "runner", "local", "how to run it")
	cmd.Flags().BoolVar(&o.split, "split", false, "run a node's daemons as processes of their own")
	routerFlag(cmd, &o.router)
	cmd.Flags().StringVar(&root, "root", runner.StateRoot(), "the folder of the labs' run-time files")
	return cmd
}

// inherited is a pipe that the command which started this process left open, or nil.
func inherited(fd uintptr) *os.File {
	pipe := os.NewFile(fd, "inherited")
	if pipe == nil {
		return nil
	}
	if info, err := pipe.Stat(); err != nil || info.Mode()&os.ModeNamedPipe == 0 {
		return nil
	}
	syscall.CloseOnExec(int(fd))
	return pipe
}

// upLab is a lab that this process runs.
type upLab interface {
	labs.Lab
	Serve(ctx context.Context, ready func()) error
}

// downWithin bounds the end of a lab; fifty containers take ten seconds.
const downWithin = time.Minute

// serveLab brings a lab up, serves it until its end, and takes everything away again.
func (a *app) serveLab(ctx context.Context, o order, root string, tell func(progress)) error {
	dir, label, remove, err := openLab(o.lab)
	if err != nil {
		return err
	}
	defer remove()
	if o.name == "" {
		o.name = label
	}
	l, err := a.upLab(ctx, o, dir, root, func(line string) { tell(progress{Line: line}) })
	if err != nil {
		return err
	}
	err = l.Serve(ctx, func() { tell(progress{Up: true}) })
	down, cancel := context.WithTimeout(context.WithoutCancel(ctx), downWithin)
	defer cancel()
	return errors.Join(err, l.Down(down))
}

func (a *app) upLab(ctx context.Context, o order, dir, root string, tell func(string)) (upLab, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find own binary: %w", err)
	}
	log := slog.New(slog.NewTextHandler(a.err, &slog.HandlerOptions{Level: slog.LevelWarn}))
	switch o.runner {
	case "containerlab":
		if o.split {
			err := &labs.CannotError{What: "break one daemon of a node in containers, whose nodes are one process each", Fix: "use --runner local"}
			return nil, &daemon.ExitError{Code: daemon.CannotRun, Err: err}
		}
		return containerlab.Up(ctx, containerlab.RunOptions{Dir: dir, Name: o.name, Root: root, Router: o.router, Progress: tell, Logger: log})
	case "netns":
		if err := netns.Settle(); err != nil {
			return nil, err
		}
		doors, err := inheritedDoors()
		if err != nil {
			return nil, err
		}
		return netns.Up(ctx, netns.Options{Dir: dir, Name: o.name, Root: root, Binary: self, Doors: doors, Router: o.router, Split: o.split, Progress: tell, Logger: log})
	}
	return local.Up(ctx, local.Options{Dir: dir, Name: o.name, Root: root, Binary: self, Split: o.split, Progress: tell, Logger: log})
}

// inheritedDoors takes over the sockets that doorFiles opened.
func inheritedDoors() ([]runner.Doors, error) {
	var files []*os.File
	for fd := uintptr(firstDoor); ; fd++ {
		f := os.NewFile(fd, "door")
		info, err := f.Stat()
		if err != nil || info.Mode()&os.ModeSocket == 0 {
			break
		}
		syscall.CloseOnExec(int(fd))
		files = append(files, f)
	}
	return runner.TakeDoors(files)
}

// labRouter is the process of a router on a machine of its own. It is not for people: a lab's runner starts it.
func (a *app) labRouter() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use: "router --file FILE", Short: "Run one router of a lab", Hidden: true, Args: cobra.NoArgs, Example: "  catchment lab router --file arc.json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			f, err := router.ReadFile(file)
			if err != nil {
				return err
			}
			return router.RunMachine(cmd.Context(), f, slog.New(slog.NewTextHandler(a.err, &slog.HandlerOptions{Level: slog.LevelWarn})))
		},
	}
	cmd.Flags().StringVar(&file, "file", "", "what the runner wrote for it")
	return cmd
}

// labHold is the first process among those of a lab. It is not for people: a lab's runner starts it.
func (a *app) labHold() *cobra.Command {
	return &cobra.Command{
		Use: "hold", Short: "Hold the processes of a lab together", Hidden: true, Args: cobra.NoArgs, Example: "  catchment lab hold",
		RunE: func(*cobra.Command, []string) error { return kernel.Hold(os.Stdin, a.out) },
	}
}
