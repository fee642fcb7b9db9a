package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/catchment-net/catchment/internal/daemon"
	"github.com/catchment-net/catchment/labs"
	"github.com/catchment-net/catchment/labs/catalog"
	"github.com/catchment-net/catchment/labs/local"
	"github.com/catchment-net/catchment/labs/runner"
	"github.com/catchment-net/catchment/topology"
)

func (a *app) lab() *cobra.Command {
	cmd := &cobra.Command{
		Use: "lab", Short: "Bring a topology up on this machine, look at it, end it",
		Example: `  catchment lab up quickstart
  catchment lab status
  catchment lab down`,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.labList(), a.labUp(), a.labServe(), a.labStatus(), a.labExec(), a.labDown())
	return cmd
}

func (a *app) labList() *cobra.Command {
	return a.jsonFlag(&cobra.Command{
		Use: "list", Short: "List the labs that are shipped and those that are up", Args: cobra.NoArgs, Example: "  catchment lab list",
		RunE: func(*cobra.Command, []string) error {
			up := runner.Running(runner.StateRoot())
			if a.json {
				return a.printJSON(map[string][]string{"shipped": catalog.List(), "up": up})
			}
			t := daemon.NewTable("LAB", "SHIPPED", "UP")
			names := append(slices.Clone(catalog.List()), up...)
			slices.Sort(names)
			for _, n := range slices.Compact(names) {
				t.Row(n, yes(slices.Contains(catalog.List(), n)), yes(slices.Contains(up, n)))
			}
			return a.print(t)
		},
	})
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "-"
}

// labArg is the lab that a command means: the one named, else the current folder if it is one, else quickstart.
func (a *app) labArg(args []string) string {
	if len(args) > 0 {
		return args[0]
	}
	if _, err := os.Stat(filepath.Join(a.dir, "topology.yaml")); err == nil {
		return a.dir
	}
	return "quickstart"
}

func (a *app) labUp() *cobra.Command {
	var name, kind string
	cmd := &cobra.Command{
		Use: "up [LAB|DIR]", Short: "Bring a lab up and return when every client is served", Args: cobra.MaximumNArgs(1),
		Example: `  catchment lab up quickstart
  catchment lab up ./mylab --name second`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := wantLocal(kind); err != nil {
				return err
			}
			lab := a.labArg(args)
			if name == "" {
				name = filepath.Base(lab)
				if abs, err := filepath.Abs(lab); err == nil {
					name = filepath.Base(abs)
				}
			}
			if err := a.spawnRunner(cmd.Context(), lab, name); err != nil {
				return err
			}
			return a.showStatus(cmd.Context(), name)
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "what to call this lab (default: the folder's name)")
	runnerFlag(cmd, &kind)
	return cmd
}

func runnerFlag(cmd *cobra.Command, kind *string) {
	cmd.Flags().StringVar(kind, "runner", "auto", "how to run it: auto or local (a process for each POP node, no rights needed)")
}

func wantLocal(kind string) error {
	switch kind {
	case "auto", "local":
		return nil
	case "netns", "containerlab":
		return &daemon.ExitError{Code: daemon.CannotRun, Err: fmt.Errorf("runner %q is not part of this version; use --runner local", kind)}
	}
	return fmt.Errorf("runner %q: want auto or local", kind)
}

// spawnRunner starts the lab's runner in the background and waits until it is up, showing its progress.
func (a *app) spawnRunner(ctx context.Context, lab, name string) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find own binary: %w", err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("make progress pipe: %w", err)
	}
	defer r.Close()
	cmd := exec.Command(self, "lab", "serve", lab, "--name", name) //nolint:noctx // it outlives this command
	cmd.ExtraFiles = []*os.File{w}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		w.Close()
		return fmt.Errorf("start runner: %w", err)
	}
	w.Close()
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Signal(syscall.SIGTERM) })
	defer stop()
	up := false
	dec := json.NewDecoder(r)
	for {
		var p progress
		if err := dec.Decode(&p); err != nil {
			break
		}
		switch {
		case p.Up:
			up = true
		case p.Error != "":
			_ = cmd.Wait()
			if p.Raw {
				fmt.Fprint(a.err, p.Error)
				return &daemon.ExitError{Code: p.Code}
			}
			return &daemon.ExitError{Code: p.Code, Err: errors.New(p.Error)}
		default:
			fmt.Fprintln(a.out, p.Line)
		}
		if up {
			return cmd.Process.Release()
		}
	}
	_ = cmd.Wait() // how it ended is in ProcessState
	if ctx.Err() != nil {
		return &daemon.ExitError{Code: daemon.No, Err: fmt.Errorf("lab %q was interrupted while coming up; nothing is left of it", name)}
	}
	return fmt.Errorf("the lab's runner ended before the lab was up (%v); run `catchment lab serve %s` to see why", cmd.ProcessState, lab)
}

