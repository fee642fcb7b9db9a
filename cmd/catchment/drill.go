package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/catchment-net/catchment/control"
	"github.com/catchment-net/catchment/internal/daemon"
	"github.com/catchment-net/catchment/labs"
	"github.com/catchment-net/catchment/labs/catalog"
	"github.com/catchment-net/catchment/labs/drill"
	"github.com/catchment-net/catchment/labs/report"
	"github.com/catchment-net/catchment/labs/runner"
)

func (a *app) drill() *cobra.Command {
	cmd := &cobra.Command{
		Use: "drill", Short: "Break a lab on purpose and measure what its users notice", Example: "  catchment drill run kill-best-pop",
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.drillList(), a.drillRun(), a.drillDiff())
	return cmd
}

// listedDrill is one drill of a lab.
type listedDrill struct {
	Name  string `json:"name"`
	About string `json:"about"` // its first comment
}

func (a *app) drillList() *cobra.Command {
	return a.jsonFlag(&cobra.Command{
		Use: "list [LAB|DIR]", Short: "List the drills of a lab", Args: cobra.MaximumNArgs(1), Example: "  catchment drill list quickstart",
		RunE: func(_ *cobra.Command, args []string) error {
			dir, _, cleanup, err := openLab(a.labArg(args))
			if err != nil {
				return err
			}
			defer cleanup()
			files, err := filepath.Glob(filepath.Join(dir, "drills", "*.yaml"))
			if err != nil {
				return err
			}
			list := []listedDrill{}
			t := daemon.NewTable("DRILL", "WHAT IT SHOWS")
			for _, f := range files {
				text, err := os.ReadFile(f)
				if err != nil {
					return err
				}
				d := listedDrill{strings.TrimSuffix(filepath.Base(f), ".yaml"), firstComment(text)}
				list = append(list, d)
				t.Row(d.Name, d.About)
			}
			if a.json {
				return a.printJSON(list)
			}
			return a.print(t)
		},
	})
}

// firstComment is the sentence that opens a file.
func firstComment(text []byte) string {
	line, _, _ := strings.Cut(string(text), "\n")
	if !strings.HasPrefix(line, "#") {
		return ""
	}
	return strings.TrimSpace(strings.TrimLeft(line, "# "))
}

// maxRepeat bounds --repeat: what is recorded is kept in memory.
const maxRepeat = 100

// drillWish is how a drill is to be run, and what to keep of it.
type drillWish struct {
	report  string // folder; "" for none
	samples bool
	repeat  int
	seed    uint64
	runner  string // of a lab of its own
	router  string // what routes there
}

func (a *app) drillRun() *cobra.Command {
	var name string
	var w drillWish
	cmd := a.jsonFlag(&cobra.Command{
		Use: "run [LAB/]DRILL", Short: "Run a drill in the lab that is up, or in one of its own", Args: cobra.ExactArgs(1),
		Example: `  catchment drill run kill-best-pop                 # in the running lab, else in a quickstart of its own
  catchment drill run ./mylab/drills/cut.yaml --report out
  catchment drill run quickstart/drain-best-pop --json
  catchment drill run kill-best-pop --repeat 5 --report out`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := errors.Join(wantRunner(&w.runner), wantRouter(w.runner, w.router)); err != nil {
				return err
			}
			if w.repeat < 1 || w.repeat > maxRepeat {
				return fmt.Errorf("--repeat %d: want 1 to %d", w.repeat, maxRepeat)
			}
			return a.runDrill(cmd.Context(), args[0], name, w)
		},
	})
	cmd.Flags().StringVar(&w.report, "report", "", "folder for report.json, report.md, junit.xml, samples.csv and events.jsonl")
	cmd.Flags().BoolVar(&w.samples, "samples", false, "put every sample into the JSON")
	cmd.Flags().IntVar(&w.repeat, "repeat", 1, "run it so often in the same lab; all must pass")
	cmd.Flags().Uint64Var(&w.seed, "seed", 0, "shifts when within its interval each client asks")
	runnerFlag(cmd, &w.runner)
	routerFlag(cmd, &w.router)
	return labFlag(cmd, &name)
}

