package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/catchment-net/catchment/control"
	"github.com/catchment-net/catchment/keys"
)

func (a *app) keys() *cobra.Command {
	cmd := &cobra.Command{
		Use: "keys", Short: "Make the certificates and the gossip key of a fleet", Example: "  catchment keys init ./keys -c /etc/catchment",
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(&cobra.Command{
		Use: "init DIR", Short: "Make an authority, a certificate for each node of the topology, and the gossip key", Args: cobra.ExactArgs(1),
		Example: "  catchment keys init ./keys -c /etc/catchment",
		RunE: func(_ *cobra.Command, args []string) error {
			snap, err := control.Load(a.dir)
			if err != nil {
				return err
			}
			fleet := keys.Fleet{Name: snap.Topology.Name}
			for _, n := range snap.Topology.Nodes() {
				fleet.Nodes = append(fleet.Nodes, keys.Node{Name: n.Name, Addrs: n.Addrs})
			}
			if err := keys.Init(args[0], fleet, time.Now()); err != nil {
				return err
			}
			_, err = fmt.Fprintf(a.out, "%s holds the keys of %d nodes; copy %s/nodes/NAME to each node, and keep ca.key to yourself\n", args[0], len(fleet.Nodes), args[0])
			return err
		},
	})
	return cmd
}
