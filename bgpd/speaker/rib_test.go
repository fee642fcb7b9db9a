package speaker

import (
	"net/netip"
	"strings"
	"testing"
)

// What a router has sent, what of it we took, and what we have sent to the router.
func TestAdjRIBs(t *testing.T) {
	hub, _ := listen(t, Options{ASN: 64496, RouterID: addrA, Listen: at(addrA), Neighbors: []Neighbor{
		{Name: "pop", Address: addrB, ASN: 64500, Local: addrA, Passive: true, Relation: Customer},
	}})
	pop, _ := listen(t, Options{ASN: 64500, RouterID: addrB, Neighbors: []Neighbor{
		{Name: "hub", Address: addrA, Port: hub.Addrs()[0].Port(), ASN: 64496, Local: addrB, Prepend: 1},
	}})
	ours := Route{Prefix: netip.MustParsePrefix("192.0.2.0/24"), NextHop: netip.MustParseAddr("203.0.113.1")}
	theirs := Route{Prefix: netip.MustParsePrefix("198.51.100.0/24"), NextHop: netip.MustParseAddr("203.0.113.9")}
	if err := pop.Set([]Route{ours}); err != nil {
		t.Fatal(err)
	}
	if err := hub.Set([]Route{theirs}); err != nil {
		t.Fatal(err)
	}
	if all, err := pop.Adj(AdjRIBIn, "hub", netip.Prefix{}); err != nil || len(all) != 0 {
		t.Errorf("before there is a session: %v, %v", all, err)
	}
	run(t, hub)
	run(t, pop)
	list := func(t *testing.T, table Table, prefix netip.Prefix) []Best {
		t.Helper()
		all, err := pop.Adj(table, "hub", prefix)
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	await(t, "a route of the hub", func() bool { return len(list(t, AdjRIBIn, netip.Prefix{})) == 1 })
	if in := list(t, AdjRIBIn, theirs.Prefix); len(in) != 1 || in[0].Prefix != theirs.Prefix || in[0].Neighbor != "hub" {
		t.Errorf("it has sent %+v", in)
	}
	if loc, err := pop.RIB(theirs.Prefix); err != nil || len(loc) != 0 {
		t.Errorf("a POP takes no more than a default route of its router: %+v, %v", loc, err)
	}
	await(t, "our route", func() bool { return len(list(t, AdjRIBOut, netip.Prefix{})) == 1 })
	if out := list(t, AdjRIBOut, netip.Prefix{}); out[0].Prefix != ours.Prefix || len(out[0].ASPath) != 2 {
		t.Errorf("we have sent %+v, want the path prepended once", out)
	}
	if _, err := pop.Adj(AdjRIBIn, "nobody", netip.Prefix{}); err == nil || !strings.Contains(err.Error(), `"nobody"`) {
		t.Errorf("a neighbour that is none: %v", err)
	}
}
