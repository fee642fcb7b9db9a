package control

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

const (
	diffTopology = `asn: 64500
anycast: {prefixes: [192.0.2.0/24, 198.51.100.0/24], dns: [192.0.2.53], web: [192.0.2.80]}
pops:
  ams: {at: AMS, unicast: [203.0.113.0/28]}
  nyc: {at: NYC, unicast: [203.0.113.16/28], neighbors: {r1: {address: 198.18.0.1, asn: 64496}}}
  sin: {at: SIN, unicast: [203.0.113.32/28]}
drain: {at_once: 1}
`
	diffSite = "hosts:\n  www.shop.example: {steer: geo, ttl: 2s}\norigin: http://origin.shop.example\ncache: {rules: [{path: /static/*, ttl: 1h}]}\n"
	diffZone = "$TTL 300\n@ SOA ns1 hostmaster 1 3600 600 1209600 60\n@ NS ns1\nns1 A 192.0.2.53\n"
)

// changed is the configuration with replacements, "old => new" each.
func changed(tb testing.TB, replacements ...string) *Snapshot {
	tb.Helper()
	files := map[string]string{"topology.yaml": diffTopology, "sites/shop.yaml": diffSite, "zones/shop.example": diffZone}
	for _, r := range replacements {
		old, now, _ := strings.Cut(r, " => ")
		found := false
		for name, text := range files {
			found = found || strings.Contains(text, old)
			files[name] = strings.ReplaceAll(text, old, now)
		}
		if !found {
			tb.Fatalf("%q replaces nothing", r)
		}
	}
	raw := map[string][]byte{}
	for name, text := range files {
		raw[name] = []byte(text)
	}
	s, err := Parse("test", raw)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func TestDiff(t *testing.T) {
	for _, test := range []struct {
		name    string
		change  []string
		routes  string // subjects
		answers string
		caches  string
		lost    string
		held    bool
	}{
		{"nothing", nil, "", "", "", "", false},
		{"a TTL", []string{"ttl: 2s => ttl: 5s"}, "", "host www.shop.example", "", "", false},
		{"a cache rule", []string{"ttl: 1h => ttl: 2h"}, "", "", "site shop rules", "", false},
		{"an origin", []string{"http://origin => http://other"}, "", "", "site shop origin", "", false},
		{"a record", []string{"ns1 A 192.0.2.53 => ns1 A 192.0.2.54"}, "", "zone shop.example.", "", "", false},
		{"the timing of drains", []string{"at_once: 1 => quiet: 2s"}, "drain", "", "", "", false},
		{"a neighbor's hold time", []string{"asn: 64496 => asn: 64496, hold: 3s"}, "neighbor r1 of nyc", "", "", "", false},
		{"one POP's unicast prefix", []string{"203.0.113.0/28 => 203.0.113.48/28"}, "node ams1, pop ams", "", "", "ams: 203.0.113.0/28", false},
		{"one POP goes", []string{"  sin: {at: SIN, unicast: [203.0.113.32/28]}\n => "}, "node sin1, pop sin", "pop sin", "shield sin", "sin: 203.0.113.32/28 192.0.2.0/24 198.51.100.0/24", false},
		{"the last neighbor of one POP", []string{", neighbors: {r1: {address: 198.18.0.1, asn: 64496}} => "}, "neighbor r1 of nyc", "", "", "nyc: 203.0.113.16/28 192.0.2.0/24 198.51.100.0/24", false},
		{"two POPs go", []string{"  sin: {at: SIN, unicast: [203.0.113.32/28]}\n => ", "  ams: {at: AMS, unicast: [203.0.113.0/28]}\n => "}, "node ams1, node sin1, pop ams, pop nyc, pop sin", "pop ams, pop sin", "shield ams, shield sin", "ams: 203.0.113.0/28 192.0.2.0/24 198.51.100.0/24; sin: 203.0.113.32/28 192.0.2.0/24 198.51.100.0/24", true},
		{"an anycast prefix goes", []string{", 198.51.100.0/24] => ]"}, "pop ams, pop nyc, pop sin", "", "", "ams: 198.51.100.0/24; nyc: 198.51.100.0/24; sin: 198.51.100.0/24", true},
		{"its own limit counts for nothing", []string{", 198.51.100.0/24] => ]", "at_once: 1 => at_once: 3"}, "drain, pop ams, pop nyc, pop sin", "", "", "ams: 198.51.100.0/24; nyc: 198.51.100.0/24; sin: 198.51.100.0/24", true},
		{"a POP comes", []string{"  sin: => \n  fra: {at: FRA, unicast: [203.0.113.48/28]}\n  sin:"}, "node fra1, pop fra, pop sin", "pop fra", "shield fra", "", false},
		{name: "origins are checked", change: []string{"drain: {at_once: 1} => drain: {at_once: 1}\nbgp: {rpki: {servers: [198.51.100.8:3323], invalid: refuse}}"}, routes: "rpki"},
	} {
		t.Run(test.name, func(t *testing.T) {
			a, b := changed(t), changed(t, test.change...)
			c := Diff(a, b)
			for _, part := range []struct {
				name string
				got  []Difference
				want string
			}{{"routes", c.Routes, test.routes}, {"answers", c.Answers, test.answers}, {"caches", c.Caches, test.caches}} {
				var subjects []string
				for _, d := range part.got {
					subjects = append(subjects, d.Subject)
					if d.Was == d.Is {
						t.Errorf("%+v is no difference", d)
					}
				}
				if got := strings.Join(subjects, ", "); got != part.want {
					t.Errorf("%s: got %q, want %q", part.name, got, part.want)
				}
			}
			var losses []string
			for _, l := range c.Lost {
				losses = append(losses, l.POP+": "+joined(l.Prefixes))
			}
			if got := strings.Join(losses, "; "); got != test.lost {
				t.Errorf("lost %q, want %q", got, test.lost)
			}
			if c.Empty() != (len(test.change) == 0) {
				t.Errorf("empty: %v", c.Empty())
			}
			if why := TooMuch(a.Topology, b.Topology); (why != "") != test.held {
				t.Errorf("held because %q, want %v", why, test.held)
			}
		})
	}
}

// Whatever comes and goes: exactly what more POPs lose than may at once is held, and what is taken back loses nothing.
func TestTooMuchCountsPOPs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func(name string) string {
			var b strings.Builder
			fmt.Fprintf(&b, "asn: 64500\ndrain: {at_once: %d}\nanycast: {prefixes: [192.0.2.0/24", rapid.IntRange(1, 4).Draw(t, name+" at once"))
			if rapid.Bool().Draw(t, name+" second prefix") {
				b.WriteString(", 198.51.100.0/24")
			}
			b.WriteString("]}\npops:\n  ams: {at: AMS, unicast: [203.0.113.0/28]}\n")
			for i, pop := range []string{"nyc", "sin", "fra"} {
				if rapid.Bool().Draw(t, name+" "+pop) {
					fmt.Fprintf(&b, "  %s: {at: %s, unicast: [203.0.113.%d/28]}\n", pop, strings.ToUpper(pop), 16*(i+1+4*rapid.IntRange(0, 1).Draw(t, name+" unicast of "+pop)))
				}
			}
			return b.String()
		}
		parse := func(text string) *Snapshot {
			s, err := Parse("test", map[string][]byte{"topology.yaml": []byte(text)})
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		a, b := parse(draw("old")), parse(draw("new"))
		announced := func(s *Snapshot) map[string]bool {
			all := map[string]bool{}
			for _, p := range s.Topology.POPs {
				for _, prefix := range slices.Concat(p.Unicast, s.Topology.Anycast.Prefixes) {
					all[p.Name+" "+prefix.String()] = true
				}
			}
			return all
		}
		losers, after := map[string]bool{}, announced(b)
		for route := range announced(a) {
			if pop, _, _ := strings.Cut(route, " "); !after[route] {
				losers[pop] = true
			}
		}
		if held := TooMuch(a.Topology, b.Topology) != ""; held != (len(losers) > a.Topology.Drain.AtOnce) {
			t.Fatalf("held: %v, with %v of at most %d POPs that lose routes", held, slices.Sorted(maps.Keys(losers)), a.Topology.Drain.AtOnce)
		}
		if c := Diff(a, a); !c.Empty() {
			t.Fatalf("a configuration differs from itself: %+v", c)
		}
	})
}
