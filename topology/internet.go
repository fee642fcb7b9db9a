package topology

import (
	"fmt"
	"math"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/catchment-net/catchment/internal/conf"
)

// declared is a link with its place in the file.
type declared struct {
	link *Link
	at   conf.Value
}

// internet reads the world around the network.
func (r *reader) internet(v conf.Value) {
	f := v.Fields("router", "networks", "resolvers", "nameservers", "origins", "links")
	r.t.Internet.Router = Ours
	if s := f.Get("router"); s.Exists() {
		r.t.Internet.Router = s.Enum(FRR, BIRD, Ours)
	}
	for _, e := range f.Get("networks").Entries() {
		if n := r.network(e); n != nil {
			r.t.Internet.Networks = append(r.t.Internet.Networks, n)
		}
	}
	for _, e := range f.Get("resolvers").Entries() {
		r.resolver(e)
	}
	r.useResolvers()
	for _, e := range f.Get("nameservers").Entries() {
		r.nameServer(e)
	}
	for _, e := range f.Get("origins").Entries() {
		if o := r.origin(e); o != nil {
			r.t.Internet.Origins = append(r.t.Internet.Origins, o)
		}
	}
	for _, e := range f.Get("links").Entries() {
		if l := r.link(e); l != nil {
			r.t.Internet.Links = append(r.t.Internet.Links, l)
			r.links = append(r.links, declared{l, e.Key})
		}
	}
	r.sameASN()
	r.circles()
}

// pair is two networks with one AS number, the later one first.
type pair struct{ later, former named }

// sameASN reports networks with one AS number that are not two routers of one AS, which speak iBGP with each other.
func (r *reader) sameASN() {
	for _, p := range r.pairs {
		joined := slices.ContainsFunc(r.links, func(d declared) bool {
			return d.link.Relation == Peering && (d.link.A == p.later.kind && d.link.B == p.former.kind || d.link.A == p.former.kind && d.link.B == p.later.kind)
		})
		if !joined {
			p.later.at.Fail(fmt.Sprintf("network %q has the asn of %q at %s", p.later.kind, p.former.kind, p.former.at.Pos()),
				fmt.Sprintf("give each network its own, or link them: `%s -- %s` makes them two routers of one AS", p.former.kind, p.later.kind))
		}
	}
}

func (r *reader) network(e conf.Entry) *Network {
	f := e.Value.Fields("asn", "at", "users", "prefixes", "resolver", "router")
	name, ok := r.name("network", e.Key)
	n := &Network{
		Name: name,
		ASN:  r.asn(f.Need("asn", "write its AS number")),
		At:   readPlace(f.Need("at", "write where it is: an IATA city code such as FRA")),
	}
	if n.Router = r.t.Internet.Router; f.Get("router").Exists() {
		n.Router = f.Get("router").Enum(FRR, BIRD, Ours)
	}
	if asks := f.Get("resolver"); asks.Exists() {
		r.asks = append(r.asks, ask{n, asks})
	}
	for _, before := range r.asns[n.ASN] {
		r.pairs = append(r.pairs, pair{named{name, f.Get("asn")}, before})
	}
	if n.ASN != 0 {
		if n.ASN == r.t.ASN {
			f.Get("asn").Fail(fmt.Sprintf("network %q has our own asn %d", name, n.ASN), "give it another: the Internet around us is made of other networks")
		}
		r.asns[n.ASN] = append(r.asns[n.ASN], named{name, f.Get("asn")})
	}
	n.Users = f.Get("users").Float(0, math.Inf(1))
	n.Prefixes = r.prefixes(fmt.Sprintf("network %q", name), f.Get("prefixes"))
	if n.Users > 0 && !f.Get("prefixes").Exists() {
		e.Key.Fail(fmt.Sprintf("network %q has users but no prefixes", name), "add `prefixes: [198.51.100.0/27]`: its clients need addresses")
	}
	if r.networks[name] == nil {
		r.networks[name] = n // even under a bad name: links to it are no second mistake
	}
	if !ok {
		return nil
	}
	return n
}

// prefixes reads a list of prefixes that belong to owner.
func (r *reader) prefixes(owner string, v conf.Value) []netip.Prefix {
	var list []netip.Prefix
	for _, item := range v.Items() {
		p := item.Prefix()
		if !p.IsValid() {
			continue
		}
		r.claim(p, owner, item)
		if hosts(p) < 1 {
			item.Fail(fmt.Sprintf("prefix %s of %s has no address for a host", p, owner), fmt.Sprintf("use a /%d or shorter", wide(p, 1)))
			continue
		}
		list = append(list, p)
	}
	return list
}

