package topology

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"github.com/catchment-net/catchment/internal/conf"
)

// MaxPOPs is how many POPs a topology may have: steering keeps one bit for each.
const MaxPOPs = 512

// Parse reads a topology.yaml. The error is a *conf.Problems with every mistake in the file, and then there is no
// Topology. Its Name is that of the folder in file, if file has one.
func Parse(file string, text []byte) (*Topology, error) {
	doc := conf.Parse(file, text)
	t := Read(doc)
	if err := doc.Err(); err != nil {
		return nil, err
	}
	return t, nil
}

// Read is Parse for a caller that goes on to check other things of the same file: the mistakes are left in doc, and
// the Topology may be used only if doc has none.
func Read(doc *conf.Doc) *Topology {
	t := &Topology{}
	if dir := filepath.Base(filepath.Dir(doc.File())); dir != "." && dir != string(filepath.Separator) {
		t.Name = dir
	}
	root := doc.Root()
	if !root.Exists() {
		return t
	}
	r := &reader{t: t, names: map[string]named{}, networks: map[string]*Network{}, asns: map[uint32][]named{}, hosts: map[string]named{}}
	f := root.Fields("asn", "anycast", "pops", "health", "drain", "bgp", "internet")
	t.ASN = r.asn(f.Need("asn", "write your AS number: `asn: 64500`"))
	r.anycast(f.Need("anycast", "write `anycast: {prefixes: [192.0.2.0/24]}`"))
	r.pops(f.Need("pops", "write `pops:` with one line per POP"))
	t.Health = readHealth(f.Get("health"))
	t.BGP = readBGP(f.Get("bgp"))
	t.Drain = readDrain(f.Get("drain"))
	r.internet(f.Get("internet"))
	r.floor()
	r.overlaps()
	r.families(f.Get("pops"))
	r.routerIDs()
	return t
}

// reader is one walk over a topology file.
type reader struct {
	t        *Topology
	names    map[string]named // POPs, nodes, networks and resolvers share one name space: links and drills use it
	networks map[string]*Network
	asns     map[uint32][]named // of networks
	pairs    []pair
	hosts    map[string]named // origins and name servers of others
	minPOPs  conf.Value
	asks     []ask
	claims   []claim
	links    []declared
}

// named is where a name or number was first used, and for what.
type named struct {
	kind string
	at   conf.Value
}

var (
	popName  = regexp.MustCompile(`^[a-z][a-z0-9-]{0,30}$`)
	nodeName = regexp.MustCompile(`^[a-z][a-z0-9.-]{0,62}$`)
)

// name checks and registers the name of a POP, node, network or resolver.
func (r *reader) name(kind string, key conf.Value) (string, bool) {
	name, pattern := key.Text(), popName
	fix := "use lower-case letters, digits and `-`, beginning with a letter, at most 31 characters"
	if kind == "node" {
		pattern = nodeName
		fix = "use lower-case letters, digits, `-` and `.`, beginning with a letter, at most 63 characters"
	}
	if !pattern.MatchString(name) {
		key.Fail(fmt.Sprintf("%s name %q cannot be used", kind, name), fix)
		return name, false
	}
	if before, ok := r.names[name]; ok {
		key.Fail(fmt.Sprintf("%s %q has the name of the %s at %s", kind, name, before.kind, before.at.Pos()),
			"give each POP, node, network and resolver a name of its own")
		return name, false
	}
	r.names[name] = named{kind, key}
	return name, true
}

// asn reads an AS number that can be used on the Internet or in private.
func (r *reader) asn(v conf.Value) uint32 {
	if s := v.Text(); len(s) > 2 && (s[:2] == "AS" || s[:2] == "as") {
		v.Fail(fmt.Sprintf("asn %q is not a number", s), fmt.Sprintf("write %s", s[2:]))
		return 0
	}
	n := uint32(v.Int(1, 1<<32-1))
	switch n {
	case 23456:
		v.Fail("asn 23456 stands for 32-bit numbers in old sessions (RFC 6793)", "write the real number")
	case 65535, 1<<32 - 1:
		v.Fail(fmt.Sprintf("asn %d is reserved (RFC 7300)", n), "use one of your own, or a private one from 64512 to 65534")
	default:
		return n
	}
	return 0
}

