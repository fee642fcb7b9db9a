package topology_test

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/catchment-net/catchment/topology"
)

func TestResolversAndNameServersOfOthers(t *testing.T) {
	got := parse(t, rest+`
pops: {ams: {at: AMS, unicast: [203.0.113.0/28]}}
internet:
  router: frr
  networks:
    arc:    {asn: 64496, at: FRA}
    bolt:   {asn: 64497, at: NYC, router: ours}
    berlin: {asn: 64501, at: BER, users: 1, prefixes: [2001:db8:c1::/48, 198.51.100.0/27, 198.51.100.64/27], resolver: big}
    porto:  {asn: 64502, at: OPO, users: 1, prefixes: [198.51.100.32/27]}
  resolvers:
    small: {in: porto, min_ttl: 60s, software: unbound}
    big:   {in: berlin, ecs: true}
    other: {in: berlin}
  nameservers:
    A.Nic.Example.: {in: arc, at: AMS, prefixes: [203.0.113.144/28, 2001:db8:e2::/48], zones: {Example.: parent/example, ".": parent/root}}
`)
	net := got.Internet
	if net.Router != topology.FRR || got.Network("arc").Router != topology.FRR || got.Network("bolt").Router != topology.Ours {
		t.Errorf("routers: got %q, arc %q, bolt %q", net.Router, got.Network("arc").Router, got.Network("bolt").Router)
	}
	big, other, small := got.Resolver("big"), got.Resolver("other"), got.Resolver("small")
	if got.Network("berlin").Resolver != big || got.Network("porto").Resolver != nil || got.Resolver("none") != nil {
		t.Errorf("berlin asks %v, porto %v", got.Network("berlin").Resolver, got.Network("porto").Resolver)
	}
	if !big.ECS || big.MinTTL != 0 || big.Software != topology.Ours || small.ECS || small.MinTTL != time.Minute || small.Software != topology.Unbound {
		t.Errorf("got %+v and %+v", big, small)
	}
	for _, c := range []struct {
		r    *topology.Resolver
		want []netip.Addr
	}{
		{big, addrs("198.51.100.2", "2001:db8:c1::2")}, {other, addrs("198.51.100.3", "2001:db8:c1::3")}, {small, addrs("198.51.100.34")},
	} {
		if !slices.Equal(c.r.Addrs, c.want) {
			t.Errorf("resolver %s: got addresses %v, want %v", c.r.Name, c.r.Addrs, c.want)
		}
	}
	n := net.NameServers[0]
	want := []topology.ServedZone{{Origin: "example.", File: "parent/example"}, {Origin: ".", File: "parent/root"}}
	if n.Host != "a.nic.example" || n.In != got.Network("arc") || n.At.Code != "AMS" || !slices.Equal(n.Addrs, addrs("203.0.113.145", "2001:db8:e2::1")) || !slices.Equal(n.Zones, want) {
		t.Errorf("got name server %+v", n)
	}
}

// What a file does not say stays as it was: each client asks for itself, and all routers are ours.
func TestNobodyResolvesByDefault(t *testing.T) {
	for _, n := range reference(t).Internet.Networks {
		if n.Resolver != nil || n.Router != topology.Ours {
			t.Errorf("network %s: resolver %v, router %q", n.Name, n.Resolver, n.Router)
		}
	}
}
