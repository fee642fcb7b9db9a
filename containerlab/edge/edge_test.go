package edge

import (
	"testing"

	"github.com/catchment-net/catchment/topology"
)

const lab = `
asn: 64500
anycast: {prefixes: [192.0.2.0/24], dns: [192.0.2.53]}
pops:
  ams: {at: AMS, unicast: [203.0.113.0/28]}
internet:
  networks:
    arc:  {asn: 64496, at: FRA}
    bolt: {asn: 64497, at: TYO}
  origins:
    one.example: {in: arc, prefixes: [203.0.113.128/28]}
    two.example: {in: bolt, prefixes: [203.0.113.144/28]}
  links:
    ams -> arc: {}
    ams -> bolt: {}
`

// An edge plays what hangs on its own network, and leaves the topology that it reads as it is.
func TestOf(t *testing.T) {
	topo, err := topology.Parse("topology.yaml", []byte(lab))
	if err != nil {
		t.Fatal(err)
	}
	part := Of(topo, "bolt")
	if got := part.Internet.Origins; len(got) != 1 || got[0].Host != "two.example" {
		t.Errorf("origins %v", got)
	}
	if len(topo.Internet.Origins) != 2 || Empty(part) || !Empty(Of(topo, "nowhere")) {
		t.Errorf("the whole has %d origins, bolt is empty: %v", len(topo.Internet.Origins), Empty(part))
	}
}
