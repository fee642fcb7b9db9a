package topology_test

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/catchment-net/catchment/topology"
)

func reference(t *testing.T) *topology.Topology {
	t.Helper()
	text, err := os.ReadFile("testdata/reference.yaml")
	if err != nil {
		t.Fatal(err)
	}
	got, err := topology.Parse("quickstart/topology.yaml", text)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// The copy in testdata must stay the reference: where the example lies beside the repository, both are compared.
func TestReferenceExampleIsUnchanged(t *testing.T) {
	example, err := os.ReadFile("../../shared/examples/topology.yaml")
	if os.IsNotExist(err) {
		t.Skip("no reference example beside this repository")
	}
	if err != nil {
		t.Fatal(err)
	}
	kept, err := os.ReadFile("testdata/reference.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(example, kept) {
		t.Errorf("testdata/reference.yaml is not the reference example any more")
	}
	if _, err := topology.Parse("topology.yaml", example); err != nil {
		t.Errorf("the reference example must load: %v", err)
	}
}

func prefixes(list ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func addrs(list ...string) []netip.Addr {
	var out []netip.Addr
	for _, s := range list {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

func TestReferenceExample(t *testing.T) {
	got := reference(t)
	if got.Name != "quickstart" || got.ASN != 64500 {
		t.Errorf("got name %q, asn %d", got.Name, got.ASN)
	}
	want := topology.Anycast{
		Prefixes: prefixes("192.0.2.0/24", "2001:db8:53::/48"), DNS: addrs("192.0.2.53", "2001:db8:53::53"), Web: addrs("192.0.2.80", "2001:db8:53::80"), MinPOPs: 1, FlapBudget: 2000,
	}
	opts := cmp.Options{cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })}
	if diff := cmp.Diff(want, got.Anycast, opts); diff != "" {
		t.Errorf("anycast (-want +got):\n%s", diff)
	}
	sin := got.POP("sin")
	if sin == nil || sin.Index != 2 || sin.Capacity != 10000 || sin.Shield || sin.At.Country != "SG" || sin.At.Continent != "AS" || sin.At.City != "Singapore" {
		t.Fatalf("got pop sin %+v", sin)
	}
	if !got.POP("ams").Shield {
		t.Errorf("ams is a shield")
	}
	ams1 := got.Node("ams1")
	if diff := cmp.Diff(addrs("203.0.113.1", "2001:db8:a1::1"), ams1.Addrs, opts); diff != "" {
		t.Errorf("addresses of ams1 (-want +got):\n%s", diff)
	}
	if ams1.RouterID != netip.MustParseAddr("203.0.113.1") || ams1.POP != got.POP("ams") || ams1.Capacity != 20000 {
		t.Errorf("got node %+v", ams1)
	}
	if want := (topology.Health{Interval: 100 * time.Millisecond, Timeout: 80 * time.Millisecond, Fall: 3, Rise: 2 * time.Second}); got.Health != want {
		t.Errorf("got health %+v, want %+v", got.Health, want)
	}
	berlin := got.Network("berlin")
	if berlin == nil || berlin.Users != 30 || berlin.ASN != 64501 || len(berlin.Prefixes) != 2 {
		t.Errorf("got network %+v", berlin)
	}
	o := got.Internet.Origins[0]
	if o.Host != "origin.shop.example" || o.In != got.Network("arc") || o.Limit != 200 || o.Addrs[0] != netip.MustParseAddr("203.0.113.129") {
		t.Errorf("got origin %+v", o)
	}
	var names []string
	for _, l := range got.Internet.Links {
		names = append(names, l.Name())
	}
	if got, want := strings.Join(names[:5], ", "), "ams -> arc, nyc -> arc, nyc -> bolt, sin -> bolt, arc -- bolt"; got != want || len(names) != 12 {
		t.Errorf("got %d links %s, want 12: %s", len(names), got, want)
	}
	if l := got.Internet.Links[1]; l.Delay != 40*time.Millisecond || l.Prepend != 1 || l.Relation != topology.Transit {
		t.Errorf("got link %+v", l)
	}
	if p := got.POPOf(netip.MustParseAddr("203.0.113.17")); p != got.POP("nyc") {
		t.Errorf("203.0.113.17 is nyc's, got %v", p)
	}
}

const rest = `
asn: 64500
anycast: {prefixes: [192.0.2.0/24]}
`

func parse(t *testing.T, text string) *topology.Topology {
	t.Helper()
	got, err := topology.Parse("topology.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestNodesByNumberAndByName(t *testing.T) {
	got := parse(t, rest+`
pops:
  ams: {at: AMS, unicast: 203.0.113.0/28, nodes: 3, capacity: 30k/s}
  fra: {at: FRA, unicast: [203.0.113.16/28], capacity: 10k/s, nodes: {edge-a: {capacity: 4k/s}, edge-b: , edge-c: {}}}
  nyc: {at: NYC, unicast: [203.0.113.32/28], nodes: {n1.nyc.example: {capacity: 1k/s}, n2.nyc.example: {capacity: 2k/s}}}
`)
	var lines []string
	for _, n := range got.Nodes() {
		lines = append(lines, fmt.Sprintf("%s %s %v %v %v", n.POP.Name, n.Name, n.Addrs, n.Capacity, n.RouterID))
	}
	want := []string{
		"ams ams1 [203.0.113.1] 10000 203.0.113.1", "ams ams2 [203.0.113.2] 10000 203.0.113.2", "ams ams3 [203.0.113.3] 10000 203.0.113.3",
		"fra edge-a [203.0.113.17] 4000 203.0.113.17", "fra edge-b [203.0.113.18] 3000 203.0.113.18", "fra edge-c [203.0.113.19] 3000 203.0.113.19",
		"nyc n1.nyc.example [203.0.113.33] 1000 203.0.113.33", "nyc n2.nyc.example [203.0.113.34] 2000 203.0.113.34",
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("nodes (-want +got):\n%s", diff)
	}
	if got := got.POP("nyc").Capacity; got != 3000 {
		t.Errorf("a POP without capacity has the sum of its nodes: got %v, want 3000", got)
	}
}

func TestNeighborsOfAFleet(t *testing.T) {
	got := parse(t, rest+`
pops:
  fra:
    at: {lat: 50.1, lon: 8.7, country: DE, city: Frankfurt}
    unicast: [203.0.113.0/28]
    neighbors:
      fra-r1:
        {address: 198.18.0.1, asn: 64496, local: 198.18.0.9, password: {env: FRA_R1_MD5}, bfd: 50ms, ttl_security: true, keepalive: 2s, max_prefixes: 100,
         prepend: 1, med: 50, communities: ["64496:70", "64496:1:70"], no_export: true, graceful_restart: false}
      fra-r2: {address: 198.18.0.2, asn: 64496, password: {file: secrets/r2}, hold: 30s, multihop: 2}
`)
	fra := got.POP("fra")
	if want := (topology.Place{City: "Frankfurt", Country: "DE", Continent: "EU", Lat: 50.1, Lon: 8.7}); fra.At != want {
		t.Errorf("got place %+v, want %+v", fra.At, want)
	}
	want := []*topology.Neighbor{
		{
			Name: "fra-r1", Address: netip.MustParseAddr("198.18.0.1"), ASN: 64496, Local: netip.MustParseAddr("198.18.0.9"),
			Password: topology.Secret{Env: "FRA_R1_MD5"}, BFD: 50 * time.Millisecond, TTLSecurity: true, Keepalive: 2 * time.Second, MaxPrefixes: 100,
			Prepend: 1, MED: 50, Communities: []uint32{topology.NoExport, 64496<<16 | 70}, LargeCommunities: [][3]uint32{{64496, 1, 70}},
		},
		{
			Name: "fra-r2", Address: netip.MustParseAddr("198.18.0.2"), ASN: 64496, Password: topology.Secret{File: "secrets/r2"},
			HoldTime: 30 * time.Second, Multihop: 2,
		},
	}
	if diff := cmp.Diff(want, fra.Neighbors, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("neighbors (-want +got):\n%s", diff)
	}
	if h := got.Health; h.Rise != 10*time.Second || h.Fall != 3 || h.Interval != 100*time.Millisecond {
		t.Errorf("got health %+v, want the defaults", h)
	}
}

func TestMistakesInANeighbor(t *testing.T) {
	for _, test := range []struct{ keys, want string }{
		{"graceful_restart: true", `neighbor "r1" would keep our routes when we are gone; leave graceful_restart out: with it a dead POP stays routed for the whole restart time`},
		{"ttl_security: true, multihop: 2", `neighbor "r1" has ttl_security and multihop; keep one`},
		{"keepalive: 4s", "keepalive 4s is more than a third of the hold time 9s; write at most 3s"},
		{"hold: 12s, keepalive: 5s", "more than a third of the hold time 12s; write at most 4s"},
		{"hold: 9500ms", "hold 9500ms is not in whole seconds"},
		{"local: 2001:db8::9", "local address 2001:db8::9 is not of the family of 198.18.0.1"},
		{"multihop: 1", `multihop "1" is out of range`},
		{"max_prefixes: 0", `max_prefixes "0" is out of range`},
		{"prepend: 11", `prepend "11" is out of range`},
		{`communities: ["70"]`, `community "70" cannot be read; write "64496:120"`},
		{`communities: ["645000:70"]`, `community "645000:70" cannot be read`},
		{"ttl-security: true", `unknown key "ttl-security"`},
	} {
		text := rest + "\npops:\n  fra: {at: FRA, unicast: [203.0.113.0/28], neighbors: {r1: {address: 198.18.0.1, asn: 64496, " + test.keys + "}}}\n"
		if _, err := topology.Parse("lab/topology.yaml", []byte(text)); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", test.keys, err, test.want)
		}
	}
	text := rest + "\npops:\n  fra: {at: FRA, nodes: 2, unicast: [203.0.113.0/28], neighbors: {r1: {address: 198.18.0.1, asn: 64496, local: 198.18.0.9}}}\n"
	if _, err := topology.Parse("lab/topology.yaml", []byte(text)); err == nil || !strings.Contains(err.Error(), `neighbor "r1" has one local address for 2 nodes`) {
		t.Errorf("one local address for two nodes: got %v", err)
	}
}

func TestBGPOfAFleet(t *testing.T) {
	const pops = "\npops: {fra: {at: FRA, unicast: [203.0.113.0/28]}}\n"
	got := parse(t, rest+pops+`
bgp:
  rpki: {servers: ["198.51.100.8:3323", "rtr.example:3323", "[2001:db8::8]:3323"], invalid: refuse}
  bmp: [198.51.100.9:11019]
  mrt: {file: /var/lib/catchment/20060102.1504.mrt, rotate: 1h}
`)
	want := topology.BGP{
		RPKI: topology.RPKI{Servers: []string{"198.51.100.8:3323", "rtr.example:3323", "[2001:db8::8]:3323"}, Refuse: true},
		BMP:  []string{"198.51.100.9:11019"}, MRT: topology.MRT{File: "/var/lib/catchment/20060102.1504.mrt", Rotate: time.Hour},
	}
	if diff := cmp.Diff(want, got.BGP); diff != "" {
		t.Errorf("bgp (-want +got):\n%s", diff)
	}
	for _, test := range []struct{ keys, want string }{
		{"rpki: {}", "write where to ask: `servers: [198.51.100.8:3323]`"},
		{"rpki: {servers: [198.51.100.8]}", `"198.51.100.8" is not HOST:PORT; write it as 198.51.100.8:3323`},
		{"rpki: {servers: [198.51.100.8:3323], invalid: drop}", `"drop"`},
		{"bmp: [198.51.100.9:0]", `"198.51.100.9:0" is not HOST:PORT`},
		{"mrt: {file: updates.mrt}", `file "updates.mrt" is not an absolute path`},
		{"mrt: {file: /var/lib/node1/updates.mrt}", `directory "/var/lib/node1/" holds digits or a name that would be replaced by the time`},
		{"mrt: {file: /var/lib/updates.mrt, rotate: 1h}", `file "updates.mrt" has no time in its name`},
		{"mrt: {file: /var/lib/20060102.mrt}", `file "20060102.mrt" has a time in its name; say how often the next one begins`},
		{"mrt: {file: /var/lib/20060102.mrt, rotate: 1s}", "rotate 1s is out of range"},
	} {
		if _, err := topology.Parse("lab/topology.yaml", []byte(rest+pops+"bgp: {"+test.keys+"}\n")); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", test.keys, err, test.want)
		}
	}
}

func TestLinkKeys(t *testing.T) {
	got := parse(t, rest+`
pops: {ams: {at: AMS, unicast: [203.0.113.0/28]}}
internet:
  networks: {arc: {asn: 64496, at: FRA}, bolt: {asn: 64497, at: NYC}}
  links:
    ams -> arc:
    ams -- bolt: {jitter: 2ms, loss: 0.5%, rate: 100Mbit/s, prepend: 2}
    arc -- bolt: {delay: 0ms, bfd: 50ms}
`)
	l := got.Internet.Links
	if d := l[0].Delay; d < 3*time.Millisecond || d > 5*time.Millisecond {
		t.Errorf("Amsterdam to Frankfurt is 360 km: got delay %v, want about 3.5 ms", d)
	}
	if l[1].Relation != topology.Peering || l[1].Jitter != 2*time.Millisecond || l[1].Loss != 0.005 || l[1].Rate != 1e8 || l[1].Prepend != 2 {
		t.Errorf("got link %+v", l[1])
	}
	if d := l[1].Delay; d < 35*time.Millisecond || d > 50*time.Millisecond {
		t.Errorf("Amsterdam to New York is 5860 km: got delay %v, want about 42 ms", d)
	}
	if l[1].BFD != 0 || l[2].BFD != 50*time.Millisecond {
		t.Errorf("BFD of the links: got %v and %v, want none and 50 ms", l[1].BFD, l[2].BFD)
	}
	if l[2].Delay != 0 {
		t.Errorf("a delay that is said wins: got %v, want 0", l[2].Delay)
	}
}

// IPv6-only nodes need a BGP identifier, too, and all must differ.
func TestRouterIDsWithoutIPv4(t *testing.T) {
	got := parse(t, `
asn: 64500
anycast: {prefixes: [2001:db8:53::/48]}
pops:
  ams: {at: AMS, unicast: [2001:db8:a1::/48], nodes: 60}
  nyc: {at: NYC, unicast: [2001:db8:a2::/48], nodes: 60}
`)
	seen := map[netip.Addr]string{}
	for _, n := range got.Nodes() {
		if !n.RouterID.Is4() || n.RouterID.IsUnspecified() || seen[n.RouterID] != "" {
			t.Errorf("node %s has router id %v (also %q)", n.Name, n.RouterID, seen[n.RouterID])
		}
		seen[n.RouterID] = n.Name
	}
}

func TestDistance(t *testing.T) {
	city := func(code string) topology.Place {
		p, ok := topology.City(code)
		if !ok {
			t.Fatalf("no city %q", code)
		}
		return p
	}
	for _, c := range []struct {
		a, b string
		km   float64
	}{{"AMS", "NYC", 5863}, {"LON", "PAR", 344}, {"SYD", "SCL", 11340}, {"SIN", "SIN", 0}, {"TYO", "LAX", 8815}, {"AKL", "MAD", 19570}} {
		if got := topology.Distance(city(c.a), city(c.b)); got < c.km*0.99 || got > c.km*1.01+1 {
			t.Errorf("%s to %s: got %.0f km, want %.0f", c.a, c.b, got, c.km)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		point := rapid.Custom(func(t *rapid.T) topology.Place {
			return topology.Place{Lat: rapid.Float64Range(-90, 90).Draw(t, "lat"), Lon: rapid.Float64Range(-180, 180).Draw(t, "lon")}
		})
		a, b, c := point.Draw(t, "a"), point.Draw(t, "b"), point.Draw(t, "c")
		ab, ba, bc, ac := topology.Distance(a, b), topology.Distance(b, a), topology.Distance(b, c), topology.Distance(a, c)
		if ab < 0 || ab > 20016 || ab-ba > 1e-6 || ba-ab > 1e-6 || ac > ab+bc+1e-6 {
			t.Fatalf("not a distance: ab %v, ba %v, bc %v, ac %v", ab, ba, bc, ac)
		}
	})
}
