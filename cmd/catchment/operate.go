package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"os/user"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/catchment-net/catchment/admin"
	"github.com/catchment-net/catchment/bgpd"
	"github.com/catchment-net/catchment/control"
	"github.com/catchment-net/catchment/health"
	"github.com/catchment-net/catchment/internal/daemon"
	"github.com/catchment-net/catchment/labs"
	"github.com/catchment-net/catchment/labs/runner"
	"github.com/catchment-net/catchment/node"
)

// target is the node that a command asks.
type target struct {
	admin string // its admin socket
	lab   string // instead: any node of this lab
}

// targetFlags adds --admin and --lab to a command that asks a node.
func targetFlags(cmd *cobra.Command, t *target) *cobra.Command {
	cmd.Flags().StringVar(&t.admin, "admin", "", "the node's admin socket (default $CATCHMENT_ADMIN, else a node of the only lab that is up)")
	labFlag(cmd, &t.lab)
	cmd.Flags().Lookup("lab").Usage = "ask a node of this lab, if several are up"
	cmd.MarkFlagsMutuallyExclusive("admin", "lab")
	return cmd
}

// client reaches the node's admin socket.
func (t *target) client(ctx context.Context) (*admin.Client, error) {
	socket := strings.TrimPrefix(t.admin, "unix:")
	if socket == "" && t.lab == "" {
		socket = os.Getenv("CATCHMENT_ADMIN")
	}
	if socket != "" {
		return &admin.Client{Socket: socket}, nil
	}
	if up := runner.Running(runner.StateRoot()); t.lab == "" && len(up) != 1 {
		hint := ""
		if len(up) > 1 {
			hint = ", or a lab with --lab"
		}
		return nil, fmt.Errorf("which node? name its admin socket with --admin or $CATCHMENT_ADMIN%s (%d labs are up)", hint, len(up))
	}
	lab, err := connect(t.lab)
	if err != nil {
		return nil, err
	}
	st, err := lab.Status(ctx)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(st.Nodes, func(n labs.NodeStatus) bool { return n.State == "running" && n.Admin != "" })
	if i < 0 {
		return nil, fmt.Errorf("no node of lab %q is running", st.Name)
	}
	return &admin.Client{Socket: st.Nodes[i].Admin}, nil
}

func (a *app) status() *cobra.Command {
	var t target
	cmd := a.jsonFlag(&cobra.Command{
		Use: "status", Short: "Show the fleet as one node sees it", Args: cobra.NoArgs,
		Example: `  catchment status --admin /var/lib/catchment/ams1/admin.sock
  catchment status --lab second`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := t.client(cmd.Context())
			if err != nil {
				return err
			}
			var st node.Status
			if err := c.Get(cmd.Context(), "/v1/status", &st); err != nil {
				return refused(err)
			}
			if a.json {
				return a.printJSON(st)
			}
			return a.printNode(&st)
		},
	})
	return targetFlags(cmd, &t)
}

// refused turns a remote's no into exit status 1; a socket that nobody answers is a wrong set-up.
func refused(err error) error {
	if _, no := errors.AsType[*admin.Error](err); no {
		return &daemon.ExitError{Code: daemon.No, Err: err}
	}
	return err
}

// shownZones is how many bad zones `status` and `apply` print; --json has all.
const shownZones = 20

func (a *app) printBadZones(zones []control.BadZone) {
	for _, z := range zones[:min(len(zones), shownZones)] {
		served := "its names are SERVFAIL"
		if z.Kept {
			served = "its last good copy is served"
		}
		fmt.Fprintf(a.out, "ALARM: zone %s is not loaded, %s:\n%s\n\n", z.Origin, served, z.Error)
	}
	if more := len(zones) - shownZones; more > 0 {
		fmt.Fprintf(a.out, "ALARM: %d further zones are not loaded; --json lists them\n\n", more)
	}
}