// progress is what a runner tells the command that started it, one JSON object a line on descriptor 3.
type progress struct {
	Line  string `json:"line,omitempty"`
	Up    bool   `json:"up,omitempty"`
	Error string `json:"error,omitempty"`
	Raw   bool   `json:"raw,omitempty"` // Error is rendered already
	Code  int    `json:"code,omitempty"`
}

// labServe is the runner's process. It is not for people: `lab up` starts it.
func (a *app) labServe() *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use: "serve LAB|DIR", Short: "Run a lab in the foreground", Hidden: true, Args: cobra.ExactArgs(1), Example: "  catchment lab serve quickstart",
		RunE: func(cmd *cobra.Command, args []string) error {
			signal.Ignore(syscall.SIGHUP) // the terminal that said `lab up` may close
			tell := func(p progress) { fmt.Fprintln(a.out, p.Line) }
			if pipe := os.NewFile(3, "progress"); pipe != nil {
				if info, err := pipe.Stat(); err == nil && info.Mode()&os.ModeNamedPipe != 0 {
					syscall.CloseOnExec(3)
					enc := json.NewEncoder(pipe)
					tell = func(p progress) { _ = enc.Encode(p) }
				}
			}
			err := a.serveLab(cmd.Context(), args[0], name, tell)
			if err != nil {
				var text strings.Builder
				b := &app{err: &text}
				code := b.report(err)
				tell(progress{Error: text.String(), Raw: true, Code: code})
			}
			return err
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "what to call this lab")
	return cmd
}

func (a *app) serveLab(ctx context.Context, lab, name string, tell func(progress)) error {
	l, cleanup, err := a.bringUp(ctx, lab, name, func(line string) { tell(progress{Line: line}) })
	if err != nil {
		return err
	}
	defer cleanup()
	return l.Serve(ctx, func() { tell(progress{Up: true}) })
}

