package containerlab

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/catchment-net/catchment/labs/layout"
)

// frrRouter is a network's router as FRR is told of it.
type frrRouter struct {
	name     string
	asn      uint32
	id       netip.Addr
	loopback []netip.Prefix // what the machine itself answers on: its own address, its clients' and its origins'
	networks []netip.Prefix // what it originates
	hosts    []layout.Host
	ports    []frrPort
	sessions []frrSession
}

type frrPort struct {
	name, peer string
	addrs      []netip.Prefix
}

type frrSession struct {
	peer      string
	addr      netip.Addr // IPv4; both families ride one session (RFC 4760)
	asn       uint32
	relation  relation // what the neighbour is to us
	prepend   int
	nextHop6  netip.Addr // ours on the link
	byDefault bool       // it is told a default route: a POP node holds no full table
	place     int        // of a POP's node: the POP's rank among those that are equally far; else 0
	passive   bool
}

// relation is what a neighbour is to a network.
type relation string

const (
	customer  relation = "customer"
	peer      relation = "peer"
	provider  relation = "provider"
	collector relation = "collector" // hears everything and says nothing
)

// localPref is what a route from such a neighbour is worth, as in our own speaker: customers pay, peers are free,
// providers cost.
func localPref(r relation) int {
	return map[relation]int{customer: 300, peer: 200, provider: 100}[r]
}

// conf is its frr.conf. Who hears what, after Gao and Rexford: our own routes and those of customers carry the large
// community ASN:0:1 inside the router and go to everybody; the rest goes to customers alone. It is taken from what comes
// in and from what goes out, so that nobody else can set it or see it.
func (r *frrRouter) conf() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("! %s, AS %d. Written by `catchment lab render`; edit the lab's topology.yaml instead.", r.name, r.asn)
	line("frr defaults datacenter")
	line("hostname %s", r.name)
	line("service integrated-vtysh-config")
	line("ip forwarding\nipv6 forwarding\n!")
	line("interface lo")
	for _, p := range r.loopback {
		line(" %s address %s", ip(p.Addr()), p)
	}
	line("exit\n!")
	for _, p := range r.ports {
		line("interface %s\n description %s", p.name, p.peer)
		for _, a := range p.addrs {
			line(" %s address %s", ip(a.Addr()), a)
		}
		line("exit\n!")
	}
	for _, p := range r.networks { // what no machine holds ends here instead of going in circles
		line("%s route %s blackhole 250", ip(p.Addr()), p)
	}
	for _, h := range r.hosts {
		line("%s route %s %s", ip(h.Via), h.Prefix, h.Via)
	}
	line("!")
	r.bgp(line)
	r.policies(line)
	line("end")
	return b.String()
}

func ip(a netip.Addr) string {
	if a.Is4() {
		return "ip"
	}
	return "ipv6"
}

func (r *frrRouter) bgp(line func(string, ...any)) {
	line("router bgp %d", r.asn)
	line(" bgp router-id %s", r.id)
	line(" no bgp default ipv4-unicast")
	line(" no bgp network import-check")
	line(" bgp bestpath compare-routerid")
	line(" bgp deterministic-med")
	line(" timers bgp 3 9")
	line(" coalesce-time 0") // else a POP that is back hears of its clients a second after they hear of it
	for _, s := range r.sessions {
		line(" neighbor %s remote-as %d", s.addr, s.asn)
		line(" neighbor %s description %s", s.addr, s.peer)
		line(" neighbor %s timers connect 1", s.addr)
		line(" neighbor %s advertisement-interval 0", s.addr)
		if s.passive {
			line(" neighbor %s passive", s.addr)
		}
	}
	for _, four := range []bool{true, false} {
		line(" !\n address-family %s unicast", map[bool]string{true: "ipv4", false: "ipv6"}[four])
		for _, p := range r.networks {
			if p.Addr().Is4() == four {
				line("  network %s route-map OWN", p)
			}
		}
		for _, s := range r.sessions {
			line("  neighbor %s activate", s.addr)
			line("  neighbor %s soft-reconfiguration inbound", s.addr)
			line("  neighbor %s route-map %s in", s.addr, s.in())
			line("  neighbor %s route-map %s out", s.addr, s.out())
			if s.byDefault {
				line("  neighbor %s default-originate", s.addr)
			}
		}
		line("  maximum-paths 16")
		line(" exit-address-family")
	}
	line("exit\n!")
}