// anycast reads the shared prefixes and the service addresses within them.
func (r *reader) anycast(v conf.Value) {
	f := v.Fields("prefixes", "dns", "web", "min_pops", "flap_budget")
	a := &r.t.Anycast
	a.MinPOPs, a.FlapBudget = DefaultMinPOPs, DefaultFlapBudget
	for _, item := range f.Need("prefixes", "write `prefixes: [192.0.2.0/24]`").Items() {
		p := item.Prefix()
		if !p.IsValid() {
			continue
		}
		r.claim(p, "anycast", item)
		limit := 48
		if p.Addr().Is4() {
			limit = 24
		}
		if p.Bits() > limit && !local(p.Addr()) {
			item.Fail(fmt.Sprintf("anycast prefix %s is longer than /%d: most networks do not accept it", p, limit),
				fmt.Sprintf("announce a /%d or shorter", limit))
		}
		a.Prefixes = append(a.Prefixes, p)
	}
	if f.Get("prefixes").Exists() && len(f.Get("prefixes").Items()) == 0 {
		f.Get("prefixes").Fail("no anycast prefix", "write at least one: [192.0.2.0/24]")
	}
	a.DNS = r.service(f.Get("dns"))
	a.Web = r.service(f.Get("web"))
	if r.minPOPs = f.Get("min_pops"); r.minPOPs.Exists() {
		a.MinPOPs = r.minPOPs.Int(1, maxMinPOPs)
	}
	if n := f.Get("flap_budget"); n.Exists() {
		a.FlapBudget = n.Int(DefaultFlapBudget, maxFlapBudget)
	}
}

// The bounds of numbers that a network has fewer of, and of penalties that no router lets a prefix reach.
const (
	maxMinPOPs    = 1000
	maxFlapBudget = 1_000_000
)

// floor reports a number of POPs that the network does not have.
func (r *reader) floor() {
	if n, have := r.minPOPs, len(r.t.POPs); n.Exists() && have > 0 && r.t.Anycast.MinPOPs > have {
		n.Fail(fmt.Sprintf("min_pops %d is more than the %d POPs that there are", r.t.Anycast.MinPOPs, have),
			fmt.Sprintf("write at most %d; with %d, no POP ever withdraws because its probes fail", have, have))
	}
}

// service reads addresses that must lie in the anycast prefixes.
func (r *reader) service(v conf.Value) []netip.Addr {
	var list []netip.Addr
	for _, item := range v.Items() {
		addr := item.Addr()
		if !addr.IsValid() {
			continue
		}
		inside := slices.ContainsFunc(r.t.Anycast.Prefixes, func(p netip.Prefix) bool { return p.Contains(addr) })
		switch {
		case !inside && len(r.t.Anycast.Prefixes) > 0:
			item.Fail(fmt.Sprintf("%s address %s is outside the anycast prefixes", v.Name(), addr),
				fmt.Sprintf("choose one in %s, or add its prefix", r.t.Anycast.Prefixes[0]))
		case slices.Contains(list, addr):
			item.Fail(fmt.Sprintf("%s address %s is listed twice", v.Name(), addr), "remove one")
		default:
			list = append(list, addr)
		}
	}
	return list
}

// readHealth reads the timing of probes and fills in its defaults.
func readHealth(v conf.Value) Health {
	f := v.Fields("interval", "timeout", "fall", "rise")
	h := Health{Interval: 100 * time.Millisecond, Fall: 3, Rise: 10 * time.Second}
	if i := f.Get("interval"); i.Exists() {
		h.Interval = positive(i, 5*time.Millisecond, time.Minute)
	}
	h.Timeout = h.Interval * 8 / 10
	if t := f.Get("timeout"); t.Exists() {
		h.Timeout = positive(t, time.Millisecond, time.Minute)
		if h.Interval > 0 && h.Timeout > h.Interval {
			t.Fail(fmt.Sprintf("timeout %s is longer than the interval %s", conf.Span(h.Timeout), conf.Span(h.Interval)),
				"wait at most one interval for an answer: probes must not pile up")
		}
	}
	if n := f.Get("fall"); n.Exists() {
		h.Fall = n.Int(1, 100)
	}
	if d := f.Get("rise"); d.Exists() {
		h.Rise = positive(d, 0, time.Hour)
	}
	return h
}

// positive reads a duration between lo and hi.
func positive(v conf.Value, lo, hi time.Duration) time.Duration {
	d := v.Duration()
	if v.IsScalar() && (d < lo || d > hi) && (d != 0 || v.Text()[0] == '0') {
		v.Fail(fmt.Sprintf("%s %s is out of range", v.Name(), conf.Span(d)), fmt.Sprintf("write one from %s to %s", conf.Span(lo), conf.Span(hi)))
		return 0
	}
	return d
}