// bringUp brings a lab up in this process; cleanup takes everything away again.
func (a *app) bringUp(ctx context.Context, lab, name string, tell func(string)) (*local.Lab, func(), error) {
	dir, label, remove, err := openLab(lab)
	if err != nil {
		return nil, nil, err
	}
	if name == "" {
		name = label
	}
	self, err := os.Executable()
	if err != nil {
		remove()
		return nil, nil, fmt.Errorf("find own binary: %w", err)
	}
	l, err := local.Up(ctx, local.Options{
		Dir: dir, Name: name, Root: runner.StateRoot(), Binary: self, Progress: tell,
		Logger: slog.New(slog.NewTextHandler(a.err, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err != nil {
		remove()
		return nil, nil, err
	}
	return l, func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		if err := l.Down(ctx); err != nil {
			fmt.Fprintln(a.err, "catchment:", err)
		}
		remove()
	}, nil
}

// connect reaches a lab that is up: the one named, else the only one.
func connect(name string) (*runner.Remote, error) {
	if name == "" {
		up := runner.Running(runner.StateRoot())
		switch len(up) {
		case 1:
			name = up[0]
		case 0:
			return nil, errNoLab
		default:
			return nil, fmt.Errorf("several labs are up (%s); say which with --lab NAME", strings.Join(up, ", "))
		}
	}
	return runner.Connect(runner.StateRoot(), name)
}

var errNoLab = errors.New("no lab is up; `catchment lab up quickstart` brings one")

func labFlag(cmd *cobra.Command, name *string) *cobra.Command {
	cmd.Flags().StringVar(name, "lab", "", "which lab, if several are up")
	return cmd
}

func (a *app) labStatus() *cobra.Command {
	var name string
	cmd := a.jsonFlag(&cobra.Command{
		Use: "status", Short: "Show a lab's nodes, where every client lands, and lines to paste", Args: cobra.NoArgs, Example: "  catchment lab status",
		RunE: func(cmd *cobra.Command, _ []string) error { return a.showStatus(cmd.Context(), name) },
	})
	return labFlag(cmd, &name)
}

func (a *app) showStatus(ctx context.Context, name string) error {
	l, err := connect(name)
	if err != nil {
		return err
	}
	st, err := l.Status(ctx)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(st)
	}
	return a.printLab(st, l.Topology(), l.Hosts())
}

// printLab prints the two tables of a lab, and what to paste next.
func (a *app) printLab(st *labs.Status, t *topology.Topology, hosts []string) error {
	fmt.Fprintf(a.out, "\nlab %s (%s runner), files in %s\n\n", st.Name, st.Runner, st.State)
	nodes := daemon.NewTable("POP", "NODE", "STATE", "PID", "MEMORY", "ADMIN SOCKET")
	for _, n := range st.Nodes {
		nodes.Row(n.POP, n.Name, n.State, fmt.Sprint(n.PID), mebibytes(n.Pss), n.Admin)
	}
	if err := a.print(nodes); err != nil {
		return err
	}
	fmt.Fprintln(a.out)
	clients := daemon.NewTable("CLIENT", "CITY", "USERS", "BGP TAKES IT TO", "HTTP", "DNS")
	for _, c := range st.Clients {
		clients.Row(c.Name, c.City, fmt.Sprintf("%g", c.Users), landing(c.Lands), c.HTTP, c.DNS)
	}
	if err := a.print(clients); err != nil {
		return err
	}
	if len(st.Clients) == 0 || len(hosts) == 0 {
		return nil
	}
	user, other := examples(st.Clients, t)
	_, port, _ := strings.Cut(user.DNS, ":")
	lines := [][2]string{
		{"curl -i http://" + user.HTTP + "/", hosts[0] + " as " + user.City + " sees it; again for a hit"},
		{fmt.Sprintf("dig @127.0.0.1 -p %s %s", port, hosts[0]), "the POP for " + user.City + " …"},
	}
	if other != nil {
		lines = append(lines, [2]string{fmt.Sprintf("dig @127.0.0.1 -p %s %s +subnet=%v", port, hosts[0], other.Prefixes[0]), "… and for " + other.Name})
	}
	lines = append(lines,
		[2]string{"catchment status", "what a node sees of the fleet"},
		[2]string{"catchment bgp rib", "what it announces and hears"},
		[2]string{"catchment drill list", "what can be broken, and measured"},
		[2]string{"catchment lab down", "end it, leave nothing"},
	)
	return a.paste(lines)
}

// examples picks a user whose POP is not a shield, so that both tiers show, and another network that BGP takes
// elsewhere; nil if there is none.
func examples(clients []labs.ClientStatus, t *topology.Topology) (user labs.ClientStatus, other *topology.Network) {
	user = clients[0]
	for _, c := range clients {
		if pop := t.POP(landing(c.Lands)); pop != nil && !pop.Shield {
			user = c
			break
		}
	}
	for _, c := range clients {
		if n := t.Network(c.Name); landing(c.Lands) != landing(user.Lands) && n != nil && len(n.Prefixes) > 0 {
			return user, n
		}
	}
	return user, nil
}

// paste prints command lines with what each shows, aligned.
func (a *app) paste(lines [][2]string) error {
	width := 0
	for _, l := range lines {
		width = max(width, len(l[0]))
	}
	for _, l := range append([][2]string{{"", ""}}, lines...) {
		text := strings.TrimRight(fmt.Sprintf("%-*s   # %s", width, l[0], l[1]), " #")
		if _, err := fmt.Fprintln(a.out, text); err != nil {
			return err
		}
	}
	return nil
}

// landing writes where the anycast prefixes lead: one word where they agree.
func landing(lands map[string]string) string {
	var words []string
	for _, pop := range lands {
		if pop == "" {
			pop = "nowhere"
		}
		words = append(words, pop)
	}
	slices.Sort(words)
	return strings.Join(slices.Compact(words), " and ")
}

func mebibytes(b int64) string {
	if b == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f MiB", float64(b)/(1<<20))
}

func (a *app) labExec() *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use: "exec NODE -- CMD [ARG …]", Short: "Run a command beside a node, with CATCHMENT_ADMIN naming its socket", Args: cobra.MinimumNArgs(2),
		Example: "  catchment lab exec ams1 -- catchment status",
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := connect(name)
			if err != nil {
				return err
			}
			err = l.Exec(cmd.Context(), args[0], args[1:], a.out, a.err)
			if exit, ok := errors.AsType[runner.ExitCode](err); ok { // the command has said why
				return &daemon.ExitError{Code: exit.ExitCode()}
			}
			return err
		},
	}
	return labFlag(cmd, &name)
}

func (a *app) labDown() *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use: "down", Short: "End a lab and remove everything it left", Args: cobra.NoArgs, Example: "  catchment lab down",
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := connect(name)
			if err != nil {
				return err
			}
			if err := l.Down(cmd.Context()); err != nil {
				return err
			}
			_, err = fmt.Fprintln(a.out, "lab is down; nothing is left of it")
			return err
		},
	}
	return labFlag(cmd, &name)
}