func (a *app) printNode(st *node.Status) error {
	fmt.Fprintf(a.out, "node %s (POP %s), up for %v, configuration %s %.12s\n\n", st.Node, st.POP, st.Now.Sub(st.Since).Round(time.Second), st.Config, st.Digest)
	if st.Diverged != "" {
		fmt.Fprintf(a.out, "ALARM: %s\n\n", st.Diverged)
	}
	if st.Held != nil {
		fmt.Fprintf(a.out, "ALARM: configuration %.12s is held since %s: %s; `catchment apply --force` takes it here\n\n",
			st.Held.Digest, st.Held.Since.Local().Format(time.DateTime), st.Held.Why)
	}
	a.printBadZones(st.BadZones)
	pops := daemon.NewTable("POP", "DNS", "WEB", "NODES", "ANNOUNCES", "WHY")
	names := make([]string, 0, len(st.View.POPs))
	for name := range st.View.POPs {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		p := st.View.POPs[name]
		var nodes, claims []string
		why := ""
		for n, v := range st.View.Nodes {
			if v.POP != name {
				continue
			}
			nodes = append(nodes, n)
			if v.Draining && v.Why != "" {
				why = v.Why
			}
			if !v.Heard {
				continue // what a silent node announced last says nothing of now
			}
			for _, c := range v.Claims {
				claims = append(claims, c.String())
			}
		}
		for _, s := range health.Services {
			if v := p.Services[s]; !v.State.Usable() && v.Cause.Text != "" {
				why = v.Cause.Text
			}
		}
		slices.Sort(nodes)
		slices.Sort(claims)
		pops.Row(name, p.Services[health.DNS].State.String(), p.Services[health.Web].State.String(), strings.Join(nodes, " "), strings.Join(slices.Compact(claims), " "), why)
	}
	if err := a.print(pops); err != nil {
		return err
	}
	fmt.Fprintln(a.out)
	if err := a.printDrains(st); err != nil {
		return err
	}
	if err := a.printTargets(st); err != nil {
		return err
	}
	if err := a.printNeighbors(st.BGP); err != nil {
		return err
	}
	return a.paste([][2]string{
		{"catchment drain " + st.POP + ` --why "…"`, "move its clients away, losing none"},
		{"catchment undrain " + st.POP, "take them back"},
		{"catchment bgp rib", "what this node announces and hears"},
	})
}

// printDrains prints who wants which POP or node drained and how far its nodes are; nothing without a drain.
func (a *app) printDrains(st *node.Status) error {
	t := daemon.NewTable("DRAIN", "NODE", "STEP", "FOR", "REQUESTS/S", "BY", "UNTIL", "WHY")
	for _, name := range slices.Sorted(maps.Keys(st.View.Nodes)) {
		v := st.View.Nodes[name]
		i := slices.IndexFunc(st.Intents, func(i health.Intent) bool {
			return i.InForce(st.Now) && (i.Target == name || i.Target == v.POP)
		})
		if i < 0 && v.Progress.Step == health.NoStep {
			continue
		}
		who := health.Intent{Target: name, Why: "the node is stopping"}
		if i >= 0 {
			who = st.Intents[i]
		}
		step, since, until := v.Progress.Step.String(), "", "undrain"
		if v.Progress.Kept {
			step += " (kept)"
		}
		if !v.Progress.Since.IsZero() {
			since = max(st.Now.Sub(v.Progress.Since), 0).Round(time.Second / 10).String()
		}
		if !who.Expires.IsZero() {
			until = who.Expires.Local().Format(time.DateTime)
		}
		t.Row(who.Target, name, step, since, fmt.Sprint(v.Progress.Requests), who.By, until, who.Why)
	}
	if t.Len() == 0 {
		return nil
	}
	if err := a.print(t); err != nil {
		return err
	}
	_, err := fmt.Fprintln(a.out)
	return err
}

// printTargets prints which addresses of sites' own targets are down; nothing if none is.
func (a *app) printTargets(st *node.Status) error {
	t := daemon.NewTable("TARGET DOWN", "FOR", "WHY")
	for _, id := range slices.Sorted(maps.Keys(st.View.Targets)) {
		why := st.View.Targets[id]
		t.Row(id, forHowLong(st.Now, why.Since), why.Text)
	}
	if t.Len() == 0 {
		return nil
	}
	if err := a.print(t); err != nil {
		return err
	}
	_, err := fmt.Fprintln(a.out)
	return err
}

