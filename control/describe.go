package control

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/catchment-net/catchment/internal/conf"
	"github.com/catchment-net/catchment/site"
	"github.com/catchment-net/catchment/topology"
)

// Describe writes every value in force, defaults and derived ones included, as text that looks like the files. What a
// comment marks as derived cannot be set.
func Describe(w io.Writer, s *Snapshot) error {
	out := bufio.NewWriter(w)
	d := describer{out}
	d.topology(s.Topology)
	for _, one := range s.Sites {
		d.site(one)
	}
	d.zones(s.Zones)
	d.rules(&s.Rules)
	d.line(0, "# digest %s", s.Digest)
	return out.Flush()
}

type describer struct{ w io.Writer }

func (d describer) line(indent int, format string, args ...any) {
	fmt.Fprintf(d.w, "%s%s\n", strings.Repeat("  ", indent), fmt.Sprintf(format, args...))
}

func (d describer) topology(t *topology.Topology) {
	d.line(0, "# topology %s", t.Name)
	d.line(0, "asn: %d", t.ASN)
	d.line(0, "anycast:")
	d.line(1, "prefixes: %s", list(t.Anycast.Prefixes))
	d.line(1, "dns: %s", list(t.Anycast.DNS))
	d.line(1, "web: %s", list(t.Anycast.Web))
	d.line(1, "min_pops: %d", t.Anycast.MinPOPs)
	d.line(1, "flap_budget: %d", t.Anycast.FlapBudget)
	d.line(0, "pops:")
	for _, p := range t.POPs {
		d.pop(p)
	}
	d.line(0, "health: %s", timing(t.Health))
	d.line(0, "drain: %s", ladder(t.Drain))
	d.bgp(t.BGP)
	d.internet(t.Internet)
}

func timing(h topology.Health) string {
	return fmt.Sprintf("{interval: %s, timeout: %s, fall: %d, rise: %s}", conf.Span(h.Interval), conf.Span(h.Timeout), h.Fall, conf.Span(h.Rise))
}

func ladder(l topology.Drain) string {
	var words []string
	for _, c := range l.Communities {
		words = append(words, fmt.Sprintf("%q", fmt.Sprintf("%d:%d", c>>16, c&0xffff)))
	}
	for _, c := range l.LargeCommunities {
		words = append(words, fmt.Sprintf("%q", fmt.Sprintf("%d:%d:%d", c[0], c[1], c[2])))
	}
	return fmt.Sprintf("{dns: %s, min: %s, quiet: %s, max: %s, prepend: %d, communities: %s, at_once: %d}",
		conf.Span(l.DNS), conf.Span(l.Min), conf.Span(l.Quiet), conf.Span(l.Max), l.Prepend, list(words), l.AtOnce)
}

func (d describer) pop(p *topology.POP) {
	d.line(1, "%s:", p.Name)
	d.line(2, "at: %s", place(p.At))
	d.line(2, "unicast: %s", list(p.Unicast))
	d.line(2, "capacity: %s", rate(p.Capacity))
	d.line(2, "shield: %t", p.Shield)
	d.line(2, "nodes:")
	for _, n := range p.Nodes {
		d.line(3, "%s: {capacity: %s}  # derived: addresses %s, router id %s", n.Name, rate(n.Capacity), list(n.Addrs), n.RouterID)
	}
	if len(p.Neighbors) == 0 {
		return
	}
	d.line(2, "neighbors:")
	for _, n := range p.Neighbors {
		d.line(3, "%s: %s", n.Name, neighbor(n))
		d.line(4, "# to it: %s; graceful restart off", towards(n))
	}
}

// neighbor is a session as the file would ask for it, defaults included.
func neighbor(n *topology.Neighbor) string {
	hold := cmp.Or(n.HoldTime, 9*time.Second)
	keepalive := cmp.Or(n.Keepalive, (hold / 3).Truncate(time.Second))
	local, hops, limit, bfd := "any", "off", "none", "off"
	if n.Local.IsValid() {
		local = n.Local.String()
	}
	if n.Multihop > 0 {
		hops = strconv.Itoa(n.Multihop)
	}
	if n.MaxPrefixes > 0 {
		limit = strconv.Itoa(n.MaxPrefixes)
	}
	if n.BFD > 0 {
		bfd = conf.Span(n.BFD)
	}
	return fmt.Sprintf("{address: %s, asn: %d, local: %s, password: %s, ttl_security: %t, multihop: %s, hold: %s, keepalive: %s, max_prefixes: %s, bfd: %s}",
		n.Address, n.ASN, local, secret(n.Password), n.TTLSecurity, hops, conf.Span(hold), conf.Span(keepalive), limit, bfd)
}

// towards is what is done to our routes on their way to it.
func towards(n *topology.Neighbor) string {
	return fmt.Sprintf("prepend %d, MED %d, communities %s, large communities %s", n.Prepend, n.MED, communities(n.Communities), large(n.LargeCommunities))
}

