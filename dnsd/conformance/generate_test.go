package conformance

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// queriesPerZone are asked of each generated zone.
const queriesPerZone = 60

// generator makes zones of few labels and many structures, so that wildcards, empty non-terminals, delegations and
// aliases meet in one another's way. Zone n is the same in every run.
type generator struct {
	*rand.Rand
	origin string
	owners map[string]*owner
	lines  []string
}

// owner is what a name has so far: enough to keep a zone loadable.
type owner struct {
	alias, cut, dname bool
	types             map[string]bool
}

var (
	labels = []string{"a", "b", "c", "d", "*", "www", "x-1", "ns"}
	asked  = []uint16{
		dns.TypeA, dns.TypeA, dns.TypeA, dns.TypeAAAA, dns.TypeTXT, dns.TypeMX, dns.TypeNS, dns.TypeSOA, dns.TypeCNAME, dns.TypeDNAME,
		dns.TypeDS, dns.TypeSRV, dns.TypeHTTPS, dns.TypeCAA, dns.TypeNSEC, dns.TypeDNSKEY, dns.TypeRRSIG, 65280,
	}
)

// generated is zone n with its queries.
func generated(t *testing.T, n, id int) (zoneFile, []queryCase) {
	t.Helper()
	g := &generator{
		Rand: rand.New(rand.NewPCG(5, uint64(n))), origin: fmt.Sprintf("g%d.gen.", n), owners: map[string]*owner{},
	}
	g.lines = append(g.lines,
		fmt.Sprintf("$TTL %d", 60*(1+g.IntN(60))),
		fmt.Sprintf("@ %d SOA ns host %d 3600 600 86400 %d", g.IntN(7200), n, g.IntN(7200)), "@ NS ns", "ns A 192.0.2.53")
	g.at("@").types["NS"] = true
	g.at("ns").types["A"] = true
	for range 4 + g.IntN(24) {
		g.record(g.name())
	}
	z := zoneFile{g.origin, strings.Join(g.lines, "\n") + "\n"}
	var cases []queryCase
	for i := range queriesPerZone {
		m := query(g.question(), asked[g.IntN(len(asked))], id+i)
		if g.IntN(3) == 0 {
			edns(m)
		}
		if g.IntN(6) == 0 {
			edns(m).SetDo()
		}
		m.RecursionDesired, m.CheckingDisabled = g.IntN(2) == 0, g.IntN(8) == 0
		packet, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		cases = append(cases, queryCase{group: "generated", what: describeQuery(m), packet: packet, tcp: g.IntN(30) == 0})
	}
	return z, cases
}

// name is an owner relative to the zone's, of one to four labels.
func (g *generator) name() string {
	parts := make([]string, 1+g.IntN(4))
	for i := range parts {
		parts[i] = labels[g.IntN(len(labels))]
	}
	return strings.Join(parts, ".")
}

func (g *generator) at(name string) *owner {
	if g.owners[name] == nil {
		g.owners[name] = &owner{types: map[string]bool{}}
	}
	return g.owners[name]
}

// target is where an alias or a server's name leads: mostly into the zone.
func (g *generator) target() string {
	switch g.IntN(8) {
	case 0:
		return "elsewhere.test."
	case 1:
		return fmt.Sprintf("a.g%d.gen.", g.IntN(20)) // another zone of the same server
	case 2:
		return g.name() + "." + g.name()
	}
	if len(g.owners) > 0 && g.IntN(2) == 0 {
		all := make([]string, 0, len(g.owners))
		for name := range g.owners {
			all = append(all, name)
		}
		slices.Sort(all)
		return all[g.IntN(len(all))]
	}
	return g.name()
}

// record adds one set of records at the name if the zone stays one that every server loads.
func (g *generator) record(name string) {
	o := g.at(name)
	switch kind := g.IntN(20); {
	case o.alias || o.dname: // a CNAME stands alone (RFC 1034 §3.6.2), and nothing lies below a DNAME (RFC 6672 §2.4)
	case g.below(name):
	case kind < 4 && len(o.types) == 0 && !o.cut:
		o.alias = true
		g.add("%s CNAME %s", name, g.target())
	case kind == 4 && len(o.types) == 0 && !o.cut && !g.above(name) && !strings.HasPrefix(name, "*"):
		o.dname = true
		g.add("%s DNAME %s", name, g.target())
	case kind < 8 && !o.cut && name != "ns" && !strings.Contains(name, "*"):
		g.delegate(name, o)
	case o.cut:
	default:
		g.data(name, o)
	}
}

