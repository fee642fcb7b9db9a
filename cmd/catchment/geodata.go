package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/catchment-net/catchment/geodata"
	"github.com/catchment-net/catchment/geodata/feed"
)

func (a *app) geodata() *cobra.Command {
	cmd := &cobra.Command{
		Use: "geodata", Short: "Make databases of where addresses are, compare them, and explain what they say",
		Example: `  catchment geodata build -o geo.mmdb GeoLite2-City-CSV.zip GeoLite2-ASN-CSV.zip
  catchment geodata diff old.mmdb new.mmdb
  catchment geodata explain 198.51.100.7`,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.geodataBuild(), a.geodataDiff(), a.geodataExplain())
	return cmd
}

func (a *app) geodataBuild() *cobra.Command {
	var out, format, columns string
	cmd := a.jsonFlag(&cobra.Command{
		Use: "build -o FILE SOURCE…", Short: "Make an MMDB from the files that geodata is published in", Args: cobra.MinimumNArgs(1),
		Long: `Make an MMDB from the files that geodata is published in. A source is MaxMind's CSVs (their folder, zip or blocks file),
a CSV of ranges or networks (DB-IP, IP2Location, iptoasn, or any with a header), the text of IPFire's ` + "`location dump`" + `, a
registry's delegation file, or an MMDB; gzipped or not. A later source wins over an earlier one, field by field.`,
		Example: `  catchment geodata build -o geo.mmdb location.txt corrections.csv
  catchment geodata build -o geo.mmdb --columns start,end,-,country ranges.csv`,
		RunE: func(_ *cobra.Command, args []string) error {
			o := feed.Options{Format: feed.Format(format)}
			if columns != "" {
				o.Format, o.Columns = feed.CSV, strings.Split(columns, ",")
			}
			return a.buildGeodata(out, o, args)
		},
	})
	cmd.Flags().StringVarP(&out, "output", "o", "", "the MMDB to write")
	cmd.Flags().StringVar(&format, "format", "", "form of the sources: "+strings.Join(feed.Formats(), ", ")+" (default: each by its content)")
	cmd.Flags().StringVar(&columns, "columns", "", "columns of a CSV without a header: start,end or network, country, continent, region, city, lat, lon, asn; - leaves one out")
	_ = cmd.MarkFlagRequired("output")
	return cmd
}

// builtSource is what became of one source.
type builtSource struct {
	Source string `json:"source"`
	Format string `json:"format"`
	Rows   int    `json:"rows"`
}

func (a *app) buildGeodata(out string, o feed.Options, sources []string) error {
	var draft geodata.Draft
	var errs []error
	done := struct {
		Sources  []builtSource `json:"sources"`
		Output   string        `json:"output"`
		Networks int           `json:"networks"`
		Bytes    int64         `json:"bytes"`
	}{Output: out}
	for _, source := range sources {
		rows := 0
		format, err := feed.Read(source, o, func(r geodata.Range) error {
			rows++
			return draft.Add(r)
		})
		if err == nil {
			if err = draft.Lay(); err != nil {
				err = fmt.Errorf("%s: %w", source, err)
			}
		}
		errs = append(errs, err)
		done.Sources = append(done.Sources, builtSource{source, string(format), rows})
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	var err error
	if done.Bytes, err = writeWhole(out, &draft); err != nil {
		return err
	}
	done.Networks = draft.Networks()
	if a.json {
		return a.printJSON(done)
	}
	for _, s := range done.Sources {
		fmt.Fprintf(a.out, "%s: %s, %d rows\n", s.Source, s.Format, s.Rows)
	}
	_, err = fmt.Fprintf(a.out, "%s: %d networks, %d bytes\n", out, done.Networks, done.Bytes)
	return err
}

// writeWhole puts the file in place when it is whole, so that a server that watches it never reads half of one.
func writeWhole(path string, draft *geodata.Draft) (int64, error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return 0, fmt.Errorf("write geodata: %w", err)
	}
	defer os.Remove(f.Name())
	w := bufio.NewWriterSize(f, 1<<20)
	n, err := draft.WriteTo(w)
	err = errors.Join(err, w.Flush(), f.Chmod(0o644), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return 0, fmt.Errorf("write geodata %q: %w", path, err)
	}
	return n, nil
}
