package runner

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/miekg/dns"

	"github.com/catchment-net/catchment/control"
	"github.com/catchment-net/catchment/topology"
)

// NameServers are the addresses at which the lab's zones say that they are served: those of each zone's NS records, as
// a resolver learns them from the parent's glue. IPv4 and IPv6, in the zones' order.
func NameServers(snap *control.Snapshot) ([]netip.AddrPort, error) {
	var servers []netip.AddrPort
	for _, z := range snap.Zones {
		own, err := serversOf(z)
		if err != nil {
			return nil, err
		}
		for _, ap := range own {
			if !slices.Contains(servers, ap) {
				servers = append(servers, ap)
			}
		}
	}
	if len(servers) == 0 {
		return nil, errors.New("no client can resolve anything: no zone in zones/ has NS records with addresses; add NS records and their A or AAAA records")
	}
	return servers, nil
}

// Hints are where the lab's resolvers begin: at the root where the lab has one, else at the parent zones that it has, and
// at the name servers of each zone that none of these holds.
func Hints(snap *control.Snapshot) (map[string][]netip.AddrPort, error) {
	hints := map[string][]netip.AddrPort{}
	for _, n := range snap.Topology.Internet.NameServers {
		for _, z := range n.Zones {
			for _, a := range n.Addrs {
				hints[z.Origin] = append(hints[z.Origin], netip.AddrPortFrom(a, topology.PortDNS))
			}
		}
	}
	if root := hints["."]; root != nil {
		return map[string][]netip.AddrPort{".": root}, nil
	}
	parents := slices.Collect(maps.Keys(hints))
	for _, z := range snap.Zones {
		if slices.ContainsFunc(parents, func(parent string) bool { return dns.IsSubDomain(parent, z.Origin) }) {
			continue
		}
		own, err := serversOf(z)
		if err != nil {
			return nil, err
		}
		if len(own) > 0 {
			hints[z.Origin] = own
		}
	}
	return hints, nil
}

// serversOf are the addresses of a zone's NS records.
func serversOf(z control.Zone) ([]netip.AddrPort, error) {
	hosts := map[string][]netip.Addr{}
	var names []string
	parser := dns.NewZoneParser(bytes.NewReader(z.Text), z.Origin, z.File)
	for rr, ok := parser.Next(); ok; rr, ok = parser.Next() {
		owner := dns.CanonicalName(rr.Header().Name)
		switch rr := rr.(type) {
		case *dns.NS:
			if owner == dns.CanonicalName(z.Origin) {
				names = append(names, dns.CanonicalName(rr.Ns))
			}
		case *dns.A:
			if a, ok := netip.AddrFromSlice(rr.A.To4()); ok {
				hosts[owner] = append(hosts[owner], a)
			}
		case *dns.AAAA:
			if a, ok := netip.AddrFromSlice(rr.AAAA.To16()); ok {
				hosts[owner] = append(hosts[owner], a)
			}
		}
	}
	if err := parser.Err(); err != nil {
		return nil, fmt.Errorf("read zone %q: %w", z.Origin, err)
	}
	var servers []netip.AddrPort
	for _, name := range names {
		for _, a := range hosts[name] {
			servers = append(servers, netip.AddrPortFrom(a, topology.PortDNS))
		}
	}
	return servers, nil
}
