package main

import (
	"context"
	"encoding/json"
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
	"github.com/catchment-net/catchment/labs/runner"
)

func (a *app) drill() *cobra.Command {
	cmd := &cobra.Command{
		Use: "drill", Short: "Break a lab on purpose and measure what its users notice", Example: "  catchment drill run kill-best-pop",
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.drillList(), a.drillRun())
	return cmd
}

func (a *app) drillList() *cobra.Command {
	return &cobra.Command{
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
			t := daemon.NewTable("DRILL", "WHAT IT SHOWS")
			for _, f := range files {
				text, err := os.ReadFile(f)
				if err != nil {
					return err
				}
				t.Row(strings.TrimSuffix(filepath.Base(f), ".yaml"), firstComment(text))
			}
			return a.print(t)
		},
	}
}

// firstComment is the sentence that opens a file.
func firstComment(text []byte) string {
	line, _, _ := strings.Cut(string(text), "\n")
	if !strings.HasPrefix(line, "#") {
		return ""
	}
	return strings.TrimSpace(strings.TrimLeft(line, "# "))
}

func (a *app) drillRun() *cobra.Command {
	var name, kind, report string
	var samples bool
	cmd := a.jsonFlag(&cobra.Command{
		Use: "run [LAB/]DRILL", Short: "Run a drill in the lab that is up, or in one of its own", Args: cobra.ExactArgs(1),
		Example: `  catchment drill run kill-best-pop                 # in the running lab, else in a quickstart of its own
  catchment drill run ./mylab/drills/cut.yaml --report out
  catchment drill run quickstart/drain-best-pop --json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := wantRunner(&kind); err != nil {
				return err
			}
			return a.runDrill(cmd.Context(), args[0], name, kind, report, samples)
		},
	})
	cmd.Flags().StringVar(&report, "report", "", "folder for report.json")
	cmd.Flags().BoolVar(&samples, "samples", false, "put every sample into the JSON")
	runnerFlag(cmd, &kind)
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

func (a *app) runDrill(ctx context.Context, arg, name, kind, reportDir string, samples bool) error {
	running, err := connect(name)
	if err != nil && (name != "" || !errors.Is(err, errNoLab)) {
		return err
	}
	labName, file, text, err := a.drillFile(arg, running)
	if err != nil {
		return err
	}
	var lab labs.Lab = running
	if running == nil {
		lab, err = a.ownLab(ctx, labName, kind, file, text)
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
	timeline := a.out
	if a.json {
		timeline = a.err
	}
	rep, err := drill.Run(ctx, lab, d, drill.Options{Out: timeline, Color: isTerminal(timeline)})
	if err != nil {
		if _, lacks := errors.AsType[*drill.LacksError](err); lacks {
			return &daemon.ExitError{Code: daemon.CannotRun, Err: err}
		}
		return err
	}
	if !samples {
		rep = rep.Trimmed()
	}
	if err := a.writeReport(rep, reportDir); err != nil {
		return err
	}
	if !rep.Pass {
		return &daemon.ExitError{Code: daemon.No}
	}
	return nil
}

// ownLab brings up a lab for one drill. The drill is read against its topology first, so that a mistake costs no time.
func (a *app) ownLab(ctx context.Context, labName, kind, file string, text []byte) (labs.Lab, error) {
	dir, label, cleanup, err := openLab(labName)
	if err != nil {
		return nil, err
	}
	defer cleanup() // the runner unpacks a copy of its own
	snap, err := control.Load(dir)
	if err != nil {
		return nil, err
	}
	if _, err := drill.Parse(file, text, snap.Topology); err != nil {
		return nil, err
	}
	line, hold, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make lifeline of the lab: %w", err)
	}
	name := fmt.Sprintf("%s-drill-%d", label, os.Getpid())
	if err := a.spawnRunner(ctx, order{lab: labName, name: name, runner: kind, lifeline: line, tell: a.err}); err != nil {
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

// ownedLab is a lab that ends with its drill, or with this process.
type ownedLab struct {
	*runner.Remote
	hold io.Closer
}

// Down ends the lab.
func (o ownedLab) Down(ctx context.Context) error {
	return errors.Join(o.Remote.Down(ctx), o.hold.Close())
}

func (a *app) writeReport(rep *drill.Report, dir string) error {
	if a.json {
		if err := a.printJSON(rep); err != nil {
			return err
		}
	}
	if dir == "" {
		return nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make report folder: %w", err)
	}
	text, err := json.MarshalIndent(rep, "", "  ")
	if err != nil {
		return fmt.Errorf("encode report: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "report.json"), append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}
