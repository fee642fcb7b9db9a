package main

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/catchment-net/catchment/bgpd"
	"github.com/catchment-net/catchment/internal/daemon"
)

func (a *app) explain() *cobra.Command {
	var t target
	var mmdb []string
	cmd := a.jsonFlag(&cobra.Command{
		Use: "explain PREFIX | CLIENT [HOST]", Short: "Say why a prefix is announced or not, or where DNS sends a client: why there, why not elsewhere",
		Long: `Explain PREFIX says of one of our prefixes why a node announces it or does not: every condition, what each neighbour has,
and how it came to that. Explain CLIENT says where a node's name server sends a client, an address or a network of the
topology: for each host that is steered, or for one, with the whole ranking, its reasons and everybody's health. With -c DIR
it answers from the files of a folder, without any node; then all POPs count as well.`,
		Args: cobra.RangeArgs(1, 2), Example: "  catchment explain 192.0.2.0/24\n  catchment explain 198.51.100.7 www.shop.example\n  catchment explain berlin -c labs/catalog/quickstart",
		RunE: func(cmd *cobra.Command, args []string) error {
			prefix, err := netip.ParsePrefix(args[0])
			switch {
			case len(args) == 1 && err == nil:
				return a.explainPrefix(cmd, &t, prefix)
			case cmd.Flags().Changed("config"):
				return a.explainFiles(args, mmdb)
			case len(mmdb) > 0:
				return errors.New("--mmdb goes with -c DIR: a node has its own geodata")
			}
			return a.explainClient(cmd, &t, args)
		},
	})
	cmd.Flags().StringArrayVar(&mmdb, "mmdb", nil, "with -c DIR: geodata, a later one winning (default geo.mmdb and geo-asn.mmdb in DIR)")
	return targetFlags(cmd, &t)
}

func (a *app) explainPrefix(cmd *cobra.Command, t *target, prefix netip.Prefix) error {
	c, err := t.client(cmd.Context())
	if err != nil {
		return err
	}
	var why bgpd.Explanation
	if err := c.Get(cmd.Context(), "/v1/explain?"+url.Values{"prefix": {prefix.String()}}.Encode(), &why); err != nil {
		return refused(err)
	}
	if a.json {
		return a.printJSON(why)
	}
	return a.printWhy(&why)
}

func (a *app) printWhy(e *bgpd.Explanation) error {
	kept := ""
	if e.Kept {
		kept = ", kept against a cause"
	}
	fmt.Fprintf(a.out, "%v at %s: %s%s\n  %s\n\n", e.Prefix, e.Node, e.State, kept, e.Reason)
	conditions := daemon.NewTable("CONDITION", "OK", "IS", "FOR")
	for _, c := range e.Conditions {
		ok := "yes"
		if !c.OK {
			ok = "NO"
		}
		conditions.Row(c.What, ok, c.Value, forHowLong(e.Now, c.Since))
	}
	wire := daemon.NewTable("NEIGHBOUR", "SESSION", "FOR", "HAS OF US")
	for _, w := range e.Wire {
		has := "nothing"
		if r := w.Route; r != nil {
			has = strings.TrimSpace(fmt.Sprintf("via %v, path %s, %s", r.NextHop, strings.Trim(fmt.Sprint(r.ASPath), "[]"), communities(*r)))
		}
		wire.Row(w.Neighbor, w.State, forHowLong(e.Now, w.Since), has)
	}
	changes := daemon.NewTable("CHANGED", "TO", "MS FROM CAUSE", "CONFIRMED BY", "CAUSE")
	for _, c := range e.Changes {
		changes.Row(c.Time.Local().Format("15:04:05.000"), c.State, dash(c.Detail["ms_from_cause"]), dash(c.Detail["confirmed_by"]), c.Cause)
	}
	for _, t := range []*daemon.Table{conditions, wire, changes} {
		if t.Len() == 0 {
			continue
		}
		if err := a.print(t); err != nil {
			return err
		}
		fmt.Fprintln(a.out)
	}
	return nil
}

func forHowLong(now, since time.Time) string {
	if since.IsZero() || now.Before(since) {
		return "-"
	}
	if d := now.Sub(since); d >= time.Minute {
		return d.Round(time.Second).String()
	}
	return now.Sub(since).Round(time.Millisecond).String()
}

func dash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}
