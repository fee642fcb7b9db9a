package control

import (
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWarnings(t *testing.T) {
	for _, c := range []struct {
		name, file, old, new string
		want                 []string
	}{
		{"a sound configuration", "", "", "", nil},
		{
			"name servers that share their fate", ZonesFolder + "/shop.example", "@       NS    ns-ams\n", "",
			[]string{
				"zones/shop.example: every name server of shop.example. lies in one anycast prefix (192.0.2.0/24, 2001:db8:53::/48); add one on a unicast address, so that a routing mistake cannot take all away",
				`zones/shop.example: shop.example. has one name server, "ns1.shop.example."; add a second one that does not share its fate (RFC 2182 §3.1)`,
			},
		},
		{
			"name server that is an alias", ZonesFolder + "/shop.example", "@       NS    ns-ams\n", "@       NS    ns-ams\n@ NS ns7\nns7 CNAME ns-ams\n",
			[]string{
				`zones/shop.example: name server "ns7.shop.example." has no address; add an A or AAAA record`,
				`zones/shop.example: name server "ns7.shop.example." is an alias; name the host that has the address (RFC 2181 §10.3)`,
			},
		},
		{
			"delegation without glue", ZonesFolder + "/shop.example", "@       NS    ns-ams\n", "@       NS    ns-ams\nsub NS ns.sub\nsub NS ns.other.example.\nsub NS ns1\nlow NS ns.low\nns.low A 198.51.100.1\n",
			[]string{`zones/shop.example: "sub.shop.example." is delegated to "ns.sub.shop.example.", which nobody can find without an address here; add its A or AAAA record as glue`},
		},
		{
			"a second name server elsewhere", ZonesFolder + "/shop.example", "@       NS    ns-ams\n", "@       NS    ns.other.example.\n", nil,
		},
		{
			"name server without address", ZonesFolder + "/shop.example", "@       NS    ns-ams\n", "@       NS    ns-ams\n@ NS ns9\n",
			[]string{`zones/shop.example: name server "ns9.shop.example." has no address; add an A or AAAA record`},
		},
		{
			"name server on nobody's address", ZonesFolder + "/shop.example", "203.0.113.1\n", "203.0.113.9\n",
			[]string{`zones/shop.example: name server "ns-ams.shop.example." has the address 203.0.113.9, which lies in the unicast prefix of pop "ams" but is no node's`},
		},
		{
			"name server on the web's address", ZonesFolder + "/shop.example", "192.0.2.53", "192.0.2.80",
			[]string{`zones/shop.example: name server "ns1.shop.example." has the anycast address 192.0.2.80, which is not listed under ` + "`dns`"},
		},
		{
			"steering takes a CNAME's place", ZonesFolder + "/shop.example", "alias ", "img ",
			[]string{`sites/shop.yaml: host "img.shop.example" is a CNAME in zones/shop.example; the steered answer takes its place`},
		},
		{
			"host below a delegation", SitesFolder + "/shop.yaml", "img.shop.example", "a.b.shop.example",
			[]string{`sites/shop.yaml: host "a.b.shop.example" lies below the delegation of "b.shop.example." in zones/shop.example; the world asks others for it`},
		},
		{
			"origin unknown to the lab", SitesFolder + "/shop.yaml", "http://origin.shop.example", "http://elsewhere.example",
			[]string{`sites/shop.yaml: origin "http://elsewhere.example" is not among the topology's origins; a lab cannot reach it`},
		},
		{
			"network without link", TopologyFile, "    berlin -> arc:\n", "",
			[]string{`network "berlin" has no link; nothing in it reaches anyone`},
		},
		{
			"POP that announces to nobody", TopologyFile, "    nyc -> arc: {delay: 40ms, prepend: 1}\n", "",
			[]string{`pop "nyc" has neither a link nor neighbors; it announces to nobody`},
		},
		{
			"prefix without service", TopologyFile, "192.0.2.0/24,", "192.0.2.0/24, 198.18.5.0/24,",
			[]string{"anycast prefix 198.18.5.0/24 holds no service address; list one under `dns` or `web`, or remove the prefix"},
		},
		{
			"FRR's trap", TopologyFile, "capacity: 20k/s, shield: true}", "capacity: 20k/s, shield: true, neighbors: {r1: {address: 198.18.0.1, asn: 64496, bfd: 50ms, ttl_security: true}}}",
			[]string{`neighbor "r1" of pop "ams" has bfd and ttl_security; if it is FRR, its ` + "`ttl-security hops 1` makes its BFD multihop (port 4784), and nobody watches the path; keep one of the two there, and see that `show bfd peers` does not say multihop"},
		},
		{
			"only one POP can serve a family", TopologyFile, "[203.0.113.16/28, 2001:db8:a2::/48]", "[2001:db8:a2::/48]", nil, // IPv4 anycast: an error instead
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			files := folderFiles(t, "testdata/good")
			if c.name == "host below a delegation" {
				files["zones/shop.example"] = append(files["zones/shop.example"], "b NS ns.other.example.\n"...)
			}
			if c.file != "" {
				files = maps.Clone(files)
				text := strings.Replace(string(files[c.file]), c.old, c.new, 1)
				if text == string(files[c.file]) {
					t.Fatalf("%q is not in %s", c.old, c.file)
				}
				files[c.file] = []byte(text)
			}
			s, err := Parse("good", files)
			if c.name == "only one POP can serve a family" {
				if err == nil || !strings.Contains(err.Error(), `pop "nyc" has no IPv4 unicast prefix to announce 192.0.2.0/24 from`) {
					t.Errorf("got %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, Warn(s)); diff != "" {
				t.Errorf("warnings (-want +got):\n%s", diff)
			}
		})
	}
}

// Without anycast in a family, POPs may differ in it: that is only a warning.
func TestWarnFamilies(t *testing.T) {
	files := map[string][]byte{TopologyFile: []byte(`
asn: 64500
anycast: {prefixes: [192.0.2.0/24], dns: 192.0.2.53}
pops:
  ams: {at: AMS, unicast: [203.0.113.0/28, 2001:db8:a1::/48]}
  nyc: {at: NYC, unicast: [203.0.113.16/28]}
`)}
	s, err := Parse("x", files)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"nyc have no IPv6 unicast prefix; GeoDNS cannot move IPv6 clients of ams there"}
	if diff := cmp.Diff(want, Warn(s)); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
}