func communities(all []uint32) string {
	var words []string
	for _, c := range all {
		words = append(words, fmt.Sprintf("%d:%d", c>>16, c&0xffff))
	}
	return "[" + strings.Join(words, ", ") + "]"
}

func large(all [][3]uint32) string {
	var words []string
	for _, c := range all {
		words = append(words, fmt.Sprintf("%d:%d:%d", c[0], c[1], c[2]))
	}
	return "[" + strings.Join(words, ", ") + "]"
}

// origins is how our own announcements are checked.
func origins(r topology.RPKI) string {
	invalid := "warn"
	if r.Refuse {
		invalid = "refuse"
	}
	return fmt.Sprintf("{servers: [%s], invalid: %s}", strings.Join(r.Servers, ", "), invalid)
}

func (d describer) bgp(b topology.BGP) {
	d.line(0, "bgp:")
	d.line(1, "rpki: %s", origins(b.RPKI))
	d.line(1, "bmp: [%s]", strings.Join(b.BMP, ", "))
	if b.MRT.File != "" {
		d.line(1, "mrt: {file: %s, rotate: %s}", b.MRT.File, conf.Span(b.MRT.Rotate))
	}
}

func (d describer) internet(i topology.Internet) {
	if len(i.Networks)+len(i.Origins)+len(i.Links) == 0 {
		return
	}
	d.line(0, "internet:")
	d.line(1, "router: %s", i.Router)
	d.line(1, "networks:")
	for _, n := range i.Networks {
		resolver := "" // there is no word for none
		if n.Resolver != nil {
			resolver = ", resolver: " + n.Resolver.Name
		}
		d.line(2, "%s: {asn: %d, at: %s, users: %s, prefixes: %s, router: %s%s}", n.Name, n.ASN, place(n.At), number(n.Users), list(n.Prefixes), n.Router, resolver)
	}
	d.resolution(i)
	d.line(1, "origins:")
	for _, o := range i.Origins {
		d.line(2, "%s: {in: %s, at: %s, prefixes: %s, limit: %s}  # derived: addresses %s", o.Host, o.In.Name, place(o.At), list(o.Prefixes), rate(o.Limit), list(o.Addrs))
	}
	d.line(1, "links:")
	for _, l := range i.Links {
		bits := "unlimited"
		if l.Rate > 0 {
			bits = scaled(l.Rate, "bit/s")
		}
		watched := ""
		if l.BFD > 0 {
			watched = ", bfd: " + conf.Span(l.BFD)
		}
		d.line(2, "%s: {delay: %s, jitter: %s, loss: %s%%, rate: %s, prepend: %d%s}", l.Name(), conf.Span(l.Delay), conf.Span(l.Jitter), number(l.Loss*100), bits, l.Prepend, watched)
	}
}

// resolution is what a lab runs between its clients and our name servers.
func (d describer) resolution(i topology.Internet) {
	if len(i.Resolvers) > 0 {
		d.line(1, "resolvers:")
	}
	for _, r := range i.Resolvers {
		d.line(2, "%s: {in: %s, ecs: %t, min_ttl: %s, software: %s}  # derived: addresses %s", r.Name, r.In.Name, r.ECS, conf.Span(r.MinTTL), r.Software, list(r.Addrs))
	}
	if len(i.NameServers) > 0 {
		d.line(1, "nameservers:")
	}
	for _, n := range i.NameServers {
		zones := make([]string, len(n.Zones))
		for k, z := range n.Zones {
			zones[k] = fmt.Sprintf("%q: %s", z.Origin, z.File)
		}
		d.line(2, "%s: {in: %s, at: %s, prefixes: %s, zones: {%s}}  # derived: addresses %s", n.Host, n.In.Name, place(n.At), list(n.Prefixes), strings.Join(zones, ", "), list(n.Addrs))
	}
}

func (d describer) site(s *site.Site) {
	d.line(0, "")
	d.line(0, "# %s/%s.yaml", SitesFolder, s.Name)
	d.line(0, "hosts:")
	for _, h := range s.Hosts {
		d.host(h)
	}
	if len(s.Origins) > 0 {
		d.line(0, "origin:")
	}
	for _, o := range s.Origins {
		d.line(1, "- %s", originText(o))
	}
	if len(s.TLS) > 0 {
		d.line(0, "tls:")
	}
	for _, t := range s.TLS {
		d.line(1, "- %s", certificateText(t))
	}
	d.line(0, "cache:")
	d.line(1, "key: %s", keyText(s.Cache.Key))
	d.line(1, "stale: {if_error: %s, while_revalidate: %s}", conf.Span(s.Cache.Stale.IfError), conf.Span(s.Cache.Stale.WhileRevalidate))
	d.line(1, "vary: %s", varyText(s.Cache))
	d.line(1, "obey_clients: %t", s.Cache.ObeyClients)
	if len(s.Cache.Rules) > 0 {
		d.line(1, "rules:")
	}
	for _, r := range s.Cache.Rules {
		d.line(2, "- %s", ruleText(r))
	}
}

