package topology

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/catchment-net/catchment/internal/conf"
)

// ask says that a network's clients use a resolver, whose name is read before the resolvers are.
type ask struct {
	network *Network
	at      conf.Value
}

// resolver reads a recursive resolver and gives it its addresses.
func (r *reader) resolver(e conf.Entry) {
	f := e.Value.Fields("in", "ecs", "min_ttl", "software")
	name, ok := r.name("resolver", e.Key)
	s := &Resolver{Name: name, Software: Ours, ECS: f.Get("ecs").Exists() && f.Get("ecs").Bool()}
	if ttl := f.Get("min_ttl"); ttl.Exists() {
		s.MinTTL = positive(ttl, 0, 24*time.Hour)
		if s.MinTTL%time.Second != 0 {
			ttl.Fail(fmt.Sprintf("min_ttl %s is no whole number of seconds", conf.Span(s.MinTTL)), "write one such as 60s: a TTL counts seconds (RFC 2181 §8)")
		}
	}
	if software := f.Get("software"); software.Exists() {
		s.Software = software.Enum(Unbound, Ours)
	}
	in := f.Need("in", "name the network that it runs in")
	if s.In = r.in("resolver", name, in); s.In != nil {
		r.resolverAddrs(s, in)
	}
	if ok { // and a bad reference is reported already
		r.t.Internet.Resolvers = append(r.t.Internet.Resolvers, s)
	}
}

// resolverAddrs takes the next free host of the network's first prefix of each family: the first one is its clients'.
func (r *reader) resolverAddrs(s *Resolver, at conf.Value) {
	host := 2
	for _, other := range r.t.Internet.Resolvers {
		if other.In == s.In {
			host++
		}
	}
	if len(s.In.Prefixes) == 0 {
		at.Fail(fmt.Sprintf("resolver %q is in network %q, which has no prefixes", s.Name, s.In.Name), "add `prefixes: [198.51.100.0/27]` to it: a resolver needs an address")
		return
	}
	for _, four := range []bool{true, false} {
		i := slices.IndexFunc(s.In.Prefixes, func(p netip.Prefix) bool { return p.Addr().Is4() == four })
		if i < 0 {
			continue
		}
		p := s.In.Prefixes[i]
		if hosts(p) < float64(host) {
			at.Fail(fmt.Sprintf("prefix %s of network %q has no address for resolver %q", p, s.In.Name, s.Name), fmt.Sprintf("use a /%d or shorter", wide(p, host)))
			continue
		}
		a := p.Addr()
		for range host {
			a = a.Next()
		}
		s.Addrs = append(s.Addrs, a)
	}
}

// useResolvers finds the resolvers that networks name.
func (r *reader) useResolvers() {
	for _, a := range r.asks {
		name := a.at.Word()
		if name == "" {
			continue
		}
		a.network.Resolver = r.t.Resolver(name)
		switch {
		case a.network.Resolver == nil:
			a.at.Fail(fmt.Sprintf("network %q uses the unknown resolver %q", a.network.Name, name), r.nearestResolver(name))
		case a.network.Users == 0:
			a.at.Fail(fmt.Sprintf("network %q uses resolver %q but has no clients", a.network.Name, name), "add `users`, or leave `resolver` out")
		}
	}
}

func (r *reader) nearestResolver(name string) string {
	var known []string
	for _, s := range r.t.Internet.Resolvers {
		known = append(known, s.Name)
	}
	slices.Sort(known)
	if near := conf.Nearest(name, known); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	return "name one under `resolvers`"
}

// ParentFolder holds the master files of the zones that name servers of others serve.
const ParentFolder = "parent"

var parentFile = regexp.MustCompile(`^` + ParentFolder + `/[A-Za-z0-9_][A-Za-z0-9._-]*$`)

// nameServer reads a name server of others.
func (r *reader) nameServer(e conf.Entry) {
	f := e.Value.Fields("in", "at", "prefixes", "zones")
	host := conf.HostName(e.Key, "name server")
	s := r.server("name server", host, f)
	n := &NameServer{Host: host, In: s.in, At: s.at, Prefixes: s.prefixes, Addrs: s.addrs}
	zones := f.Need("zones", "write what it serves: `zones: {example: parent/example}`")
	for _, z := range zones.Entries() {
		if served, ok := r.servedZone(z); ok {
			n.Zones = append(n.Zones, served)
		}
	}
	if zones.IsMap() && len(zones.Entries()) == 0 {
		zones.Fail(fmt.Sprintf("name server %q serves no zone", host), "write at least one: {example: parent/example}")
	}
	if host != "" && r.serverOnce("name server", host, e.Key) {
		r.t.Internet.NameServers = append(r.t.Internet.NameServers, n)
	}
}

// servedZone reads `example: parent/example`; the root is written `.`, in quotes.
func (r *reader) servedZone(e conf.Entry) (ServedZone, bool) {
	origin := strings.ToLower(strings.TrimSuffix(e.Key.Text(), "."))
	if origin != "" && conf.HostFault("www."+origin) != "" {
		e.Key.Fail(fmt.Sprintf("zone %q is no domain name", e.Key.Text()), "write its name: example, shop.example, or \".\" for the root")
		return ServedZone{}, false
	}
	file := e.Value.Word()
	if e.Value.IsScalar() && !parentFile.MatchString(file) {
		e.Value.Fail(fmt.Sprintf("zone file %q is not in %s/", file, ParentFolder), fmt.Sprintf("write for example %s/example, relative to the lab's folder", ParentFolder))
		return ServedZone{}, false
	}
	return ServedZone{Origin: origin + ".", File: file}, file != ""
}
