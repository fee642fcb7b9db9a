package main

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/catchment-net/catchment/containerlab"
	"github.com/catchment-net/catchment/control"
	"github.com/catchment-net/catchment/keys"
	"github.com/catchment-net/catchment/labs/runner"
)

// labRender writes a lab as a folder for containerlab.
func (a *app) labRender() *cobra.Command {
	var out, router, mgmt, name string
	var force bool
	cmd := &cobra.Command{
		Use: "render [LAB|DIR]", Short: "Write a lab as a folder that containerlab deploys", Args: cobra.MaximumNArgs(1),
		Example: `  catchment lab render quickstart -o quickstart.clab
  catchment lab render ./mylab -o mylab.clab --router frr`,
		RunE: func(_ *cobra.Command, args []string) error {
			dir, label, cleanup, err := openLab(a.labArg(args))
			if err != nil {
				return err
			}
			defer cleanup()
			if name == "" {
				name = label
			}
			o := containerlab.Options{Name: name, Router: router, Version: version}
			if mgmt != "" {
				if o.Mgmt, err = netip.ParsePrefix(mgmt); err != nil {
					return fmt.Errorf("--mgmt %q: want a /24, such as 172.28.7.0/24", mgmt)
				}
			}
			return a.renderTo(dir, out, o, force)
		},
	}
	fl := cmd.Flags()
	fl.StringVarP(&out, "output", "o", "", "the folder to write; it must be empty, or an earlier rendering of the same lab")
	fl.StringVar(&router, "router", "", "what routes: ours or frr (default: what the topology says)")
	fl.StringVar(&mgmt, "mgmt", "", "management network (default: a /24 of 172.28.0.0/16 that the name decides)")
	fl.StringVar(&name, "name", "", "what to call the lab (default: the folder's name)")
	fl.BoolVar(&force, "force", false, "write into a folder with other files in it")
	if err := cmd.MarkFlagRequired("output"); err != nil {
		panic(err) // the flag is defined above
	}
	return cmd
}

func (a *app) renderTo(dir, out string, o containerlab.Options, force bool) error {
	snap, err := control.Load(dir)
	if err != nil {
		return err
	}
	o.Topology, o.Lab = snap.Topology, maps.Clone(snap.Files)
	if err := addDrills(dir, o.Lab); err != nil {
		return err
	}
	f, err := containerlab.Render(o)
	if err != nil {
		return err
	}
	if occupied, err := f.Occupied(out); err != nil {
		return err
	} else if occupied && !force {
		return fmt.Errorf("folder %q holds something else than a rendering of lab %q; choose an empty one, or say --force", out, f.Name)
	}
	if err := f.Write(out); err != nil {
		return err
	}
	if err := prepare(out, f.Name, snap); err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.out, "lab %s written to %s; start it with\n\n  cd %[2]s && containerlab deploy -t %s\n", f.Name, out, f.TopologyFile())
	return err
}

// addDrills adds the lab's drills to its files: they are no part of a snapshot.
func addDrills(dir string, files map[string][]byte) error {
	found, err := filepath.Glob(filepath.Join(dir, "drills", "*.yaml"))
	if err != nil {
		return fmt.Errorf("find the lab's drills: %w", err)
	}
	for _, f := range found {
		text, err := os.ReadFile(f)
		if err != nil {
			return fmt.Errorf("read drill: %w", err)
		}
		files["drills/"+filepath.Base(f)] = text
	}
	return nil
}

// prepare makes what is not text: keys, unless an earlier rendering has made them, and geodata.
func prepare(out, name string, snap *control.Snapshot) error {
	fleet := keys.Fleet{Name: name}
	for _, n := range snap.Topology.Nodes() {
		fleet.Nodes = append(fleet.Nodes, keys.Node{Name: n.Name, Addrs: n.Addrs})
	}
	if err := keys.Init(filepath.Join(out, runner.KeysFolder), fleet, time.Now()); err != nil && !errors.Is(err, keys.ErrExists) {
		return err
	}
	return runner.WriteGeodata(filepath.Join(out, runner.GeodataFile), snap.Topology)
}
