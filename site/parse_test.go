package site_test

import (
	"bytes"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/catchment-net/catchment/site"
	"github.com/catchment-net/catchment/topology"
)

// The copy in testdata must stay the reference: where the example lies beside the repository, both are compared.
func TestReferenceExampleIsUnchanged(t *testing.T) {
	example, err := os.ReadFile("../../shared/examples/sites/shop.yaml")
	if os.IsNotExist(err) {
		t.Skip("no reference example beside this repository")
	}
	if err != nil {
		t.Fatal(err)
	}
	kept, err := os.ReadFile("testdata/shop.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(example, kept) {
		t.Errorf("testdata/shop.yaml is not the reference example any more")
	}
}

func parse(t *testing.T, text string) *site.Site {
	t.Helper()
	got, err := site.Parse("sites/shop.yaml", []byte(text), nil)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func equal() cmp.Options {
	return cmp.Options{cmpopts.EquateComparable(netip.Addr{}), cmp.Comparer(func(a, b *url.URL) bool { return a.String() == b.String() })}
}

func TestReferenceExample(t *testing.T) {
	text, err := os.ReadFile("testdata/shop.yaml")
	if err != nil {
		t.Fatal(err)
	}
	want := &site.Site{
		Name: "shop",
		Hosts: []*site.Host{
			{Name: "www.shop.example", Steer: site.Geo, TTL: 2 * time.Second, Nearest: 1},
			{Name: "img.shop.example", Steer: site.Anycast, TTL: 300 * time.Second, Nearest: 1},
		},
		Origins: []site.Origin{{URL: &url.URL{Scheme: "http", Host: "origin.shop.example"}, Weight: 1}},
		Cache: site.Cache{
			Key:   site.Key{DropQuery: []string{"utm_*", "fbclid", "gclid"}},
			Stale: site.Stale{IfError: time.Hour, WhileRevalidate: 30 * time.Second},
			Rules: []site.Rule{{Path: "/cart/*", Never: true}, {Path: "/static/*", TTL: 24 * time.Hour}},
		},
	}
	if diff := cmp.Diff(want, parse(t, string(text)), equal()); diff != "" {
		t.Errorf("site (-want +got):\n%s", diff)
	}
}

func TestCacheBlock(t *testing.T) {
	const head = "hosts: {www.shop.example: }\norigin: http://o.example\ncache:\n"
	got := parse(t, head+`
  key: {keep_query: [id, p_*], drop_query: px, sort_query: false, scheme: https}
  vary: [Accept-Language]
  obey_clients: true
`).Cache
	want := site.Cache{
		Key:  site.Key{KeepQuery: []string{"id", "p_*"}, DropQuery: []string{"px"}, Unsorted: true, Scheme: "https"},
		Vary: []string{"accept-language"}, ObeyClients: true,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("cache (-want +got):\n%s", diff)
	}
	if got := parse(t, head+"  vary: []\n").Cache.Vary; got == nil {
		t.Error("an empty vary is read as none: any field could make variants")
	}
	for text, want := range map[string]string{
		"  key: {scheme: ftp}\n":           "ftp",
		"  key: {keep_query: [\"a?b\"]}\n": "a?b",
		"  vary: [accept-*]\n":             "accept-*",
		"  obey_clients: sometimes\n":      "sometimes",
		"  key: {sort_query: by-name}\n":   "by-name",
	} {
		if _, err := site.Parse("sites/shop.yaml", []byte(head+text), nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want a mistake about %q", text, err, want)
		}
	}
}

// The forms that the reference example shows in comments.
func TestTargetsAndOriginList(t *testing.T) {
	got := parse(t, `
hosts:
  API.shop.example.:
    steer: geo
    targets:
      frankfurt: {at: FRA, addresses: [198.18.0.10, 2001:db8:f1::10], probe: "https://{address}/health"}
      ashburn:   {at: IAD, addresses: [198.18.1.10], weight: 3}
      other:     {cname: shop.othercdn.example, regions: [AS, OC, DE]}
  www.shop.example:
origin: [{url: HTTP://a.example:8080/, weight: 3}, {url: https://b.example, backup: true}, "http://[2001:db8::1]:81"]
`)
	fra, _ := topology.City("FRA")
	iad, _ := topology.City("IAD")
	want := &site.Site{
		Name: "shop",
		Hosts: []*site.Host{
			{Name: "api.shop.example", Steer: site.Geo, TTL: 20 * time.Second, Nearest: 1, Targets: []*site.Target{
				{Name: "frankfurt", At: "FRA", Place: fra, Addresses: []netip.Addr{netip.MustParseAddr("198.18.0.10"), netip.MustParseAddr("2001:db8:f1::10")}, Weight: 1, Probe: "https://{address}/health"},
				{Name: "ashburn", At: "IAD", Place: iad, Addresses: []netip.Addr{netip.MustParseAddr("198.18.1.10")}, Weight: 3},
				{Name: "other", CNAME: "shop.othercdn.example", Regions: []string{"AS", "OC", "DE"}, Weight: 1},
			}},
			{Name: "www.shop.example", Steer: site.Geo, TTL: 20 * time.Second, Nearest: 1},
		},
		Origins: []site.Origin{
			{URL: &url.URL{Scheme: "http", Host: "a.example:8080"}, Weight: 3},
			{URL: &url.URL{Scheme: "https", Host: "b.example"}, Weight: 1, Backup: true},
			{URL: &url.URL{Scheme: "http", Host: "[2001:db8::1]:81"}, Weight: 1},
		},
	}
	if diff := cmp.Diff(want, got, equal()); diff != "" {
		t.Errorf("site (-want +got):\n%s", diff)
	}
}

// The ways of steering that a host can ask for besides.
func TestChoicesOfAHost(t *testing.T) {
	top := &topology.Topology{}
	for _, name := range []string{"ams", "nyc", "sin"} {
		top.POPs = append(top.POPs, &topology.POP{Name: name})
	}
	read := func(host string) (*site.Host, error) {
		s, err := site.Parse("shop.yaml", []byte("hosts:\n  www.shop.example: {"+host+"}\norigin: http://o.example\n"), top)
		if err != nil {
			return nil, err
		}
		return s.Hosts[0], nil
	}
	got, err := read("nearest: 2, pops: [nyc, ams], fallback: sin, fail: closed")
	want := &site.Host{
		Name: "www.shop.example", Steer: site.Geo, TTL: 20 * time.Second, Nearest: 2,
		POPs: []site.Share{{Name: "nyc", Weight: -1}, {Name: "ams", Weight: -1}}, Fallback: []string{"sin"}, Closed: true,
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	got, err = read("steer: weighted, pops: {ams: 3, nyc: 1, sin: 0}")
	if err != nil || !slices.Equal(got.POPs, []site.Share{{Name: "ams", Weight: 3}, {Name: "nyc", Weight: 1}, {Name: "sin"}}) {
		t.Errorf("weights: %+v, %v", got, err)
	}
	for _, c := range []struct{ host, want string }{
		{"pops: [ams, nycc]", `2:34: pop "nycc" is not in topology.yaml; did you mean "nyc"?`},
		{"pops: [ams, ams]", `2:34: pop "ams" is there twice; keep one of the two`},
		{"pops: {ams: 0}", `2:28: host "www.shop.example" has no POP with a weight above 0; write`},
		{"pops: []", "has no POP with a weight above 0"},
		{"pops: ams, targets: {x: {at: FRA, addresses: 198.18.0.1}}", "has pops and targets; keep one of the two"},
		{"nearest: 7", "is out of range; write a whole number from 1 to 6"},
		{"steer: weighted, nearest: 2", `is weighted, and none of its candidates is nearer than another; remove`},
		{"fallback: [ams, nyc, sin]", "every candidate of host \"www.shop.example\" is a fallback; leave out of it"},
		{"pops: nyc, fallback: nyc", "every candidate of host \"www.shop.example\" is a fallback"},
		{"fallback: ymq", `pop "ymq" is not in topology.yaml; known here: ams, nyc, sin`},
		{"fail: shut", `fail "shut" is unknown`},
		{"steer: anycast, fail: closed", "is steered by anycast and has fail; remove `fail`, or steer by geo, weighted or pinned"},
		{"targets: {x: {at: FRA, addresses: 198.18.0.1}}, fallback: [x]", "is a fallback"},
		{"targets: {x: {at: FRA, addresses: 198.18.0.1}}, fallback: [y]", `fallback "y" is no target of host "www.shop.example"; did you mean "x"?`},
		{"targets: {x: {regions: US-CALI, addresses: 198.18.0.1}}", `region "US-CALI" is neither`},
		{`targets: {x: {at: FRA, addresses: 198.18.0.1, probe: "http://a.example/"}}`, "asks one place for every address of target \"x\"; write {address} for its host"},
		{`targets: {x: {at: FRA, cname: a.example, probe: "http://{address}/"}}`, "names an address, and target \"x\" has a name; write https://a.example/health"},
		{`targets: {x: {at: FRA, addresses: 198.18.0.1, probe: "http://u:p@{address}/"}}`, "user name or password"},
	} {
		if _, err := read(c.host); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %s", c.host, err, c.want)
		}
	}
}

// What is to be asked of targets: each address on its own, with the name of the host whose content it must have.
func TestChecksOfTargets(t *testing.T) {
	s := parse(t, `
hosts:
  api.shop.example:
    targets:
      frankfurt: {at: FRA, addresses: [198.18.0.10, 2001:db8:f1::10], probe: "https://{address}:8443/health"}
      ashburn:   {at: IAD, addresses: [198.18.1.10]}
      out:       {at: NYC, addresses: [198.18.1.11], weight: 0, probe: "http://{address}/"}
      other:     {cname: shop.othercdn.example, regions: [US-CA, AS], probe: "https://shop.othercdn.example/health"}
`)
	want := []site.Check{
		{ID: "api.shop.example/frankfurt/198.18.0.10", URL: "https://198.18.0.10:8443/health", Host: "api.shop.example"},
		{ID: "api.shop.example/frankfurt/2001:db8:f1::10", URL: "https://[2001:db8:f1::10]:8443/health", Host: "api.shop.example"},
		{ID: "api.shop.example/other", URL: "https://shop.othercdn.example/health", Host: "api.shop.example"},
	}
	if diff := cmp.Diff(want, s.Hosts[0].Checks()); diff != "" {
		t.Errorf("checks (-want +got):\n%s", diff)
	}
}

// A site whose hosts all have their own targets needs no origin: our POPs never answer for it.
func TestNoOriginForOwnTargets(t *testing.T) {
	parse(t, "hosts: {a.b.example: {steer: pinned, targets: {x: {addresses: 198.18.0.1}}}}\n")
}

func TestAnycastNeedsAWebAddress(t *testing.T) {
	_, err := site.Parse("shop.yaml", []byte("hosts: {a.b.example: {steer: anycast}}\norigin: http://o.example\n"), &topology.Topology{})
	if err == nil || !strings.Contains(err.Error(), "shop.yaml:1:30: host \"a.b.example\" is steered by anycast but the topology has no web address") {
		t.Errorf("got %v", err)
	}
}

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		glob, text string
		want       bool
	}{
		{"/cart/*", "/cart/", true},
		{"/cart/*", "/cart/a/b", true},
		{"/cart/*", "/cart", false},
		{"*.css", "/a/b.css", true},
		{"*.css", "/a/b.css.map", false},
		{"/a*b*c", "/aXbYbZc", true},
		{"/a*b*c", "/aXbYbZ", false},
		{"*", "", true},
		{"", "", true},
		{"", "a", false},
		{"/a", "/a", true},
		{"utm_*", "utm_source", true},
		{"utm_*", "xutm_source", false},
	} {
		if got := site.Match(c.glob, c.text); got != c.want {
			t.Errorf("Match(%q, %q): got %v, want %v", c.glob, c.text, got, c.want)
		}
	}
	// A glob matches what it was made from: its stars replaced by any text.
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOfN(rapid.StringMatching(`[/ab]{0,3}`), 1, 5).Draw(t, "parts")
		var text strings.Builder
		for i, p := range parts {
			if i > 0 {
				text.WriteString(rapid.StringMatching(`[/abc]{0,4}`).Draw(t, "filling"))
			}
			text.WriteString(p)
		}
		if glob := strings.Join(parts, "*"); !site.Match(glob, text.String()) {
			t.Fatalf("Match(%q, %q) is false", glob, text.String())
		}
		if glob := strings.Join(parts, "*"); site.Match(glob, text.String()+"z") && !strings.HasSuffix(glob, "*") {
			t.Fatalf("Match(%q, %q) is true", glob, text.String()+"z")
		}
	})
}

func FuzzParse(f *testing.F) {
	text, err := os.ReadFile("testdata/shop.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte("hosts: {a.b: {targets: {x: {cname: c.d, at: FRA, weight: 0}}}}\norigin: [{url: 'http://x.y:0/?#'}]\ncache: {rules: [{path: '*', ttl: 1s}, {path: /a, store: never}]}\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := site.Parse("f.yaml", text, nil)
		if (got == nil) != (err != nil) {
			t.Fatalf("got %v and error %v", got, err)
		}
		if got == nil {
			return
		}
		for _, h := range got.Hosts {
			if h.Name == "" || h.Name != strings.ToLower(h.Name) || h.Steer == "" || got.Host(h.Name) != h {
				t.Errorf("host %+v", h)
			}
		}
		for _, o := range got.Origins {
			if o.URL == nil || o.URL.Hostname() == "" || o.Weight < 1 {
				t.Errorf("origin %+v", o)
			}
		}
	})
}