// drillFile finds a drill: a file; LAB/DRILL of a shipped or named lab; or DRILL of the running lab, the current folder,
// or quickstart.
func (a *app) drillFile(arg string, running *runner.Remote) (lab, file string, text []byte, err error) {
	if text, err = os.ReadFile(arg); err == nil {
		abs, err := filepath.Abs(arg)
		if err != nil {
			return "", "", nil, err
		}
		return filepath.Dir(filepath.Dir(abs)), arg, text, nil
	}
	lab, drillName, found := strings.Cut(arg, "/")
	if !found {
		drillName, lab = arg, a.labArg(nil)
	}
	name := filepath.Join("drills", strings.TrimSuffix(drillName, ".yaml")+".yaml")
	if running != nil && !found {
		if text, err = running.File(name); err == nil {
			return "", name, text, nil
		}
	}
	if info, statErr := os.Stat(lab); statErr == nil && info.IsDir() {
		file = filepath.Join(lab, name)
		text, err = os.ReadFile(file)
	} else if slices.Contains(catalog.List(), lab) {
		var tree fs.FS
		if tree, err = catalog.Open(lab); err == nil {
			file = lab + "/" + name
			text, err = fs.ReadFile(tree, filepath.ToSlash(name))
		}
	} else {
		err = fmt.Errorf("lab %q is neither a folder nor shipped", lab)
	}
	if err != nil {
		return "", "", nil, fmt.Errorf("find drill %q: %w; `catchment drill list %s` shows what there is", arg, err, lab)
	}
	return lab, file, text, nil
}

// labOf is the lab that a drill's name says it is of: the folder that its file lies in, or LAB of LAB/DRILL; "" if it says
// nothing.
func labOf(arg string) string {
	if info, err := os.Stat(arg); err == nil && !info.IsDir() {
		return filepath.Dir(filepath.Dir(arg))
	}
	lab, _, found := strings.Cut(arg, "/")
	if !found {
		return ""
	}
	return lab
}

func (a *app) runDrill(ctx context.Context, arg, name string, w drillWish) error {
	running, err := connect(name)
	if err != nil && (name != "" || !errors.Is(err, errNoLab)) {
		return err
	}
	if name == "" && running != nil && !running.Is(labOf(arg)) {
		running = nil // a drill of one lab is not run in another that happens to be up
	}
	labName, file, text, err := a.drillFile(arg, running)
	if err != nil {
		return err
	}
	var lab labs.Lab = running
	if running == nil {
		lab, err = a.ownLab(ctx, labName, file, text, w)
		if err != nil {
			return err
		}
		defer func() {
			if err := lab.Down(context.WithoutCancel(ctx)); err != nil {
				fmt.Fprintln(a.err, "catchment:", err)
			}
		}()
	}
	d, err := drill.Parse(file, text, lab.Topology())
	if err != nil {
		return err
	}
	if err := hasProcesses(ctx, lab, d); err != nil {
		return err
	}
	timeline := a.out
	if a.json {
		timeline = a.err
	}
	runs, err := drill.Repeat(ctx, lab, d, drill.Options{Out: timeline, Color: isTerminal(timeline), Seed: w.seed}, w.repeat)
	if len(runs) > 0 { // also those before a run that came to no verdict
		err = errors.Join(err, a.writeReport(runs, w))
	}
	if err != nil {
		_, lacks := errors.AsType[*drill.LacksError](err)
		_, cannot := errors.AsType[*labs.CannotError](err)
		if lacks || cannot {
			return &daemon.ExitError{Code: daemon.CannotRun, Err: err}
		}
		return err
	}
	if !drill.Summarize(runs).Pass {
		return &daemon.ExitError{Code: daemon.No}
	}
	return nil
}

