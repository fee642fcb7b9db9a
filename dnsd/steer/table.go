package steer

import (
	"net/netip"

	"github.com/catchment-net/catchment/geodata"
)

// table orders places for every address. Hosts whose candidates have equal places share one.
type table struct {
	db     *geodata.DB
	places []Place
}

// lookup returns the order of the places for an address, and the length of the network around it that shares it.
func (t *table) lookup(a netip.Addr) ([]uint16, uint8) {
	loc, scope, known := t.db.Locate(a)
	return order(loc, known, t.places), uint8(max(scope.Bits(), 0))
}
