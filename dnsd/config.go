package dnsd

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/catchment-net/catchment/dnsd/steer"
	"github.com/catchment-net/catchment/dnsd/zone"
	"github.com/catchment-net/catchment/topology"
)

// config is a Config, compiled. It is immutable.
type config struct {
	zones    *zone.Set
	faults   []ZoneFault
	policies map[string]*steer.Policy // by canonical host name
	steering *steer.Compiler
	index    *index              // finds names and keeps their answers
	listen   []string            // what the topology says we listen on
	unicast  map[netip.Addr]bool // our own addresses
}

// compile checks a Config. before is the one in force, whose tables are used again; nil: none is.
func compile(c Config, before *config) (*config, error) {
	out := &config{policies: map[string]*steer.Policy{}, unicast: map[netip.Addr]bool{}}
	var last *steer.Compiler
	if before != nil {
		last = before.steering
	}
	out.steering = steer.NewCompiler(c.Topology, c.Geo, last)
	defer out.steering.Finish()
	var errs []error
	if err := out.addNode(c); err != nil {
		errs = append(errs, err)
	}
	var lastZones *zone.Set
	if before != nil {
		lastZones = before.zones
	}
	zones, err := out.addZones(c.Zones, lastZones)
	if err != nil {
		errs = append(errs, err)
	}
	hosts, hostErrs := out.addHosts(c)
	errs = append(errs, hostErrs...)
	if err == nil { // with the zones missing, "lies in no zone" would mislead
		if out.zones, err = zone.NewSet(zones, hosts, lastZones); err != nil {
			errs = append(errs, err)
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return out, out.checkTops()
}

func (c *config) addNode(src Config) error {
	if src.Topology == nil {
		return nil
	}
	listen := func(a netip.Addr) {
		c.listen = append(c.listen, netip.AddrPortFrom(a, topology.PortDNS).String())
	}
	if src.Node != "" {
		n := src.Topology.Node(src.Node)
		if n == nil {
			return fmt.Errorf("node %q is not in topology %q; want one of %s", src.Node, src.Topology.Name, nodeNames(src.Topology))
		}
		for _, a := range n.Addrs {
			c.unicast[a] = true
			listen(a)
		}
	}
	for _, a := range src.Topology.Anycast.DNS {
		listen(a)
	}
	return nil
}

func nodeNames(t *topology.Topology) string {
	var names []string
	for _, n := range t.Nodes() {
		names = append(names, strconv.Quote(n.Name))
	}
	return strings.Join(names, ", ")
}

func (c *config) addHosts(src Config) (hosts []string, errs []error) {
	of := map[string]string{} // the site of a host
	for _, s := range src.Sites {
		for _, h := range s.Hosts {
			name := zone.Canonical(h.Name)
			if first, taken := of[name]; taken {
				errs = append(errs, fmt.Errorf("host %q is in site %q and in site %q; want one of them", h.Name, first, s.Name))
				continue
			}
			of[name] = s.Name
			p, err := c.steering.Compile(h)
			if err != nil {
				errs = append(errs, fmt.Errorf("site %q: %w", s.Name, err))
				continue
			}
			c.policies[name] = p
			hosts = append(hosts, name)
		}
	}
	slices.Sort(hosts)
	return hosts, errs
}

// checkTops refuses a CNAME at the top of a zone, where SOA and NS are (RFC 1034 §3.6.2).
func (c *config) checkTops() error {
	for host, p := range c.policies {
		if c.zones.Find(host).Origin() == host && p.HasCNAME() {
			return fmt.Errorf("host %q is the top of its zone and has a target with a CNAME; want addresses there", p.Host().Name)
		}
	}
	return nil
}
