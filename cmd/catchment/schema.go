package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/catchment-net/catchment/schema"
)

func (a *app) schema() *cobra.Command {
	var all bool
	var out string
	cmd := &cobra.Command{
		Use:   "schema topology|site|drill",
		Short: "Print a JSON Schema for editors: completion, hover texts, mistakes as you type",
		Example: `  catchment schema topology
  catchment schema drill -o drill.json
  catchment schema --all -o .schema      # topology.json, site.json, drill.json`,
		ValidArgs: schema.Kinds(),
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case all && len(args) > 0:
				return fmt.Errorf("both --all and %q; write one of them", args[0])
			case all && out == "":
				return fmt.Errorf("--all without -o; name the folder: -o .schema")
			case !all && len(args) != 1:
				return fmt.Errorf("%d arguments; write one of %s, or --all -o DIR", len(args), strings.Join(schema.Kinds(), ", "))
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			if all {
				return writeSchemas(out)
			}
			text, err := schema.Make(args[0])
			if err != nil {
				return err
			}
			if out != "" {
				return os.WriteFile(out, text, 0o644) //nolint:gosec // nothing secret: for every editor of the project
			}
			_, err = a.out.Write(text)
			return err
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "all schemas, into the folder of -o")
	cmd.Flags().StringVarP(&out, "output", "o", "", "write to this file, or with --all into this folder")
	return cmd
}

// writeSchemas writes every schema into a folder, as KIND.json.
func writeSchemas(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // as above
		return err
	}
	for _, kind := range schema.Kinds() {
		text, err := schema.Make(kind)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, kind+".json"), text, 0o644); err != nil { //nolint:gosec // as above
			return err
		}
	}
	return nil
}
