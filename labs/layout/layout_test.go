package layout

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/catchment-net/catchment/topology"
)

const small = `
asn: 64500
anycast: {prefixes: [192.0.2.0/24, 2001:db8:53::/48], dns: [192.0.2.53], web: [192.0.2.80, 2001:db8:53::80]}
pops:
  ams: {at: AMS, unicast: [203.0.113.0/28, 2001:db8:a1::/48], nodes: 2}
  nyc: {at: NYC, unicast: [203.0.113.16/28, 2001:db8:a2::/48]}
internet:
  networks:
    arc:    {asn: 64496, at: FRA}
    berlin: {asn: 64501, at: BER, users: 30, prefixes: [198.51.100.0/27, 2001:db8:c1::/48]}
  origins:
    origin.example: {in: arc, at: FRA, prefixes: [203.0.113.128/28]}
  links:
    ams -> arc: {delay: 3ms, prepend: 2}
    berlin -- nyc: {delay: 5ms}
    berlin -> arc: {delay: 5ms}
`

func plan(t *testing.T) *Plan {
	t.Helper()
	topo, err := topology.Parse("topology.yaml", []byte(small))
	if err != nil {
		t.Fatal(err)
	}
	p, err := New(topo)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPlan(t *testing.T) {
	p := plan(t)
	var got []string
	for _, m := range p.Machines {
		got = append(got, fmt.Sprintf("%s as %d id %s own %v prefixes %v", m.Name, m.ASN, m.RouterID, m.Own, m.Prefixes))
		for _, i := range m.Interfaces {
			got = append(got, fmt.Sprintf("  %s %v to %s, a %s, prepend %d, default %v", i.Name, i.Addrs(), i.Peer.Machine.Name, i.Relation, i.Prepend, i.Default))
		}
		for _, h := range m.Hosts() {
			got = append(got, fmt.Sprintf("  route %s via %s", h.Prefix, h.Via))
		}
	}
	want := strings.Split(strings.TrimSpace(`
ams1 as 64500 id 203.0.113.1 own [203.0.113.1 2001:db8:a1::1 192.0.2.53 192.0.2.80 2001:db8:53::80] prefixes []
  eth1 [169.254.0.0/31 fdca:c47c:1ab::/127] to arc, a provider, prepend 2, default false
ams2 as 64500 id 203.0.113.2 own [203.0.113.2 2001:db8:a1::2 192.0.2.53 192.0.2.80 2001:db8:53::80] prefixes []
  eth1 [169.254.0.2/31 fdca:c47c:1ab::2/127] to arc, a provider, prepend 2, default false
nyc1 as 64500 id 203.0.113.17 own [203.0.113.17 2001:db8:a2::1 192.0.2.53 192.0.2.80 2001:db8:53::80] prefixes []
  eth1 [169.254.0.5/31 fdca:c47c:1ab::5/127] to berlin, a peer, prepend 0, default false
arc as 64496 id 10.0.0.1 own [203.0.113.129] prefixes [203.0.113.128/28]
  eth1 [169.254.0.1/31 fdca:c47c:1ab::1/127] to ams1, a customer, prepend 0, default true
  eth2 [169.254.0.3/31 fdca:c47c:1ab::3/127] to ams2, a customer, prepend 0, default true
  eth3 [169.254.0.7/31 fdca:c47c:1ab::7/127] to berlin, a customer, prepend 0, default false
  route 203.0.113.1/32 via 169.254.0.0
  route 2001:db8:a1::1/128 via fdca:c47c:1ab::
  route 203.0.113.2/32 via 169.254.0.2
  route 2001:db8:a1::2/128 via fdca:c47c:1ab::2
berlin as 64501 id 10.0.0.2 own [198.51.100.1 2001:db8:c1::1] prefixes [198.51.100.0/27 2001:db8:c1::/48]
  eth1 [169.254.0.4/31 fdca:c47c:1ab::4/127] to nyc1, a peer, prepend 0, default true
  eth2 [169.254.0.6/31 fdca:c47c:1ab::6/127] to arc, a provider, prepend 0, default false
  route 203.0.113.17/32 via 169.254.0.5
  route 2001:db8:a2::1/128 via fdca:c47c:1ab::5
`), "\n")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("plan (-want +got):\n%s", diff)
	}
	if n := len(p.OfLink(p.Topology.Internet.Links[0])); n != 2 {
		t.Errorf("the link of a POP with two nodes has %d wires", n)
	}
}

// No two interfaces share an address, and both ends of a wire are in one subnet.
func TestAddressesAreUnique(t *testing.T) {
	seen := map[netip.Addr]string{}
	for _, w := range plan(t).Wires {
		if w.A.Addrs()[0].Masked() != w.B.Addrs()[0].Masked() || w.A.Addrs()[1].Masked() != w.B.Addrs()[1].Masked() {
			t.Errorf("wire %d joins %v and %v", w.Index, w.A.Addrs(), w.B.Addrs())
		}
		for _, i := range []*Interface{w.A, w.B} {
			for _, a := range []netip.Addr{i.V4, i.V6} {
				if who, used := seen[a]; used {
					t.Errorf("%s is %s's and %s's", a, who, i.Machine.Name)
				}
				seen[a] = i.Machine.Name
			}
		}
	}
}

// Two routers of one AS are neither customer nor provider of each other.
func TestRoutersOfOneAS(t *testing.T) {
	topo, err := topology.Parse("topology.yaml", []byte(strings.Replace(small, "    berlin: {", "    arc2: {asn: 64496, at: NYC}\n    berlin: {", 1)+"    arc -- arc2: {}\n"))
	if err != nil {
		t.Fatal(err)
	}
	p, err := New(topo)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range p.Machine("arc2").Interfaces {
		if i.Relation != Internal || i.Peer.Relation != Internal {
			t.Errorf("arc is a %s to arc2, and arc2 a %s to arc; want %s", i.Relation, i.Peer.Relation, Internal)
		}
	}
}

func TestFindLink(t *testing.T) {
	topo := plan(t).Topology
	for _, name := range []string{"ams -> arc", "arc -> ams", "arc ams", "ams -- arc"} {
		if l, err := FindLink(topo, name); err != nil || l.Name() != "ams -> arc" {
			t.Errorf("%q: %v, %v", name, l, err)
		}
	}
	_, err := FindLink(topo, "ams -> berlin")
	if err == nil || !strings.Contains(err.Error(), `"ams -> arc", "berlin -- nyc", "berlin -> arc"`) {
		t.Errorf("an unknown link: %v", err)
	}
}
