package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/catchment-net/catchment/control"
	"github.com/catchment-net/catchment/internal/conf"
	"github.com/catchment-net/catchment/labs/drill"
)

func (a *app) check() *cobra.Command {
	var verbose bool
	cmd := &cobra.Command{
		Use: "check [DIR|FILE …]", Short: "Read a configuration and report every mistake in it",
		Example: `  catchment check
  catchment check sites/shop.yaml        # the whole configuration that the file belongs to
  catchment check -v ./mylab     # also every value in force, defaults and derived ones included`,
		RunE: func(_ *cobra.Command, args []string) error {
			dirs := []string{a.dir}
			if len(args) > 0 {
				dirs = nil
			}
			for _, arg := range args {
				if dir := folderOf(arg); !slices.Contains(dirs, dir) {
					dirs = append(dirs, dir)
				}
			}
			for _, dir := range dirs {
				if err := a.checkDir(dir, verbose); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "print every value in force")
	return cmd
}

// folderOf is the configuration's folder that a file belongs to; a file says little without the others.
func folderOf(path string) string {
	info, err := os.Stat(path)
	if err != nil || info.IsDir() {
		return path
	}
	dir := filepath.Dir(path)
	switch filepath.Base(dir) {
	case control.SitesFolder, control.ZonesFolder, control.ParentFolder, "drills":
		return filepath.Dir(dir)
	}
	return dir
}

func (a *app) checkDir(dir string, verbose bool) error {
	snap, err := control.Load(dir)
	if err != nil {
		return err
	}
	drills, err := filepath.Glob(filepath.Join(dir, "drills", "*.yaml"))
	if err != nil {
		return err
	}
	var mistakes []error
	for _, file := range drills {
		text, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("read drill: %w", err)
		}
		if _, err := drill.Parse(file, text, snap.Topology); err != nil {
			mistakes = append(mistakes, err)
		}
	}
	if err := conf.Join(mistakes...); err != nil {
		return err
	}
	for _, w := range control.Warn(snap) {
		fmt.Fprintln(a.err, "warning:", w)
	}
	if verbose {
		return control.Describe(a.out, snap)
	}
	hosts := 0
	for _, s := range snap.Sites {
		hosts += len(s.Hosts)
	}
	_, err = fmt.Fprintf(a.out, "ok: %d POPs, %d nodes, %d networks, %d sites with %d hosts, %d zones, %d drills\n",
		len(snap.Topology.POPs), len(snap.Topology.Nodes()), len(snap.Topology.Internet.Networks), len(snap.Sites), hosts, len(snap.Zones), len(drills))
	return err
}