func (s *frrSession) in() string {
	if s.place > 0 {
		return fmt.Sprintf("FROM-%s-%d", strings.ToUpper(string(s.relation)), s.place)
	}
	return "FROM-" + strings.ToUpper(string(s.relation))
}

func (s *frrSession) out() string {
	if s.relation == collector {
		return "TO-COLLECTOR"
	}
	return "TO-" + s.peer
}

func (r *frrRouter) policies(line func(string, ...any)) {
	mark := fmt.Sprintf("%d:0:1", r.asn)
	line("bgp large-community-list standard OWN permit %s", mark)
	line("bgp community-list standard GSHUT permit 65535:0\n!")
	line("route-map OWN permit 10\n set large-community %s\nexit\n!", mark)
	written := map[string]bool{}
	for _, s := range r.sessions {
		if name := s.in(); !written[name] {
			s.incoming(mark, line)
			written[name] = true
		}
	}
	for _, s := range r.sessions {
		if s.relation == collector {
			line("route-map %s permit 10\n set large-comm-list OWN delete\n set ipv6 next-hop global %s\nexit\n!", s.out(), s.nextHop6)
		} else {
			r.outgoing(s, line)
		}
	}
}

// incoming judges what such neighbours say. A route-map ends at its first match, so the mark is dropped first, and
// GSHUT (RFC 8326) has the last word because nothing comes after its local preference of 0.
//
// The metric tells POPs apart: FRR shares the load among paths that are equal up to the router id, which the nodes of
// one POP should do and two POPs must not, since then a client would land at both.
func (s *frrSession) incoming(mark string, line func(string, ...any)) {
	if s.relation == collector {
		line("route-map %s deny 10\nexit\n!", s.in())
		return
	}
	set := func(pref int) {
		line(" set local-preference %d", pref)
		line(" set metric %d", s.place)
		if s.place > 0 { // a POP's node names its own address as the next hop, which is on no cable
			line(" set ip next-hop peer-address")
		}
		if s.relation == customer {
			line(" set large-community %s additive", mark)
		}
		line("exit\n!")
	}
	line("route-map %s permit 10\n set large-comm-list OWN delete\n on-match next\nexit\n!", s.in())
	line("route-map %s permit 20\n match community GSHUT", s.in())
	set(0)
	line("route-map %s permit 30", s.in())
	set(localPref(s.relation))
}

// outgoing decides what a neighbour hears: customers everything, others what is marked.
func (r *frrRouter) outgoing(s frrSession, line func(string, ...any)) {
	line("route-map %s permit 10", s.out())
	if s.relation != customer {
		line(" match large-community OWN")
	}
	line(" set large-comm-list OWN delete")
	if s.prepend > 0 {
		line(" set as-path prepend%s", strings.Repeat(fmt.Sprintf(" %d", r.asn), s.prepend))
	}
	if s.nextHop6.IsValid() {
		line(" set ipv6 next-hop global %s", s.nextHop6)
	}
	line("exit\n!")
}

// daemons is the file that FRR's start script reads.
const daemons = `zebra=yes
bgpd=yes
staticd=yes
vtysh_enable=yes
zebra_options="-A 127.0.0.1 -s 90000000"
bgpd_options="-A 127.0.0.1"
staticd_options="-A 127.0.0.1"
`

// vtyshConf says that there is one file for all daemons.
const vtyshConf = "service integrated-vtysh-config\n"
