// Command catchment is an anycast and GeoDNS routing stack with cache nodes: daemons, labs, drills and the commands to
// operate them. It holds flags, the environment and signals; everything else is in the packages that it calls.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/catchment-net/catchment/internal/daemon"
	"github.com/catchment-net/catchment/labs"
)

// version is set by the linker: -X main.version=…
var version = "devel" //nolint:gochecknoglobals // the linker can set nothing else

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// app is what every command needs.
type app struct {
	out, err io.Writer
	dir      string // -c
	json     bool   // --json, where a command prints data
}

func run(args []string, _ io.Reader, stdout, stderr io.Writer) int {
	a := &app{out: stdout, err: stderr}
	root := a.root()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	// Commands that end by themselves stop at the first signal; daemons handle theirs in internal/daemon.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	return a.report(root.ExecuteContext(ctx))
}

// report prints what went wrong, once, in the way that its kind asks for, and returns the exit status.
func (a *app) report(err error) int {
	if err == nil {
		return daemon.Done
	}
	var silent *daemon.ExitError
	if errors.As(err, &silent) && silent.Err == nil {
		return silent.Code // said already
	}
	code := daemon.BadInput
	if errors.Is(err, context.Canceled) {
		code = daemon.No // interrupted: nothing was wrong with what was asked
	}
	if _, cannot := errors.AsType[*labs.CannotError](err); cannot {
		code = daemon.CannotRun
	}
	return daemon.Report(a.err, "catchment", daemon.WithCode(code, err))
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "catchment",
		Short: "Anycast and GeoDNS steering with caches at the POPs, and labs to rehearse their failures",
		Example: `  catchment lab up quickstart          # three POPs, six client cities, one origin, on this machine
  catchment drill run kill-best-pop    # kill the POP that serves Berlin, and measure what its users notice
  catchment check .                    # read topology.yaml, sites/ and zones/ and report every mistake`,
		SilenceUsage:      true,
		SilenceErrors:     true,
		DisableAutoGenTag: true,
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.PersistentFlags().StringVarP(&a.dir, "config", "c", ".", "the folder with topology.yaml, sites/, zones/, drills/")
	root.AddCommand(
		a.check(), a.diff(), a.apply(),
		a.node(), a.dnsd(), a.popd(), a.bgpd(),
		a.lab(), a.drill(),
		a.status(), a.drain(), a.undrain(), a.restart(), a.bgp(), a.explain(), a.purge(),
		a.geodata(), a.keys(), a.schema(), a.doctor(), a.version(),
	)
	refuseUnknown(root)
	return root
}

// refuseUnknown makes every group of commands refuse a word that it does not know; cobra would print the help and say
// that all went well.
func refuseUnknown(cmd *cobra.Command) {
	for _, sub := range cmd.Commands() {
		refuseUnknown(sub)
	}
	if !cmd.HasSubCommands() {
		return
	}
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		hint := ""
		cmd.SuggestionsMinimumDistance = 2
		if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
			hint = "; did you mean " + strings.Join(near, " or ") + "?"
		}
		return fmt.Errorf("unknown command %q for %q%s", args[0], cmd.CommandPath(), hint)
	}
}

// jsonFlag adds --json to a command that prints data.
func (a *app) jsonFlag(cmd *cobra.Command) *cobra.Command {
	cmd.Flags().BoolVar(&a.json, "json", false, "print JSON")
	return cmd
}

func (a *app) version() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs, Example: "  catchment version",
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(a.out, "catchment", version)
			return err
		},
	}
}
