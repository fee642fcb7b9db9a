package main

import (
	"fmt"
	"math"
	"time"

	"github.com/spf13/cobra"

	"github.com/catchment-net/catchment/internal/daemon"
	"github.com/catchment-net/catchment/labs/report"
)

func (a *app) drillDiff() *cobra.Command {
	var percent float64
	var least time.Duration
	var all bool
	cmd := a.jsonFlag(&cobra.Command{
		Use: "diff OLD NEW", Short: "Say what is worse in a drill's new report than in its old one", Args: cobra.ExactArgs(2),
		Long: `Say what is worse in a drill's new report than in its old one. OLD and NEW are folders of ` + "`drill run --report`" + `, or their
report.json. An expectation that passed and fails now is a regression (exit status 1), and so is a time that is worse by
more than the tolerance and by more than the slack. Of repeated runs the medians are compared.`,
		Example: "  catchment drill diff before after --tolerance 20 --slack 50ms",
		RunE: func(_ *cobra.Command, args []string) error {
			if math.IsNaN(percent) || percent < 0 || least < 0 {
				return fmt.Errorf("--tolerance %v, --slack %v: want no less than 0", percent, least)
			}
			before, err := report.Read(args[0])
			if err != nil {
				return err
			}
			after, err := report.Read(args[1])
			if err != nil {
				return err
			}
			d, err := report.Compare(before, after, report.Tolerance{Share: percent / 100, Time: least})
			if err != nil {
				return err
			}
			if err := a.printDifference(d, all); err != nil {
				return err
			}
			if d.Regression {
				return &daemon.ExitError{Code: daemon.No}
			}
			return nil
		},
	})
	cmd.Flags().Float64Var(&percent, "tolerance", 20, "percent by which a time may be worse")
	cmd.Flags().DurationVar(&least, "slack", 50*time.Millisecond, "time by which a time may be worse, whatever its percentage")
	cmd.Flags().BoolVar(&all, "all", false, "print what is within the tolerance, too")
	return cmd
}

func (a *app) printDifference(d *report.Difference, all bool) error {
	if a.json {
		return a.printJSON(d)
	}
	t := daemon.NewTable("CHANGE", "WHAT", "NAME", "OLD", "NEW")
	within := 0
	for _, r := range d.Rows {
		if r.Change == "" && !all {
			within++
			continue
		}
		t.Row(r.Change, r.What, r.Name, r.Old, r.New)
	}
	if within < len(d.Rows) {
		if err := a.print(t); err != nil {
			return err
		}
	}
	word := "no regression"
	if d.Regression {
		word = "REGRESSION"
	}
	fmt.Fprintf(a.out, "%s: %s; %d of %d figures are the same within the tolerance\n", d.Drill, word, unchanged(d), len(d.Rows))
	return nil
}

func unchanged(d *report.Difference) int {
	n := 0
	for _, r := range d.Rows {
		if r.Change == "" {
			n++
		}
	}
	return n
}