func certificateText(t site.TLS) string {
	return fmt.Sprintf("{certificate: %s, key: %s}", t.Certificate, secret(t.Key))
}

func (d describer) host(h *site.Host) {
	if len(h.Targets) == 0 {
		d.line(1, "%s: {%s}", h.Name, strings.Join(steering(h), ", "))
		return
	}
	d.line(1, "%s:", h.Name)
	for _, line := range steering(h) {
		d.line(2, "%s", line)
	}
	d.line(2, "targets:")
	for _, t := range h.Targets {
		d.line(3, "%s", targetText(t))
	}
}

// steering is how a host's clients are sent, a key each.
func steering(h *site.Host) []string {
	out := []string{"steer: " + string(h.Steer), "ttl: " + conf.Span(h.TTL)}
	if h.Steer == site.Anycast {
		return out
	}
	if len(h.POPs) > 0 {
		out = append(out, "pops: "+shares(h.POPs))
	} else if len(h.Targets) == 0 {
		out = append(out, "pops: all")
	}
	if h.Steer == site.Geo {
		out = append(out, "nearest: "+strconv.Itoa(h.Nearest))
	}
	fail := "open"
	if h.Closed {
		fail = "closed"
	}
	return append(out, "fallback: "+list(h.Fallback), "fail: "+fail)
}

func shares(all []site.Share) string {
	if all[0].Weight < 0 {
		names := make([]string, len(all))
		for i, s := range all {
			names[i] = s.Name
		}
		return list(names)
	}
	words := make([]string, len(all))
	for i, s := range all {
		words[i] = fmt.Sprintf("%s: %d", s.Name, s.Weight)
	}
	return "{" + strings.Join(words, ", ") + "}"
}

func keyText(k site.Key) string {
	keep, scheme := "any", "as asked"
	if len(k.KeepQuery) > 0 {
		keep = list(k.KeepQuery)
	}
	if k.Scheme != "" {
		scheme = k.Scheme
	}
	return fmt.Sprintf("{drop_query: %s, keep_query: %s, sort_query: %t, scheme: %s}", list(k.DropQuery), keep, !k.Unsorted, scheme)
}

func varyText(c site.Cache) string {
	if c.Vary == nil {
		return "any"
	}
	return list(c.Vary)
}

func targetText(t *site.Target) string {
	parts := []string{}
	add := func(key, value string) {
		if value != "" && value != "[]" {
			parts = append(parts, key+": "+value)
		}
	}
	add("at", t.At)
	add("regions", list(t.Regions))
	add("addresses", list(t.Addresses))
	add("cname", t.CNAME)
	add("weight", strconv.Itoa(t.Weight))
	add("probe", t.Probe)
	return t.Name + ": {" + strings.Join(parts, ", ") + "}"
}

func (d describer) zones(zones []Zone) {
	d.line(0, "")
	for _, z := range zones {
		d.line(0, "# zone %s of %s: %d records, name servers %s", z.Origin, z.File, z.facts.records, list(z.facts.servers))
	}
}

func list[T netip.Prefix | netip.Addr | string](items []T) string {
	words := make([]string, len(items))
	for i, item := range items {
		words[i] = fmt.Sprint(item)
	}
	return "[" + strings.Join(words, ", ") + "]"
}

func place(p topology.Place) string {
	if p.Code != "" {
		return p.Code
	}
	s := fmt.Sprintf("{lat: %s, lon: %s, country: %s", number(p.Lat), number(p.Lon), p.Country)
	if p.City != "" {
		s += ", city: " + p.City
	}
	return s + "}"
}

func secret(s topology.Secret) string {
	switch {
	case s.File != "":
		return "{file: " + s.File + "}"
	case s.Env != "":
		return "{env: " + s.Env + "}"
	}
	return "none"
}

// number writes without exponent, rounded to six digits behind the point.
func number(f float64) string {
	s := strconv.FormatFloat(f, 'f', 6, 64)
	return strings.TrimSuffix(strings.TrimRight(s, "0"), ".")
}

// rate is requests per second as the files write them.
func rate(f float64) string {
	if f == 0 {
		return "unlimited"
	}
	return scaled(f, "/s")
}

func scaled(f float64, unit string) string {
	for _, step := range []struct {
		factor float64
		letter string
	}{{1e9, "G"}, {1e6, "M"}, {1e3, "k"}} {
		if f >= step.factor {
			return number(f/step.factor) + step.letter + unit
		}
	}
	return number(f) + unit
}