// delegate makes the name a cut, with glue below it, beside it and out of the zone, as it comes.
func (g *generator) delegate(name string, o *owner) {
	o.cut = true
	g.add("%s NS %s", name, []string{"ns." + name, g.target(), "ns.elsewhere.test."}[g.IntN(3)])
	if g.IntN(2) == 0 {
		g.add("%s NS ns2.%s", name, name)
		g.hidden("ns2."+name, "A 198.51.100.%d")
		if g.IntN(2) == 0 {
			g.hidden("ns2."+name, "AAAA 2001:db8::%d")
		}
	}
	if g.IntN(2) == 0 {
		g.hidden("ns."+name, "A 198.51.100.%d")
	}
	if g.IntN(3) == 0 {
		g.add("%s DS %d 13 2 %064x", name, g.IntN(65536), g.Uint64())
	}
	if g.IntN(4) == 0 {
		g.hidden("hidden."+name, "TXT occluded-%d")
	}
}

// hidden adds a record below a cut: glue, or nothing that anybody sees.
func (g *generator) hidden(name, record string) {
	if o := g.at(name); !o.alias && !o.dname {
		o.types["hidden"] = true
		g.add("%s "+record, name, 1+g.IntN(254))
	}
}

func (g *generator) data(name string, o *owner) {
	n := 1 + g.IntN(254)
	choices := [][2]string{
		{"A", fmt.Sprintf("192.0.2.%d", n)},
		{"AAAA", fmt.Sprintf("2001:db8::%x", n)},
		{"TXT", fmt.Sprintf("%q", fmt.Sprint("text ", n))},
		{"MX", fmt.Sprintf("%d %s", n, g.target())},
		{"SRV", fmt.Sprintf("1 2 %d %s", n, g.target())},
		{"HTTPS", fmt.Sprintf("1 . alpn=h2 ipv4hint=192.0.2.%d", n)},
		{"HTTPS", "0 " + g.target()},
		{"CAA", `0 issue "ca.test"`},
		{"TYPE65280", fmt.Sprintf(`\# 2 %04x`, n)},
	}
	c := choices[g.IntN(len(choices))]
	if o.types[c[0]] && c[0] == "HTTPS" {
		return // the two forms do not mix (RFC 9460 §2.4.1)
	}
	o.types[c[0]] = true
	g.add("%s %s %s", name, c[0], c[1])
	if c[0] == "A" && g.IntN(3) == 0 {
		g.add("%s A 192.0.2.%d", name, n%254+1)
	}
}

func (g *generator) add(format string, args ...any) {
	g.lines = append(g.lines, fmt.Sprintf(format, args...))
}

// below reports whether a DNAME hides the name.
func (g *generator) below(name string) bool {
	for at, o := range g.owners {
		if o.dname && strings.HasSuffix(name, "."+at) {
			return true
		}
	}
	return false
}

// above reports whether something lies below the name.
func (g *generator) above(name string) bool {
	for at := range g.owners {
		if strings.HasSuffix(at, "."+name) {
			return true
		}
	}
	return false
}

// question is a name near those of the zone: one of them, its parent, something below or beside it, in any case.
func (g *generator) question() string {
	all := make([]string, 0, len(g.owners))
	for name := range g.owners {
		all = append(all, name)
	}
	slices.Sort(all)
	name := all[g.IntN(len(all))]
	switch g.IntN(6) {
	case 0:
		name = g.name()
	case 1:
		name = labels[g.IntN(len(labels))] + "." + name
	case 2:
		if _, up, ok := strings.Cut(name, "."); ok {
			name = up
		}
	case 3:
		name = "deep.er." + name
	}
	full := g.origin
	if !strings.HasSuffix(name, "@") {
		full = name + "." + g.origin
	} else if below := strings.TrimSuffix(name, "@"); below != "" {
		full = below + g.origin
	}
	if g.IntN(3) > 0 {
		return full
	}
	mixed := []byte(full)
	for i := range mixed {
		if g.IntN(2) == 0 {
			mixed[i] = strings.ToUpper(full[i : i+1])[0]
		}
	}
	return string(mixed)
}
