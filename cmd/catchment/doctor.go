package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/catchment-net/catchment/internal/daemon"
	"github.com/catchment-net/catchment/labs/doctor"
	"github.com/catchment-net/catchment/labs/netns"
	"github.com/catchment-net/catchment/labs/runner"
)

func (a *app) doctor() *cobra.Command {
	return a.jsonFlag(&cobra.Command{
		Use: "doctor", Short: "Say what this host can run, and the command that mends what it cannot", Args: cobra.NoArgs,
		Example: `  catchment doctor
  catchment doctor --json`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			self, err := os.Executable()
			if err != nil {
				return fmt.Errorf("find own binary: %w", err)
			}
			report := doctor.Examine(doctor.Collect(cmd.Context(), doctor.Options{StateRoot: runner.StateRoot(), Binary: self}))
			if a.json {
				err = a.printJSON(report)
			} else {
				_, err = report.WriteTo(a.out)
			}
			if err == nil && !report.CanRun() {
				return &daemon.ExitError{Code: daemon.CannotRun} // the report has said why
			}
			return err
		},
	})
}

// labTry is the child that tries what the netns runner needs. It is not for people: the runner and doctor start it.
func (a *app) labTry() *cobra.Command {
	return &cobra.Command{
		Use: "try", Short: "Try what a lab in network namespaces needs", Hidden: true, Args: cobra.NoArgs, Example: "  catchment lab try",
		RunE: func(*cobra.Command, []string) error { return netns.Try() },
	}
}
