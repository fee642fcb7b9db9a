package site

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/catchment-net/catchment/internal/conf"
	"github.com/catchment-net/catchment/topology"
)

// The TTLs of hosts that say none (design §7).
const (
	DefaultTTL        = 20 * time.Second
	DefaultAnycastTTL = 300 * time.Second
	maxTTL            = 7 * 24 * time.Hour // longer ones are cut by resolvers anyway (RFC 8767 §4)
)

// MaxHosts and MaxTargets bound one site.
const (
	MaxHosts   = 10000
	MaxTargets = 512 // steering keeps one bit for each
)

// Parse reads one sites/NAME.yaml. t is checked against where the site relies on it; nil skips that. The error is a
// *conf.Problems with every mistake in the file, and then there is no Site.
func Parse(file string, text []byte, t *topology.Topology) (*Site, error) {
	doc := conf.Parse(file, text)
	s := Read(doc, t)
	if err := doc.Err(); err != nil {
		return nil, err
	}
	return s, nil
}

// Read is Parse for a caller that goes on to check other things of the same file: the mistakes are left in doc, and the
// Site may be used only if doc has none.
func Read(doc *conf.Doc, t *topology.Topology) *Site {
	s := &Site{Name: strings.TrimSuffix(path.Base(doc.File()), path.Ext(doc.File()))}
	root := doc.Root()
	if !root.Exists() {
		return s
	}
	f := root.Fields("hosts", "origin", "cache")
	s.Hosts = readHosts(f.Need("hosts", "write `hosts:` with one line per name: `www.shop.example: {steer: geo}`"), t)
	s.Origins = readOrigins(f.Get("origin"), s)
	s.Cache = readCache(f.Get("cache"))
	if ours := servedByUs(s); ours != "" && !f.Get("origin").Exists() {
		root.Fail(`"origin" is missing`, fmt.Sprintf("write `origin: http://…`: our POPs answer for %s and must fetch from somewhere", ours))
	}
	return s
}

// servedByUs is a host that is steered to our own POPs, or "".
func servedByUs(s *Site) string {
	for _, h := range s.Hosts {
		if len(h.Targets) == 0 {
			return h.Name
		}
	}
	return ""
}

func readHosts(v conf.Value, t *topology.Topology) []*Host {
	var list []*Host
	entries := v.Entries()
	if (v.IsMap() || v.IsNull()) && len(entries) == 0 {
		v.Fail("no host", "write one line per name: `www.shop.example: {steer: geo}`")
	}
	if len(entries) > MaxHosts {
		v.Fail(fmt.Sprintf("%d hosts", len(entries)), fmt.Sprintf("split the site: at most %d are supported", MaxHosts))
		entries = entries[:MaxHosts]
	}
	first := map[string]conf.Value{}
	for _, e := range entries {
		h := readHost(e, t)
		if before, ok := first[h.Name]; ok && h.Name != "" {
			e.Key.Fail(fmt.Sprintf("host %q is already defined at %s", h.Name, before.Pos()), "keep one of the two")
			continue
		}
		first[h.Name] = e.Key
		list = append(list, h)
	}
	return list
}

func readHost(e conf.Entry, t *topology.Topology) *Host {
	h := &Host{Name: conf.HostName(e.Key, "host"), Steer: Geo, TTL: DefaultTTL}
	f := e.Value.Fields("steer", "ttl", "targets")
	if v := f.Get("steer"); v.Exists() {
		h.Steer = Steer(v.Enum(string(Geo), string(Anycast), string(Weighted), string(Pinned)))
	}
	targets := f.Get("targets")
	if h.Steer == Anycast {
		h.TTL = DefaultAnycastTTL
		if targets.Exists() {
			targets.Fail(fmt.Sprintf("host %q is steered by anycast and has targets", h.Name), "remove the targets, or steer by geo, weighted or pinned")
		}
		if t != nil && len(t.Anycast.Web) == 0 {
			f.Get("steer").Fail(fmt.Sprintf("host %q is steered by anycast but the topology has no web address", h.Name), "add `web: [192.0.2.80]` under `anycast` in topology.yaml")
		}
	}
	if v := f.Get("ttl"); v.Exists() {
		h.TTL = readTTL(v)
	}
	if targets.Exists() {
		h.Targets = readTargets(targets, h)
	}
	return h
}

