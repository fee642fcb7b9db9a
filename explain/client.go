// Package explain answers from files what a running node would do: it joins the pure cores that decide. Nothing in it
// listens, asks or waits.
package explain

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/catchment-net/catchment/dnsd/steer"
	"github.com/catchment-net/catchment/geodata"
	"github.com/catchment-net/catchment/health"
	"github.com/catchment-net/catchment/site"
	"github.com/catchment-net/catchment/topology"
)

// Client is where DNS sends a client for one host, why there and why not elsewhere.
type Client = steer.Explanation

// Choice is the answer to one type of question.
type Choice = steer.Choice

// Clients says where a configuration sends a client: for one host, or for all if host is empty. Without a View all count
// as well. The sources may be nil: nobody knows where the client is.
func Clients(t *topology.Topology, sites []*site.Site, sources *geodata.Sources, v *health.View, client netip.Addr, host string) ([]Client, error) {
	c := steer.NewCompiler(t, sources, nil)
	policies := map[string]*steer.Policy{}
	var errs []error
	for _, s := range sites {
		for _, h := range s.Hosts {
			if host != "" && s.Host(host) != nil && h.Name != host {
				continue // compile no table that nobody looks into
			}
			p, err := c.Compile(h)
			if err != nil {
				errs = append(errs, fmt.Errorf("site %q: %w", s.Name, err))
				continue
			}
			policies[h.Name] = p
		}
	}
	c.Finish()
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return steer.Explain(policies, client, host, c.Health(v, nil))
}

// Address makes an address of what a person calls a client: an address, or a network of the topology, whose first host
// stands for it. A prefix stands for its first address, as in a query's ECS option.
func Address(t *topology.Topology, client string) (netip.Addr, error) {
	if a, err := netip.ParseAddr(client); err == nil {
		return a.Unmap().WithZone(""), nil
	}
	if p, err := netip.ParsePrefix(client); err == nil {
		return p.Masked().Addr().Unmap(), nil
	}
	if t != nil {
		if n := t.Network(client); n != nil && len(n.Prefixes) > 0 {
			return n.Prefixes[0].Masked().Addr().Next(), nil
		}
	}
	return netip.Addr{}, fmt.Errorf("client %q is no address, no prefix and no network of the topology; want one such as 198.51.100.7", client)
}
