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
	f := root.Fields("hosts", "origin", "cache", "tls")
	s.Hosts = readHosts(f.Need("hosts", "write `hosts:` with one line per name: `www.shop.example: {steer: geo}`"), t)
	s.Origins = readOrigins(f.Get("origin"), s)
	s.Cache = readCache(f.Get("cache"))
	s.TLS = readTLS(f.Get("tls"), s)
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
		t.Probe = readProbe(p, t)
	}
	return t
}

// readRegion reads a continent, a country or a subdivision of one. AF, AS, NA and SA are both a continent and a country;
// here they are the continents.
func readRegion(v conf.Value) string {
	code := v.Word()
	country, part, subdivision := strings.Cut(code, "-")
	_, known := topology.ContinentOf(country)
	switch {
	case code == "", known && !subdivision, slices.Contains(topology.Continents(), code):
		return code
	case known && subdivisionOK(part):
		return code
	}
	v.Fail(fmt.Sprintf("region %q is neither a continent nor a country nor a part of one", code),
		"write AF, AN, AS, EU, NA, OC, SA, the two capital letters of a country (ISO 3166), or a subdivision such as US-CA (ISO 3166-2)")
	return ""
}

// subdivisionOK reports whether text may stand behind a country's code: one to three capital letters or digits.
func subdivisionOK(text string) bool {
	return len(text) >= 1 && len(text) <= 3 && strings.Trim(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") == ""
}
