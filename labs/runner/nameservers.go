package runner

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/miekg/dns"

	"github.com/catchment-net/catchment/control"
	"github.com/catchment-net/catchment/topology"
)

// NameServers are the addresses at which the lab's zones say that they are served: those of each zone's NS records, as
// a resolver learns them from the parent's glue. IPv4 and IPv6, in the zones' order.
func NameServers(snap *control.Snapshot) ([]netip.AddrPort, error) {
	hosts := map[string][]netip.Addr{}
	var names []string
	for _, z := range snap.Zones {
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
	}
	var servers []netip.AddrPort
	for _, name := range names {
		for _, a := range hosts[name] {
			if ap := netip.AddrPortFrom(a, topology.PortDNS); !slices.Contains(servers, ap) {
				servers = append(servers, ap)
			}
		}
	}
	if len(servers) == 0 {
		return nil, errors.New("no client can resolve anything: no zone in zones/ has NS records with addresses; add NS records and their A or AAAA records")
	}
	return servers, nil
}
