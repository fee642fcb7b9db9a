package client

import (
	"net/netip"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/catchment-net/catchment/labs"
)

// Every name server of the fleet is asked for itself; one that is silent has no opinion.
func TestAllNameServersAreAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.nameServer("203.0.113.1:53", zone(2, nsidAMS, "203.0.113.2", "2001:db8:a1::1"))
		w.nameServer(ns1, zone(2, nsidAMS, "192.0.2.81", "192.0.2.80"))
		w.nameServer("203.0.113.17:53", zone(2, ""))
		c := newClient(t, w, func(o *Options) {
			for i, text := range []string{"203.0.113.1", "203.0.113.17"} {
				o.Topology.POPs[i].Nodes[0].Addrs = []netip.Addr{netip.MustParseAddr(text)}
			}
			o.Topology.POPs[1].Nodes[0].Addrs = append(o.Topology.POPs[1].Nodes[0].Addrs, netip.MustParseAddr("2001:db8:a2::1"))
			o.Topology.Anycast.DNS = []netip.Addr{netip.MustParseAddr("192.0.2.53")}
		})
		got := c.Do(t.Context(), labs.Load{Name: "agree", DNS: "www.shop.example", Rate: 1})
		want := []labs.View{
			{Server: netip.MustParseAddr("203.0.113.1"), Node: "ams1", Answer: "ams"},
			{Server: netip.MustParseAddr("203.0.113.17"), Node: "nyc1", Answer: "empty"},
			{Server: netip.MustParseAddr("2001:db8:a2::1"), Node: "nyc1", Error: "no answer in time"},
			{Server: netip.MustParseAddr("192.0.2.53"), Node: "ams1", Answer: "192.0.2.80 192.0.2.81"},
		}
		if d := cmp.Diff(want, got.Views, cmpopts.EquateComparable(netip.Addr{})); d != "" {
			t.Errorf("views (-want +got):\n%s", d)
		}
		if !got.OK || !got.DNSEmpty || got.Error != "" {
			t.Errorf("ok %v, empty %v, error %q: want an answer, one of them empty", got.OK, got.DNSEmpty, got.Error)
		}
	})
}

// A number in the URL makes each request another one.
func TestNumberedURLs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.nameServer(ns1, zone(300, nsidAMS, "203.0.113.1"))
		w.web(v4, pop(t, "ams1"))
		c := newClient(t, w, nil)
		load := labs.Load{Name: "tagged", URL: "http://www.shop.example/static/a?utm_source={n}", Rate: 1}
		for range 2 {
			if s := c.Do(t.Context(), load); !s.OK {
				t.Errorf("%s", s.Error)
			}
		}
	})
}
