package main

import (
	"bytes"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/catchment-net/catchment/control"
	"github.com/catchment-net/catchment/explain"
	"github.com/catchment-net/catchment/geodata"
	"github.com/catchment-net/catchment/internal/daemon"
	"github.com/catchment-net/catchment/labs/runner"
	"github.com/catchment-net/catchment/node"
)

// hostOf is the second argument of explain, where there is one.
func hostOf(args []string) string {
	if len(args) < 2 {
		return ""
	}
	return strings.ToLower(strings.TrimSuffix(args[1], "."))
}

// explainClient asks a node.
func (a *app) explainClient(cmd *cobra.Command, t *target, args []string) error {
	c, err := t.client(cmd.Context())
	if err != nil {
		return err
	}
	query := url.Values{"client": {args[0]}}
	if host := hostOf(args); host != "" {
		query.Set("host", host)
	}
	var why node.ClientExplanation
	if err := c.Get(cmd.Context(), "/v1/explain/client?"+query.Encode(), &why); err != nil {
		return refused(err)
	}
	return a.printClient(&why, hostOf(args) != "")
}

// explainFiles decides from a folder.
func (a *app) explainFiles(args, mmdb []string) error {
	snap, err := control.Load(a.dir)
	if err != nil {
		return err
	}
	sources, err := geodataOf(mmdb, a.dir, snap)
	if err != nil {
		return err
	}
	why := node.ClientExplanation{Now: time.Now()}
	if why.Client, err = explain.Address(snap.Topology, args[0]); err != nil {
		return err
	}
	if why.Hosts, err = explain.Clients(snap.Topology, snap.Sites, sources, nil, why.Client, hostOf(args)); err != nil {
		return &daemon.ExitError{Code: daemon.No, Err: err}
	}
	return a.printClient(&why, hostOf(args) != "")
}

// geodataOf is what nodes with this folder steer by. In a lab's, which has no database, it is the one that the lab makes
// of its own prefixes.
func geodataOf(mmdb []string, dir string, snap *control.Snapshot) (*geodata.Sources, error) {
	sources, err := node.Geodata(mmdb, dir, snap)
	if err != nil || sources != nil && len(sources.Databases) > 0 || len(snap.Topology.Internet.Networks) == 0 {
		return sources, err
	}
	var b bytes.Buffer
	if err := geodata.Build(&b, runner.GeoRows(snap.Topology)); err != nil {
		return nil, err
	}
	db, err := geodata.FromBytes(b.Bytes())
	if err != nil {
		return nil, err
	}
	return &geodata.Sources{Databases: []*geodata.DB{db}, Rules: snap.Rules}, nil
}

func (a *app) printClient(why *node.ClientExplanation, whole bool) error {
	if a.json {
		return a.printJSON(why)
	}
	by := "from files, with all POPs well"
	if why.Node != "" {
		by = "by the name server of " + why.Node
	}
	fmt.Fprintf(a.out, "%v, %s; %s\n\n", why.Client, seenText(&why.Hosts[0]), by)
	if whole {
		return a.printHost(&why.Hosts[0])
	}
	hosts := daemon.NewTable("HOST", "STEER", "SENT TO", "FOR", "TTL", "WHY")
	for i := range why.Hosts {
		h := &why.Hosts[i]
		hosts.Row(h.Host, string(h.Steer), strings.Join(names(h), "+"), network(h.Scope), seconds(h.TTL), reason(h))
	}
	return a.print(hosts)
}

func (a *app) printHost(h *explain.Client) error {
	fmt.Fprintf(a.out, "%s, steered by %s, ttl %s\n", h.Host, h.Steer, seconds(h.TTL))
	for _, one := range []struct {
		label string
		explain.Choice
	}{{"A", h.A}, {"AAAA", h.AAAA}} {
		fmt.Fprintf(a.out, "  %-4s  %s: %s\n", one.label, answerText(&one.Choice), one.Reason)
	}
	fmt.Fprintf(a.out, "  the same for %s\n\n", network(h.Scope))
	ranking := daemon.NewTable("RANK", "CANDIDATE", "WHY", "KM", "STATE", "BEARS", "ANSWERED", "CAUSE")
	for i, r := range h.Ranking {
		km, answered, cause := "-", "no", r.Cause
		if r.KM != nil {
			km = strconv.Itoa(int(*r.KM))
		}
		if r.Gets {
			answered = "yes"
		}
		if r.Lacks != "" {
			cause = strings.TrimPrefix(cause+"; no "+r.Lacks+" address", "; ")
		}
		ranking.Row(strconv.Itoa(i+1), r.Name, r.Why, km, r.State, strconv.Itoa(r.Bears)+"%", answered, cause)
	}
	return a.print(ranking)
}

// seenText is what the databases say of the client.
func seenText(h *explain.Client) string {
	s := h.Seen
	if !s.Known {
		return "of whom no database knows"
	}
	var words []string
	for _, w := range []string{s.City, s.Region, s.Country, s.Continent} {
		if w != "" {
			words = append(words, w)
		}
	}
	if s.ASN != 0 {
		words = append(words, fmt.Sprintf("AS%d", s.ASN))
	}
	return "seen in " + strings.Join(words, ", ")
}

func answerText(c *explain.Choice) string {
	switch {
	case len(c.Names) == 0:
		return "nothing"
	case c.CNAME != "":
		return c.Names[0] + " (" + c.CNAME + ")"
	}
	words := make([]string, len(c.Addrs))
	for i, a := range c.Addrs {
		words[i] = a.String()
	}
	return strings.Join(c.Names, "+") + " (" + strings.Join(words, " ") + ")"
}

// names are the candidates of A, or of AAAA where there is no A.
func names(h *explain.Client) []string {
	if len(h.A.Names) > 0 {
		return h.A.Names
	}
	return h.AAAA.Names
}

func reason(h *explain.Client) string {
	if len(h.A.Names) > 0 || len(h.AAAA.Names) == 0 {
		return h.A.Reason
	}
	return h.AAAA.Reason
}

func network(p netip.Prefix) string {
	if p.Bits() == 0 {
		return "everybody"
	}
	return p.String()
}

func seconds(n uint32) string { return (time.Duration(n) * time.Second).String() }