func (r *reader) origin(e conf.Entry) *Origin {
	f := e.Value.Fields("in", "at", "prefixes", "limit")
	o := &Origin{Host: conf.HostName(e.Key, "origin"), Limit: f.Get("limit").Rate()}
	server := r.server("origin", o.Host, f)
	o.In, o.At, o.Prefixes, o.Addrs = server.in, server.at, server.prefixes, server.addrs
	if o.Host == "" || !r.serverOnce("origin", o.Host, e.Key) {
		return nil
	}
	return o
}

// server is what origins and name servers of others have in common: a host that hangs on a network's router.
type server struct {
	in       *Network
	at       Place
	prefixes []netip.Prefix
	addrs    []netip.Addr
}

func (r *reader) server(kind, host string, f conf.Fields) server {
	var s server
	if s.in = r.in(kind, host, f.Need("in", "name the network whose router it hangs on")); s.in != nil {
		s.at = s.in.At
	}
	if at := f.Get("at"); at.Exists() {
		s.at = readPlace(at)
	}
	prefixes := f.Need("prefixes", "write its addresses: `prefixes: [203.0.113.128/28]`")
	s.prefixes = r.prefixes(fmt.Sprintf("%s %q", kind, host), prefixes)
	if prefixes.Exists() && len(prefixes.Items()) == 0 {
		prefixes.Fail(fmt.Sprintf("%s %q has no prefix", kind, host), "write at least one: [203.0.113.128/28]")
	}
	for _, p := range s.prefixes {
		s.addrs = append(s.addrs, p.Addr().Next())
	}
	return s
}

// in reads the network that something is in; nil if there is none, which is then recorded.
func (r *reader) in(kind, host string, v conf.Value) *Network {
	name := v.Word()
	if name == "" {
		return nil
	}
	n := r.networks[name]
	if n == nil {
		v.Fail(fmt.Sprintf("%s %q is in the unknown network %q", kind, host, name), r.nearestNetwork(name))
	}
	return n
}

// serverOnce reports a host that an origin or a name server has already.
func (r *reader) serverOnce(kind, host string, key conf.Value) bool {
	before, used := r.hosts[host]
	switch {
	case !used:
		r.hosts[host] = named{kind, key}
	case before.kind == kind:
		key.Fail(fmt.Sprintf("%s %q is there twice", kind, host), "keep one of the two")
	default:
		key.Fail(fmt.Sprintf("%s %q has the name of the %s at %s", kind, host, before.kind, before.at.Pos()), "give each host a name of its own")
	}
	return !used
}

// nearestNetwork is the remedy for an unknown network's name.
func (r *reader) nearestNetwork(name string) string {
	var known []string
	for n := range r.networks {
		known = append(known, n)
	}
	slices.Sort(known)
	if near := conf.Nearest(name, known); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	return "name one under `networks`"
}

// link reads `a -> b: {…}` or `a -- b: {…}`.
func (r *reader) link(e conf.Entry) *Link {
	f := e.Value.Fields("delay", "jitter", "loss", "rate", "prepend", "bfd")
	l := &Link{
		Jitter: f.Get("jitter").Duration(),
		Loss:   f.Get("loss").Fraction(),
		Rate:   f.Get("rate").BitRate(),
	}
	if p := f.Get("prepend"); p.Exists() {
		l.Prepend = p.Int(0, 16)
	}
	if b := f.Get("bfd"); b.Exists() {
		l.BFD = bfdInterval(b)
	}
	words := strings.Fields(e.Key.Text())
	if len(words) != 3 || (words[1] != "->" && words[1] != "--") {
		e.Key.Fail(fmt.Sprintf("link %q cannot be read", e.Key.Text()), linkRemedy(e.Key.Text()))
		return nil
	}
	l.A, l.B = words[0], words[2]
	if words[1] == "--" {
		l.Relation = Peering
	}
	if !r.ends(l, e.Key) {
		return nil
	}
	l.Delay = delayOf(r.place(l.A), r.place(l.B))
	if d := f.Get("delay"); d.Exists() {
		l.Delay = positive(d, 0, 10*time.Second)
	}
	return l
}

var nearlyLink = regexp.MustCompile(`^\s*([\w.-]*\w)\s*(->|--|<-|=>|<->|—|→)\s*(\w[\w.-]*)\s*$`)

