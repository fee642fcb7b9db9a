//go:build linux

package main

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/catchment-net/catchment/bench/bgp/wire"
	"github.com/catchment-net/catchment/labs/layout"
	"github.com/catchment-net/catchment/topology"
)

// Every setting is a topology that the strict reader takes, and the first POP is the one that ties prefer.
func TestSettingsAreTopologies(t *testing.T) {
	for name, s := range map[string]setting{
		"plain": {transit: "bird", pops: 2}, "hidden": {transit: "frr", pops: 2, hidden: true}, "three": {transit: "bird", pops: 3},
		"eight peers": {transit: "bird", pops: 2, peers: 7},
	} {
		topo, err := topology.Parse("topology.yaml", []byte(s.topology()))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		p, err := layout.New(topo)
		if err != nil {
			t.Fatal(err)
		}
		if !p.Machine(node(0)).RouterID.Less(p.Machine(node(1)).RouterID) {
			t.Errorf("%s: the first POP has not the lower router id", name)
		}
		for i := range s.pops {
			if _, err := layout.FindLink(topo, s.link(i)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

func TestQuantile(t *testing.T) {
	ten := []float64{10, 9, 8, 7, 6, 5, 4, 3, 2, 1}
	for q, want := range map[float64]float64{0.5: 5, 0.95: 10, 1: 10, 0: 1} {
		if got := quantile(ten, q); got != want {
			t.Errorf("quantile %v: got %v, want %v", q, got, want)
		}
	}
}

func TestBars(t *testing.T) {
	l := line{Median: 2, P95: 6, Max: 7}
	for _, tt := range []struct {
		b    bar
		want string
	}{
		{bar{}, ""},
		{bar{median: new(2.0)}, "holds"},
		{bar{median: new(2.0), p95: new(5.0)}, "does not"},
		{bar{max: new(0.0)}, "does not"},
	} {
		got := ""
		if h := tt.b.holds(l); h != nil {
			got = map[bool]string{true: "holds", false: "does not"}[*h]
		}
		if got != tt.want {
			t.Errorf("%q: got %q, want %q", tt.b, got, tt.want)
		}
	}
	if got := (bar{median: new(2.0), p95: new(5.0)}).String(); got != "median ≤ 2, p95 ≤ 5" {
		t.Errorf("got %q", got)
	}
}

// A session that ends takes back what it has said, and another one of the same POP does not.
func TestRecordHoldsWhatSessionsSay(t *testing.T) {
	pop, transit := netip.MustParseAddr("169.254.0.0"), netip.MustParseAddrPort("169.254.0.1:179")
	r := record{pop: pop, told: map[conn]map[netip.Prefix]bool{}}
	one, two := netip.AddrPortFrom(pop, 4001), netip.AddrPortFrom(pop, 4002)
	at := time.Now()
	r.add([]wire.Event{
		{At: at, From: one, To: transit, Kind: wire.Announce, Prefix: prefixes[0]},
		{At: at, From: two, To: transit, Kind: wire.Reset},                         // a second connection that lost
		{At: at, From: transit, To: one, Kind: wire.Announce, Prefix: prefixes[1]}, // what the transit says
	})
	if !r.announced(prefixes[0]) || r.announced(prefixes[1]) {
		t.Error("while the session stands its prefix is announced, and that alone")
	}
	r.add([]wire.Event{{At: at.Add(time.Second), From: transit, To: one, Kind: wire.Fin}})
	if r.announced(prefixes[0]) || !r.gone(prefixes[0], at).Equal(at.Add(time.Second)) {
		t.Error("the session's end takes the prefix back")
	}
}

func TestRowsAreChosen(t *testing.T) {
	o := options{rows: []string{"cut", "idle"}, transits: []string{"frr"}}
	var got []string
	for _, r := range rows() {
		if r.wanted(o) {
			got = append(got, r.name+" "+strings.Join(r.transits(o), ","))
		}
	}
	if strings.Join(got, "; ") != "cut frr; idle bird" {
		t.Errorf("got %q", got)
	}
}

func TestManyPrefixesDiffer(t *testing.T) {
	seen := map[netip.Prefix]bool{}
	for i := range manyPrefixes {
		seen[many(i)] = true
	}
	if len(seen) != manyPrefixes {
		t.Errorf("%d of %d differ", len(seen), manyPrefixes)
	}
}
