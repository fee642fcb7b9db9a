// Package bird writes the configuration of a network's router that is BIRD 2. It starts nothing: a runner starts BIRD in a
// namespace.
//
//	layout.Machine ──► bird.conf ──► bird ── BGP ──► labs/collector
package bird

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/catchment-net/catchment/labs/layout"
)

// Options says how a router's configuration is written. Machine is required.
type Options struct {
	Machine *layout.Machine
	// Collector is the address of the neighbour that hears everything and says nothing; the zero Addr means none.
	Collector netip.Addr
}

// printer takes lines.
type printer struct{ strings.Builder }

func (p *printer) line(format string, args ...any) { fmt.Fprintf(p, format+"\n", args...) }

// family is one of the two address families.
type family struct {
	name string // of the channel
	four bool
}

func families() []family { return []family{{"ipv4", true}, {"ipv6", false}} }

// igp is the table that next hops are looked up in: the machine's links, and the addresses of POP nodes behind them.
func (f family) igp() string { return strings.Replace(f.name, "ip", "igp", 1) }

func (f family) of(all []netip.Prefix) []netip.Prefix {
	return slices.DeleteFunc(slices.Clone(all), func(p netip.Prefix) bool { return p.Addr().Is4() != f.four })
}

// Conf is a whole bird.conf.
func Conf(o Options) string {
	var p printer
	r := newRouter(o)
	p.line("# %s, AS %d. Written from the lab's topology.yaml; edit that instead.", o.Machine.Name, o.Machine.ASN)
	p.line("log stderr { warning, error, fatal, bug, auth };")
	p.line("router id %s;", o.Machine.RouterID)
	for _, f := range families() {
		p.line("%s table %s;", f.name, f.igp())
	}
	p.line("protocol device {}")
	for _, f := range families() {
		p.kernel(o.Machine, f)
	}
	p.watch(o)
	r.functions(&p)
	for _, s := range r.sessions {
		s.write(&p, r)
	}
	return p.String()
}

// kernel is what the router knows besides BGP, and what the machine's kernel hears of BGP's routes.
func (p *printer) kernel(m *layout.Machine, f family) {
	p.line("protocol direct direct%s { %s { table %s; }; }", f.name, f.name, f.igp())
	p.line("protocol static hosts%s { %s { table %s; };", f.name, f.name, f.igp())
	for _, h := range m.Hosts() {
		if h.Via.Is4() == f.four {
			p.line("  route %s via %s;", h.Prefix, h.Via)
		}
	}
	p.line("}")
	p.line("protocol static own%s { %s;", f.name, f.name)
	for _, n := range f.of(m.Prefixes) {
		p.line("  route %s unreachable;", n)
	}
	p.line("  route %s unreachable; # told to POP nodes alone, which hold no full table", everything(f.four))
	p.line("}")
	p.line("protocol kernel kernel%s {", f.name)
	p.line("  merge paths on limit 16;")
	p.line("  %s { import none; export filter {", f.name)
	p.line("    if source != RTS_BGP then reject;")
	for _, a := range m.Clients {
		if a.Is4() == f.four {
			p.line("    krt_prefsrc = %s;", a)
		}
	}
	p.line("    accept;\n  }; };\n}")
}

func everything(four bool) netip.Prefix {
	if four {
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
}

// watch has BFD on the interfaces that want it, in their order.
func (p *printer) watch(o Options) {
	watched := slices.DeleteFunc(slices.Clone(o.Machine.Interfaces), func(i *layout.Interface) bool { return i.BFD == 0 })
	if len(watched) == 0 {
		return
	}
	p.line("protocol bfd {")
	for _, i := range watched {
		p.line("  interface %q { interval %d us; multiplier 3; };", i.Name, i.BFD.Microseconds())
	}
	p.line("}")
}
