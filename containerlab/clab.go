package containerlab

import (
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/catchment-net/catchment/labs/layout"
)

// mtu of a cable: containerlab's 9500 is no network that users come from.
const mtu = 1500

// topologyFile is NAME.clab.yml.
func (f *Folder) topologyFile() string {
	var p, mgmt, topo, groups, nodes pairs
	p.set("name", f.Name)
	mgmt.set("network", "catchment_"+f.Name)
	mgmt.set("ipv4-subnet", f.Mgmt.String())
	mgmt.set("external-access", false) // nobody outside this host has business there
	p.set("mgmt", mgmt)

	topo.set("defaults", pairs{
		{"kind", "linux"},
		{"privileged", false},
		{"image-pull-policy", "IfNotPresent"},
		// A container that a drill has killed stays so until the drill heals it.
		{"restart-policy", "no"},
	})
	for _, r := range []role{transit, network, pop, client, beside} {
		if g := f.group(r); g != nil {
			groups.set(r.level(), g)
		}
	}
	topo.set("groups", groups)
	at := f.positions()
	for _, c := range f.nodes {
		nodes.set(c.name, f.node(c, at[c]))
	}
	topo.set("nodes", nodes)
	var links list
	for _, w := range f.Plan.Wires {
		links = append(links, pairs{{"endpoints", inline{endpoint(w.A), endpoint(w.B)}}, {"mtu", mtu}})
	}
	topo.setSome("links", links)
	p.set("topology", topo)
	return "# Written by `catchment lab render`; edit the lab's topology.yaml and render again.\n" + document(p)
}

func endpoint(i *layout.Interface) string { return i.Machine.Name + ":" + i.Name }

// group is what the containers of a role share; nil if there are none. Groups have numbers for names because the graph
// page sorts by them.
func (f *Folder) group(r role) pairs {
	if !slices.ContainsFunc(f.nodes, func(c *container) bool { return c.role == r }) {
		return nil
	}
	var g pairs
	if r != beside { // which shares its router's namespace, and with it these
		g.set("sysctls", sysctls(r != pop))
	}
	g.set("labels", pairs{{"role", string(r)}, {"graph-icon", r.icon()}, {"graph-level", r.level()}, {"graph-group", string(r)}})
	return g
}

// sysctls of a machine. Paths go and come back by different cables, so strict reverse path checks are off; a route over a
// cable without carrier is no route; an address outlives its cable's carrier and is usable at once; flows spread over
// equal paths by their ports.
func sysctls(forwards bool) pairs {
	var s pairs
	if forwards {
		s = pairs{{"net.ipv4.ip_forward", 1}, {"net.ipv6.conf.all.forwarding", 1}, {"net.ipv6.conf.default.forwarding", 1}}
	}
	for _, each := range []pair{
		{"net.ipv6.conf.%s.disable_ipv6", 0},
		{"net.ipv6.conf.%s.keep_addr_on_down", 1},
		{"net.ipv6.conf.%s.ignore_routes_with_linkdown", 1},
		{"net.ipv4.conf.%s.rp_filter", 0},
		{"net.ipv4.conf.%s.ignore_routes_with_linkdown", 1},
		// containerlab gives an interface its hardware address when it may have been in use already: the other end is told.
		{"net.ipv4.conf.%s.arp_notify", 1},
		{"net.ipv6.conf.%s.ndisc_notify", 1},
	} {
		s = append(s, pair{fmt.Sprintf(each.key, "all"), each.value}, pair{fmt.Sprintf(each.key, "default"), each.value})
	}
	return append(s, pairs{
		{"net.ipv6.conf.default.accept_dad", 0},
		{"net.ipv6.conf.default.accept_ra", 0},
		{"net.ipv4.fib_multipath_hash_policy", 1},
		{"net.ipv6.fib_multipath_hash_policy", 1},
		// Every dead end answers every packet, else a connection waits in silence.
		{"net.ipv4.icmp_ratelimit", 0},
		{"net.ipv6.icmp.ratelimit", 0},
	}...)
}