func (a *app) printNeighbors(all []bgpd.NeighborStatus) error {
	t := daemon.NewTable("NEIGHBOUR", "ADDRESS", "AS", "STATE", "SINCE", "BFD")
	for _, n := range all {
		since := "-"
		if !n.Since.IsZero() {
			since = time.Since(n.Since).Round(time.Second).String()
		}
		t.Row(n.Name, n.Address.String(), fmt.Sprint(n.ASN), n.State, since, bfdOf(n.BFD))
	}
	return a.print(t)
}

// bfdOf is a path in a word or two: "up 50ms", "down (control detection time expired)".
func bfdOf(b *bgpd.BFDStatus) string {
	switch {
	case b == nil:
		return "-"
	case b.Error != "":
		return b.State + " (" + b.Error + ")"
	case b.Diagnostic != "":
		return b.State + " (" + b.Diagnostic + ")"
	}
	return b.State + " " + b.Interval
}

// operator is who asks, for the record.
func operator() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return fmt.Sprintf("uid %d", os.Getuid())
}

func (a *app) bgp() *cobra.Command {
	cmd := &cobra.Command{
		Use: "bgp", Short: "Look at a node's BGP sessions and routes", Example: "  catchment bgp neighbors",
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	var t target
	neighbors := a.jsonFlag(&cobra.Command{
		Use: "neighbors", Short: "List the sessions", Args: cobra.NoArgs, Example: "  catchment bgp neighbors",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := t.client(cmd.Context())
			if err != nil {
				return err
			}
			var all []bgpd.NeighborStatus
			if err := c.Get(cmd.Context(), "/v1/bgp/neighbors", &all); err != nil {
				return refused(err)
			}
			if a.json {
				return a.printJSON(all)
			}
			return a.printNeighbors(all)
		},
	})
	var in, out string
	rib := a.jsonFlag(&cobra.Command{
		Use: "rib [PREFIX]", Short: "List the routes, or those of one prefix: all that are known, or what one neighbour has sent or was sent",
		Args: cobra.MaximumNArgs(1), Example: "  catchment bgp rib 192.0.2.0/24\n  catchment bgp rib --out fra-r1",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := t.client(cmd.Context())
			if err != nil {
				return err
			}
			ask := url.Values{"in": {in}, "out": {out}, "prefix": args}
			var all []bgpd.RIBEntry
			if err := c.Get(cmd.Context(), "/v1/bgp/rib?"+ask.Encode(), &all); err != nil {
				return refused(err)
			}
			if a.json {
				return a.printJSON(all)
			}
			return a.printRIB(all)
		},
	})
	rib.Flags().StringVar(&in, "in", "", "what this neighbour has sent, before our rules (its Adj-RIB-In)")
	rib.Flags().StringVar(&out, "out", "", "what this neighbour was sent, after our rules (its Adj-RIB-Out)")
	rib.MarkFlagsMutuallyExclusive("in", "out")
	cmd.AddCommand(targetFlags(neighbors, &t), targetFlags(rib, &t))
	return cmd
}

func (a *app) printRIB(all []bgpd.RIBEntry) error {
	t := daemon.NewTable("PREFIX", "NEXT HOP", "NEIGHBOUR", "AS PATH", "COMMUNITIES")
	for _, r := range all {
		path := make([]string, len(r.ASPath))
		for i, asn := range r.ASPath {
			path[i] = fmt.Sprint(asn)
		}
		t.Row(r.Prefix.String(), r.NextHop.String(), r.Neighbor, strings.Join(path, " "), communities(r))
	}
	return a.print(t)
}

// communities writes standard communities as AS:VALUE and large ones as AS:X:Y.
func communities(r bgpd.RIBEntry) string {
	var words []string
	for _, c := range r.Communities {
		words = append(words, fmt.Sprintf("%d:%d", c>>16, c&0xffff))
	}
	for _, c := range r.LargeCommunities {
		words = append(words, fmt.Sprintf("%d:%d:%d", c[0], c[1], c[2]))
	}
	return strings.Join(words, " ")
}