// ownLab brings up a lab for one drill. The drill is read against its topology first, so that a mistake costs no time.
func (a *app) ownLab(ctx context.Context, labName, file string, text []byte, w drillWish) (labs.Lab, error) {
	dir, label, cleanup, err := openLab(labName)
	if err != nil {
		return nil, err
	}
	defer cleanup() // the runner unpacks a copy of its own
	snap, err := control.Load(dir)
	if err != nil {
		return nil, err
	}
	d, err := drill.Parse(file, text, snap.Topology)
	if err != nil {
		return nil, err
	}
	line, hold, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make lifeline of the lab: %w", err)
	}
	name := fmt.Sprintf("%s-drill-%d", label, os.Getpid())
	if err := a.spawnRunner(ctx, order{lab: labName, name: name, runner: w.runner, router: w.router, split: breaksProcess(d), lifeline: line, tell: a.err}); err != nil {
		hold.Close()
		return nil, err
	}
	l, err := connect(name)
	if err != nil {
		hold.Close()
		return nil, err
	}
	return ownedLab{l, hold}, nil
}

// breaksProcess says whether a drill breaks one daemon of a node ("ams1/popd").
func breaksProcess(d *drill.Drill) bool {
	return slices.ContainsFunc(d.Steps, func(s drill.Step) bool { return strings.Contains(s.Fault.Subject, "/") })
}

// hasProcesses says, before anything is broken, that a drill breaks one daemon of a node and the lab that is up has no
// processes for them.
func hasProcesses(ctx context.Context, lab labs.Lab, d *drill.Drill) error {
	if !breaksProcess(d) {
		return nil
	}
	st, err := lab.Status(ctx)
	if err != nil {
		return fmt.Errorf("find the lab's processes: %w", err)
	}
	fix := "end it with `catchment lab down`: the drill then gets a lab of its own with a process for each daemon"
	if st.Runner == "containerlab" {
		fix = "use --runner local or netns, where the drill gets a lab with a process for each daemon"
	}
	for _, s := range d.Steps {
		subject := s.Fault.Subject
		if strings.Contains(subject, "/") && !slices.ContainsFunc(st.Nodes, func(n labs.NodeStatus) bool { return n.Name == subject }) {
			return &daemon.ExitError{Code: daemon.CannotRun, Err: &labs.CannotError{
				What: fmt.Sprintf("%s %q in lab %q, where each node is one process", s.Fault.Verb, subject, st.Name),
				Fix:  fix,
			}}
		}
	}
	return nil
}

// ownedLab is a lab that ends with its drill, or with this process.
type ownedLab struct {
	*runner.Remote
	hold io.Closer
}

// Down ends the lab.
func (o ownedLab) Down(ctx context.Context) error {
	return errors.Join(o.Remote.Down(ctx), o.hold.Close())
}

func (a *app) writeReport(runs []*drill.Report, w drillWish) error {
	if w.report != "" {
		if err := report.Write(w.report, runs, w.samples); err != nil {
			return err
		}
	}
	switch {
	case a.json:
		return report.JSON(a.out, runs, w.samples)
	case len(runs) > 1:
		return a.printSummary(drill.Summarize(runs))
	}
	return nil
}

// printSummary prints what several runs came to.
func (a *app) printSummary(s drill.Summary) error {
	t := daemon.NewTable("WINDOW", "EXPECTATION", "PASSED", "MIN", "MEDIAN", "WORST")
	for _, e := range s.Expectations {
		low, mid, worst := "", "", ""
		if n := e.Numbers; n != nil {
			low, mid, worst = report.Number(n.Min, e.Unit), report.Number(n.Median, e.Unit), report.Number(n.Worst, e.Unit)
		}
		t.Row(e.Window, e.Text, fmt.Sprintf("%d of %d", e.Passed, s.Runs), low, mid, worst)
	}
	fmt.Fprintf(a.out, "\n%s: %d of %d runs passed\n\n", s.Drill, s.Passed, s.Runs)
	return a.print(t)
}