// linkRemedy guesses the link that was meant.
func linkRemedy(key string) string {
	m := nearlyLink.FindStringSubmatch(key)
	if m == nil {
		return "write `a -> b` (a buys transit from b) or `a -- b` (they peer), with spaces"
	}
	switch m[2] {
	case "<-":
		return fmt.Sprintf("did you mean %q?", m[3]+" -> "+m[1])
	case "->", "=>", "→":
		return fmt.Sprintf("did you mean %q?", m[1]+" -> "+m[3])
	}
	return fmt.Sprintf("did you mean %q?", m[1]+" -- "+m[3])
}

// ends checks what a link joins.
func (r *reader) ends(l *Link, at conf.Value) bool {
	ok := true
	for _, end := range []string{l.A, l.B} {
		if r.t.POP(end) == nil && r.networks[end] == nil {
			at.Fail(fmt.Sprintf("link %q leads to %q, which is neither a POP nor a network", l.Name(), end), r.nearestEnd(end))
			ok = false
		}
	}
	if !ok {
		return false
	}
	popA, popB := r.t.POP(l.A) != nil, r.t.POP(l.B) != nil
	switch {
	case l.A == l.B:
		at.Fail(fmt.Sprintf("link %q joins %q to itself", l.Name(), l.A), "name two ends")
		return false
	case popA && popB:
		at.Fail(fmt.Sprintf("link %q joins two POPs: they share one AS and meet over the Internet", l.Name()), "link each to a network")
		return false
	case popB && l.Relation == Transit:
		at.Fail(fmt.Sprintf("link %q makes a POP sell transit", l.Name()), fmt.Sprintf("write `%s -> %s` (the POP buys) or `%s -- %s` (they peer)", l.B, l.A, l.A, l.B))
		return false
	}
	for _, d := range r.links {
		if (d.link.A == l.A && d.link.B == l.B) || (d.link.A == l.B && d.link.B == l.A) {
			at.Fail(fmt.Sprintf("%s and %s are already linked at %s", l.A, l.B, d.at.Pos()), "keep one link between two ends")
			return false
		}
	}
	return true
}

// nearestEnd is the remedy for a link to nowhere.
func (r *reader) nearestEnd(name string) string {
	for _, o := range r.t.Internet.Origins {
		if o.Host == name && o.In != nil {
			return fmt.Sprintf("an origin hangs on its network: link %q", o.In.Name)
		}
	}
	var known []string
	for _, p := range r.t.POPs {
		known = append(known, p.Name)
		for _, n := range p.Nodes {
			if n.Name == name {
				return fmt.Sprintf("links end at POPs: write %q", p.Name)
			}
		}
	}
	for n := range r.networks {
		known = append(known, n)
	}
	slices.Sort(known)
	if near := conf.Nearest(name, known); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	return "name a POP, or a network under `networks`"
}

// place is where a POP or network is.
func (r *reader) place(name string) Place {
	if p := r.t.POP(name); p != nil {
		return p.At
	}
	return r.networks[name].At
}

// delayOf derives a link's one-way delay from the distance: light in fibre makes 200 km in a millisecond, cables are
// about 1.4 times as long as the great circle, and equipment at the ends adds 1 ms.
func delayOf(a, b Place) time.Duration {
	ms := Distance(a, b)/200*1.4 + 1
	return time.Duration(ms * float64(time.Millisecond)).Round(100 * time.Microsecond)
}

// circles reports networks that buy transit from one another in a circle: routes there have no stable best path
// (Gao-Rexford).
func (r *reader) circles() {
	providers := map[string][]declared{}
	for _, d := range r.links {
		if d.link.Relation == Transit {
			providers[d.link.A] = append(providers[d.link.A], d)
		}
	}
	const unseen, open, done = 0, 1, 2
	state := map[string]int{}
	var path []string
	var visit func(name string)
	visit = func(name string) {
		state[name] = open
		path = append(path, name)
		for _, d := range providers[name] {
			switch state[d.link.B] {
			case unseen:
				visit(d.link.B)
			case open:
				circle := append(slices.Clone(path[slices.Index(path, d.link.B):]), d.link.B)
				d.at.Fail(fmt.Sprintf("transit goes in a circle: %s", strings.Join(circle, " -> ")), "turn one of these links around, or make it a peering `--`")
			}
		}
		path = path[:len(path)-1]
		state[name] = done
	}
	for _, d := range r.links {
		if state[d.link.A] == unseen {
			visit(d.link.A)
		}
	}
}
