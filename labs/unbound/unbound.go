// Package unbound writes the configuration of a resolver of a lab that is unbound (NLnet Labs).
package unbound

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/catchment-net/catchment/topology"
)

// Options says how a resolver's configuration is written. All are required.
type Options struct {
	Resolver *topology.Resolver
	Topology *topology.Topology
	Hints    map[string][]netip.AddrPort // by zone: where it begins
	Dir      string                      // the resolver's own folder; nothing is written elsewhere
}

// RootFile is the file of the root's name servers, in Options.Dir.
const RootFile = "root.hints"

// Conf is the unbound.conf of a resolver that runs in the foreground, validates nothing, prefetches nothing and serves
// nothing stale: what makes a user's wait after a failover.
func Conf(o Options) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("# %s. Written from the lab's topology.yaml; edit that instead.", o.Resolver.Name)
	line("server:")
	line("    directory: %q\n    chroot: \"\"\n    username: \"\"\n    pidfile: \"\"", o.Dir)
	line("    do-daemonize: no\n    use-syslog: no\n    verbosity: 0")
	line("    num-threads: 1\n    msg-cache-size: 1m\n    rrset-cache-size: 1m\n    outgoing-range: 256")
	for _, a := range o.Resolver.Addrs {
		line("    interface: %s\n    outgoing-interface: %s", a, a)
	}
	line("    access-control: 0.0.0.0/0 allow\n    access-control: ::/0 allow")
	for _, yes := range []bool{true, false} {
		if !slices.ContainsFunc(o.Resolver.Addrs, func(a netip.Addr) bool { return a.Is4() == yes }) {
			line("    do-ip%d: no", map[bool]int{true: 4, false: 6}[yes])
		}
	}
	line("    do-not-query-localhost: no")
	line("    local-zone: \"test.\" nodefault") // names that labs may use (RFC 6761)
	// A server that was dead is asked again soon, not after 15 minutes: a drill brings it back within seconds.
	line("    infra-host-ttl: 5\n    infra-keep-probing: yes")
	line("    cache-max-negative-ttl: 60")
	if ttl := o.Resolver.MinTTL; ttl > 0 {
		line("    cache-min-ttl: %d", int(ttl.Seconds()))
	}
	if !o.Resolver.ECS {
		line("    module-config: \"iterator\"")
	} else {
		four, six := longest(o.Topology)
		line("    module-config: \"subnetcache iterator\"")
		line("    send-client-subnet: 0.0.0.0/0\n    send-client-subnet: ::/0\n    client-subnet-always-forward: yes")
		line("    max-client-subnet-ipv4: %d\n    max-client-subnet-ipv6: %d", four, six)
	}
	if len(o.Hints["."]) > 0 {
		line("    root-hints: %q", RootFile)
	}
	for _, zone := range slices.Sorted(maps.Keys(o.Hints)) {
		if zone == "." {
			continue
		}
		line("stub-zone:\n    name: %q\n    stub-prime: no", zone)
		for _, at := range o.Hints[zone] {
			line("    stub-addr: %s@%d", at.Addr(), at.Port())
		}
	}
	line("remote-control:\n    control-enable: no")
	return b.String()
}

// longest are the lengths of the client subnets that authoritative servers are told: as long as the topology's networks,
// which may be smaller than the /24 and /56 that RFC 7871 §11.1 advises.
func longest(t *topology.Topology) (four, six int) {
	four, six = 24, 48
	for _, n := range t.Internet.Networks {
		for _, p := range n.Prefixes {
			if p.Addr().Is4() {
				four = max(four, p.Bits())
			} else {
				six = max(six, p.Bits())
			}
		}
	}
	return four, six
}

// RootHints is the file of the root's name servers; empty where the lab has no root.
func RootHints(hints map[string][]netip.AddrPort) string {
	var b strings.Builder
	for i, at := range hints["."] {
		kind := "A"
		if at.Addr().Is6() {
			kind = "AAAA"
		}
		fmt.Fprintf(&b, ". 3600000 NS %d.root.\n%d.root. 3600000 %s %s\n", i, i, kind, at.Addr())
	}
	return b.String()
}