func (f *Folder) node(c *container, at position) pairs {
	var n pairs
	n.set("group", c.role.level())
	if c.beside != nil {
		n.set("network-mode", "container:"+c.beside.name)
	} else {
		n.set("mgmt-ipv4", c.mgmt.String())
	}
	if c.frr {
		n.set("image", FRRImage)
		n.set("cap-add", inline{"NET_ADMIN", "SYS_ADMIN"}) // without SYS_ADMIN, zebra and bgpd refuse to start
	} else {
		n.set("image", OurImage)
		n.set("cmd", c.command())
		if c.beside == nil {
			n.set("cap-add", inline{"NET_ADMIN"})
		}
		n.set("env", c.env())
	}
	n.set("binds", c.binds())
	if c.frr { // what nothing in the lab answers for must not leave by the management network
		n.set("exec", list{"ip route del default"})
	}
	n.setSome("healthcheck", c.healthcheck(len(f.nodes)))
	n.setSome("stages", f.stages(c))
	n.set("labels", labels(c, at))
	return n
}

func labels(c *container, at position) pairs {
	p := pairs{
		{"asn", strconv.FormatUint(uint64(c.machine.ASN), 10)},
		{"country", c.at.Country},
		{"region", c.at.Continent},
		{"graph-posX", strconv.Itoa(at.x)},
		{"graph-posY", strconv.Itoa(at.y)},
		{"graph-geoCoordinateLat", degrees(c.at.Lat)},
		{"graph-geoCoordinateLng", degrees(c.at.Lon)},
	}
	if n := c.machine.Node; n != nil {
		p = append(pairs{{"pop", n.POP.Name}}, p...)
	}
	return p
}

func degrees(d float64) string { return strconv.FormatFloat(d, 'f', 4, 64) }

// checkEvery is the interval of health checks in seconds: each is a process of the container runtime, and more of them
// than this keep a small machine busy.
func checkEvery(containers int) int {
	if containers <= 10 {
		return 5
	}
	return 15
}

func (c *container) healthcheck(containers int) pairs {
	test := c.check()
	if test == nil {
		return nil
	}
	return pairs{{"test", append(inline{"CMD"}, test...)}, {"start-period", 2}, {"interval", checkEvery(containers)}, {"timeout", 4}, {"retries", 3}}
}

// stages orders the start: a provider before those who buy from it, a namespace with its cables before who lives in it.
func (f *Folder) stages(c *container) pairs {
	var wait list
	if c.beside != nil {
		wait = append(wait, pairs{{"node", c.beside.name}, {"stage", "create-links"}})
	} else {
		for _, i := range c.machine.Interfaces {
			if i.Relation == layout.Provider {
				wait = append(wait, pairs{{"node", i.Peer.Machine.Name}, {"stage", "create"}})
			}
		}
	}
	if len(wait) == 0 {
		return nil
	}
	return pairs{{"create", pairs{{"wait-for", wait}}}}
}

// position is a container's place in a picture.
type position struct{ x, y int }

// positions projects the map: 12 points a degree of longitude, 16 a degree of latitude. Who would hide another moves
// aside.
func (f *Folder) positions() map[*container]position {
	const aside = 80
	all, taken := map[*container]position{}, map[position]bool{}
	cell := func(p position) position { return position{p.x / aside, p.y / aside} }
	for _, c := range f.nodes {
		p := position{int(math.Round((c.at.Lon + 180) * 12)), int(math.Round((90 - c.at.Lat) * 16))}
		for taken[cell(p)] {
			p.x += aside
		}
		taken[cell(p)] = true
		all[c] = p
	}
	return all
}

// where is a container in words.
func (c *container) where() string {
	if c.at.City == "" {
		return fmt.Sprintf("%.2f, %.2f", c.at.Lat, c.at.Lon)
	}
	return c.at.City
}
