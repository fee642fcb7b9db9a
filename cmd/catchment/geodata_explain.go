package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/catchment-net/catchment/control"
	"github.com/catchment-net/catchment/dnsd/steer"
	"github.com/catchment-net/catchment/geodata"
	"github.com/catchment-net/catchment/internal/daemon"
	"github.com/catchment-net/catchment/node"
	"github.com/catchment-net/catchment/site"
)

func (a *app) geodataExplain() *cobra.Command {
	var mmdb []string
	cmd := a.jsonFlag(&cobra.Command{
		Use: "explain ADDRESS [HOST]", Short: "Say what each source knows of an address, which rules match, and where that leads", Args: cobra.RangeArgs(1, 2),
		Long: `Say what each source knows of an address, which rules match, and where that leads: to the order of the POPs for a host
that is steered by geo, or for HOST of a site, with the network that shares the whole order, while all are up.`,
		Example: `  catchment geodata explain 198.51.100.7 -c /etc/catchment
  catchment geodata explain 2001:db8::1 --mmdb geo.mmdb`,
		RunE: func(cmd *cobra.Command, args []string) error {
			addr, err := netip.ParseAddr(args[0])
			if err != nil {
				return fmt.Errorf("explain %q: want an address, as 198.51.100.7", args[0])
			}
			host := ""
			if len(args) == 2 {
				host = strings.TrimSuffix(strings.ToLower(args[1]), ".")
			}
			w, err := whereabouts(addr, host, mmdb, a.dir)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(w)
			}
			return a.printWhereabouts(w)
		},
	})
	cmd.Flags().StringArrayVar(&mmdb, "mmdb", nil, "geodata to ask (default geo.mmdb and geo-asn.mmdb beside topology.yaml); may be repeated, the later one wins")
	return cmd
}

// addressFacts is what is known of an address.
type addressFacts struct {
	Address   netip.Addr     `json:"address"`
	Databases []databaseSays `json:"databases"`
	Together  *placeText     `json:"together,omitempty"` // the databases, merged
	Rules     []ruleSays     `json:"rules"`              // the most trusted first
	Decision  *decisionText  `json:"decision,omitempty"` // with a topology
}

type databaseSays struct {
	Database string       `json:"database"`
	Network  netip.Prefix `json:"network"` // everybody in it has the same record, or none
	placeText
}

type placeText struct {
	Known     bool     `json:"known"`
	Country   string   `json:"country,omitempty"`
	Continent string   `json:"continent,omitempty"`
	Region    string   `json:"region,omitempty"`
	City      string   `json:"city,omitempty"`
	Lat       *float64 `json:"lat,omitempty"`
	Lon       *float64 `json:"lon,omitempty"`
	ASN       uint32   `json:"asn,omitempty"`
}

type ruleSays struct {
	Kind  string   `json:"kind"` // prefix, asn, measured
	Match string   `json:"match"`
	To    []string `json:"to"`
	Where string   `json:"where"`
	Why   string   `json:"why,omitempty"`
}

type decisionText struct {
	Host   string       `json:"host,omitempty"`
	Order  []string     `json:"order"`
	Scope  netip.Prefix `json:"scope"`
	Reason string       `json:"reason"`
}

func whereabouts(addr netip.Addr, host string, mmdb []string, dir string) (*addressFacts, error) {
	snap := &control.Snapshot{}
	if _, err := os.Stat(filepath.Join(dir, control.TopologyFile)); err == nil {
		if snap, err = control.Load(dir); err != nil {
			return nil, err
		}
	} else if host != "" || !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	sources, err := node.Geodata(mmdb, dir, snap)
	if err != nil {
		return nil, err
	}
	if sources == nil {
		return nil, errors.New("no geodata: name an MMDB with --mmdb FILE, or put geo.mmdb beside topology.yaml")
	}
	w := &addressFacts{Address: addr, Databases: []databaseSays{}, Rules: []ruleSays{}}
	for _, db := range sources.Databases {
		loc, network, known := db.Locate(addr)
		w.Databases = append(w.Databases, databaseSays{db.Name(), network, placeOf(loc, known)})
	}
	if len(w.Databases) > 1 {
		all := placeOf(sources.Locate(addr))
		w.Together = &all
	}
	facts := sources.Facts(addr)
	for _, r := range []struct {
		kind string
		rule *geodata.Rule
	}{{"prefix", facts.Prefix}, {"asn", facts.ASN}, {"measured", facts.Measured}} {
		if r.rule != nil {
			w.Rules = append(w.Rules, ruleSays{r.kind, r.rule.Subject(), r.rule.To, r.rule.Where(), r.rule.Why})
		}
	}
	if snap.Topology == nil {
		return w, nil
	}
	w.Decision, err = decide(addr, host, snap, sources)
	return w, err
}

// decide is where an address leads while all is up.
func decide(addr netip.Addr, host string, snap *control.Snapshot, sources *geodata.Sources) (*decisionText, error) {
	h := &site.Host{Name: host, Steer: site.Geo}
	if host != "" {
		if _, h = snap.Site(host); h == nil {
			return nil, fmt.Errorf("no site has host %q", host)
		}
	}
	policy, err := steer.NewCompiler(snap.Topology, sources, nil).Compile(h)
	if err != nil {
		return nil, err
	}
	family := 4
	if addr.Is6() {
		family = 6
	}
	d := policy.Decide(addr, family, nil)
	return &decisionText{host, d.Order, d.Scope, d.Reason}, nil
}

func placeOf(l geodata.Location, known bool) placeText {
	t := placeText{Known: known, Country: l.Country, Continent: l.Continent, Region: l.Region, City: l.City, ASN: l.ASN}
	if l.Point {
		t.Lat, t.Lon = &l.Lat, &l.Lon
	}
	return t
}

func (t *placeText) cells() []string {
	if !t.Known {
		return []string{"", "", "", "", ""}
	}
	at, asn := "", ""
	if t.Lat != nil {
		at = fmt.Sprintf("%g,%g", *t.Lat, *t.Lon)
	}
	if t.ASN != 0 {
		asn = fmt.Sprintf("AS%d", t.ASN)
	}
	region := t.Region
	if region == "" {
		region = t.Country
	}
	return []string{t.Continent, region, t.City, at, asn}
}

func (a *app) printWhereabouts(w *addressFacts) error {
	t := daemon.NewTable("SOURCE", "NETWORK", "CONTINENT", "REGION", "CITY", "AT", "AS")
	for _, db := range w.Databases {
		t.Row(append([]string{db.Database, db.Network.String()}, db.cells()...)...)
	}
	if w.Together != nil {
		t.Row(append([]string{"together", ""}, w.Together.cells()...)...)
	}
	rules := daemon.NewTable("RULE", "FOR", "TO", "WRITTEN IN", "WHY")
	for _, r := range w.Rules {
		rules.Row(r.Kind, r.Match, strings.Join(r.To, ","), r.Where, r.Why)
	}
	for _, table := range []*daemon.Table{t, rules} {
		if table.Len() == 0 {
			continue
		}
		if err := a.print(table); err != nil {
			return err
		}
		fmt.Fprintln(a.out)
	}
	if d := w.Decision; d != nil {
		what := "POPs"
		if d.Host != "" {
			what = d.Host
		}
		fmt.Fprintf(a.out, "%s: %s\nbecause: %s\nshared by: %v\n", what, strings.Join(d.Order, " "), d.Reason, d.Scope)
	}
	return nil
}
