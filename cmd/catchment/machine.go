package main

import (
	"fmt"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/catchment-net/catchment/containerlab/edge"
	"github.com/catchment-net/catchment/containerlab/machine"
)

// labMachine is the first process of a container of a rendered lab. It is not for people: the topology file starts it.
func (a *app) labMachine() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use: "machine", Short: "Play a machine of a lab in a container", Hidden: true, Args: cobra.NoArgs, Example: "  catchment lab machine --file /machine/machine.json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			f, err := machine.Read(file)
			if err != nil {
				return err
			}
			self, err := os.Executable()
			if err != nil {
				return fmt.Errorf("find own binary: %w", err)
			}
			return machine.Run(cmd.Context(), machine.Options{
				File: f, Binary: self, Stdout: a.out, Stderr: a.err,
				Logger: slog.New(slog.NewTextHandler(a.err, &slog.HandlerOptions{Level: slog.LevelWarn})),
			})
		},
	}
	cmd.Flags().StringVar(&file, "file", "", "what the machine is")
	return cmd
}

// labEdge is the process of what hangs on a network in a lab that nobody drives.
func (a *app) labEdge() *cobra.Command {
	var network string
	cmd := &cobra.Command{
		Use: "edge", Short: "Play origins, name servers and resolvers of a network", Hidden: true, Args: cobra.NoArgs, Example: "  catchment lab edge --network arc -c /lab",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return edge.Run(cmd.Context(), edge.Options{
				Dir: a.dir, Network: network, Logger: slog.New(slog.NewTextHandler(a.err, &slog.HandlerOptions{Level: slog.LevelWarn})),
			})
		},
	}
	cmd.Flags().StringVar(&network, "network", "", "which network")
	return cmd
}
