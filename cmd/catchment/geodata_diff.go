package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/catchment-net/catchment/geodata"
	"github.com/catchment-net/catchment/internal/daemon"
)

func (a *app) geodataDiff() *cobra.Command {
	var top int
	cmd := a.jsonFlag(&cobra.Command{
		Use: "diff OLD NEW", Short: "Say how many addresses move to another country or AS", Args: cobra.ExactArgs(2),
		Long: `Say how many addresses move to another country or AS when NEW takes OLD's place. IPv4 counts addresses, IPv6 networks of
64 bits.`,
		Example: "  catchment geodata diff geo.mmdb geo-new.mmdb --top 20",
		RunE: func(_ *cobra.Command, args []string) error {
			if top < 0 {
				return fmt.Errorf("--top %d: want 0 (all) or more", top)
			}
			before, err := geodata.Open(args[0])
			if err != nil {
				return err
			}
			after, err := geodata.Open(args[1])
			if err != nil {
				return err
			}
			d, err := geodata.Diff(before, after)
			if err != nil {
				return err
			}
			return a.printGeodataDiff(d, top)
		},
	})
	cmd.Flags().IntVar(&top, "top", 10, "how many moves to list of each kind; 0 means all")
	return cmd
}

func (a *app) printGeodataDiff(d *geodata.Difference, top int) error {
	if a.json {
		return a.printJSON(d)
	}
	fmt.Fprintf(a.out, "moved: %d IPv4 addresses (%s), %.0f IPv6 /64s (%s)\n",
		d.Moved.V4, share(float64(d.Moved.V4), float64(d.Total.V4)), d.Moved.V6, share(d.Moved.V6, d.Total.V6))
	for _, of := range []struct {
		title string
		all   []geodata.Change
	}{{"COUNTRY", d.Countries}, {"AS", d.ASNs}} {
		if len(of.all) == 0 {
			continue
		}
		fmt.Fprintln(a.out)
		t := daemon.NewTable(of.title, "TO", "IPV4 ADDRESSES", "IPV6 /64S")
		shown := of.all
		if top > 0 && len(shown) > top {
			shown = shown[:top]
		}
		for _, c := range shown {
			t.Row(c.From, c.To, fmt.Sprint(c.V4), fmt.Sprintf("%.0f", c.V6))
		}
		if err := a.print(t); err != nil {
			return err
		}
		if rest := len(of.all) - len(shown); rest > 0 {
			fmt.Fprintf(a.out, "and %d moves more\n", rest)
		}
	}
	return nil
}

// share is part of whole as a percentage.
func share(part, whole float64) string {
	if whole == 0 {
		return "of none"
	}
	return fmt.Sprintf("%.2f %% of what is known", 100*part/whole)
}