// readTTL reads what DNS can carry: whole seconds (RFC 2181 §8).
func readTTL(v conf.Value) time.Duration {
	ttl := v.Duration()
	switch {
	case ttl%time.Second != 0:
		v.Fail(fmt.Sprintf("ttl %s is not whole seconds", conf.Span(ttl)), fmt.Sprintf("did you mean %s?", conf.Span(ttl.Truncate(time.Second)+time.Second)))
	case ttl > maxTTL:
		v.Fail(fmt.Sprintf("ttl %s is longer than 7 days", conf.Span(ttl)), "write at most 7d: resolvers cut longer ones")
	default:
		return ttl
	}
	return 0
}

func readTargets(v conf.Value, h *Host) []*Target {
	var list []*Target
	entries := v.Entries()
	if (v.IsMap() || v.IsNull()) && len(entries) == 0 {
		v.Fail(fmt.Sprintf("host %q has no target", h.Name), "write one line per target, or leave `targets` out to use our POPs")
	}
	if len(entries) > MaxTargets {
		v.Fail(fmt.Sprintf("%d targets", len(entries)), fmt.Sprintf("at most %d are supported", MaxTargets))
		entries = entries[:MaxTargets]
	}
	heavy := false
	for _, e := range entries {
		t := readTarget(e, h)
		heavy = heavy || t.Weight > 0
		list = append(list, t)
	}
	if h.Steer == Weighted && len(list) > 0 && !heavy {
		v.Fail(fmt.Sprintf("every target of host %q has weight 0", h.Name), "give at least one a weight")
	}
	return list
}

func readTarget(e conf.Entry, h *Host) *Target {
	f := e.Value.Fields("at", "regions", "addresses", "cname", "weight", "probe")
	t := &Target{Name: e.Key.Text(), Weight: 1}
	if at := f.Get("at"); at.Exists() {
		t.At = at.Word()
		t.Place = topology.ReadCity(at)
	}
	for _, item := range f.Get("regions").Items() {
		if region := readRegion(item); region != "" {
			t.Regions = append(t.Regions, region)
		}
	}
	for _, item := range f.Get("addresses").Items() {
		if a := item.Addr(); a.IsValid() {
			t.Addresses = append(t.Addresses, a)
		}
	}
	cname := f.Get("cname")
	if cname.Exists() && cname.Word() != "" {
		t.CNAME = conf.HostName(cname, "cname")
		if t.CNAME != "" && t.CNAME == h.Name {
			cname.Fail(fmt.Sprintf("target %q of host %q leads back to it", t.Name, h.Name), "name another host")
		}
	}
	if cname.Exists() == f.Get("addresses").Exists() {
		e.Key.Fail(fmt.Sprintf("target %q needs either addresses or a cname", t.Name), "write `addresses: [198.18.0.10]` or `cname: shop.othercdn.example`")
	}
	if h.Steer == Geo && !f.Get("at").Exists() && !f.Get("regions").Exists() {
		e.Key.Fail(fmt.Sprintf("target %q of a host steered by geo has no place", t.Name), "write `at: FRA` or `regions: [EU, AF]`")
	}
	if w := f.Get("weight"); w.Exists() {
		t.Weight = w.Int(0, 65535)
	}
	if p := f.Get("probe"); p.Exists() {
		t.Probe = readProbe(p)
	}
	return t
}

// readRegion reads a continent or country code. AF, AS, NA and SA are both; here they are the continents.
func readRegion(v conf.Value) string {
	code := v.Word()
	if _, country := topology.ContinentOf(code); country || code == "" {
		return code
	}
	if slices.Contains(topology.Continents(), code) {
		return code
	}
	v.Fail(fmt.Sprintf("region %q is neither a continent nor a country", code),
		"write AF, AN, AS, EU, NA, OC, SA or the two capital letters of a country (ISO 3166)")
	return ""
}
