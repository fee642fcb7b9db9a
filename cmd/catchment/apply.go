package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/catchment-net/catchment/control"
	"github.com/catchment-net/catchment/internal/daemon"
	"github.com/catchment-net/catchment/node"
)

func (a *app) apply() *cobra.Command {
	var t target
	var force bool
	cmd := a.jsonFlag(&cobra.Command{
		Use: "apply", Short: "Have a node read its configuration now, and say what that changes", Args: cobra.NoArgs,
		Example: `  catchment apply              # what the node would do by itself within a second
  catchment apply --force      # also a change that withdraws prefixes from more POPs than may lose them at once: here alone`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := t.client(cmd.Context())
			if err != nil {
				return err
			}
			var result node.Applied
			if err := c.Post(cmd.Context(), "/v1/apply", node.ApplyRequest{Force: force}, &result); err != nil {
				return refused(err)
			}
			if a.json {
				err = a.printJSON(result)
			} else {
				a.printChange(result.Change)
				a.printBadZones(result.BadZones)
				_, err = fmt.Fprintf(a.out, "%s: configuration %.12s is %s\n", result.Node, result.Digest, result.State)
			}
			if err == nil && result.State == "held" {
				err = &daemon.ExitError{Code: daemon.No, Err: errors.New(result.Why + "; what was in force stays so until --force")}
			}
			if bad := len(result.BadZones); err == nil && bad > 0 {
				err = &daemon.ExitError{Code: daemon.No, Err: fmt.Errorf("%d zones are not served as their files say; mend them, `catchment check` shows all mistakes", bad)}
			}
			return err
		},
	})
	cmd.Flags().BoolVar(&force, "force", false, "although it withdraws prefixes from more POPs than may lose them at once; on this node alone")
	return targetFlags(cmd, &t)
}

// difference is what diff prints.
type difference struct {
	control.Change
	Held string `json:"held,omitempty"` // why running nodes would not take it without --force
}

func (a *app) diff() *cobra.Command {
	return a.jsonFlag(&cobra.Command{
		Use: "diff OLD NEW", Short: "Say what a change of the configuration does to routes, answers and caches", Args: cobra.ExactArgs(2),
		Example: "  catchment diff /etc/catchment ./next",
		RunE: func(_ *cobra.Command, args []string) error {
			was, err := control.Load(args[0])
			if err != nil {
				return err
			}
			is, err := control.Load(args[1])
			if err != nil {
				return err
			}
			d := difference{control.Diff(was, is), control.TooMuch(was.Topology, is.Topology)}
			if a.json {
				return a.printJSON(d)
			}
			if d.Empty() {
				_, err = fmt.Fprintln(a.out, "nothing changes")
				return err
			}
			a.printChange(d.Change)
			if d.Held != "" {
				_, err = fmt.Fprintf(a.out, "HELD by running nodes until `catchment apply --force`: %s\n", d.Held)
			}
			return err
		},
	})
}

// printChange prints one line for each thing that comes (+) or goes (-), two for one that changes.
func (a *app) printChange(c control.Change) {
	for _, part := range []struct {
		name string
		all  []control.Difference
	}{{"routes", c.Routes}, {"answers", c.Answers}, {"caches", c.Caches}} {
		if len(part.all) == 0 {
			continue
		}
		fmt.Fprintln(a.out, part.name)
		for _, d := range part.all {
			if d.Was != "" {
				fmt.Fprintf(a.out, "  - %s: %s\n", d.Subject, d.Was)
			}
			if d.Is != "" {
				fmt.Fprintf(a.out, "  + %s: %s\n", d.Subject, d.Is)
			}
		}
	}
	for _, l := range c.Lost {
		fmt.Fprintf(a.out, "withdrawn at %s: %v\n", l.POP, l.Prefixes)
	}
}
