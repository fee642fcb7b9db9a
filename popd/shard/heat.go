package shard

import (
	"encoding/binary"
	"sync/atomic"

	"github.com/catchment-net/catchment/popd/key"
)

// The measure of heat: a key is hot if it is at least one in hotShare of the requests that were counted of late.
const (
	heatWindow = 1 << 16 // requests, after which all counts are halved
	hotShare   = 1 << 10
	hotLeast   = heatWindow / hotShare
	heatRows   = 4
	heatWidth  = 1 << 13 // counters a row; two keys share one in a row by 1 in 8192
)

// Heat counts requests by key, roughly and within 128 KiB (a count-min sketch), to tell the few keys that every node of
// a POP should keep. Its methods are safe for concurrent use; its zero value is ready. A count lost to a race does no
// harm.
type Heat struct {
	requests atomic.Uint32
	counts   [heatRows][heatWidth]atomic.Uint32
}

// Touch counts a request and reports whether its key is hot.
func (h *Heat) Touch(k key.Key) bool {
	if h.requests.Add(1)%heatWindow == 0 {
		h.halve()
	}
	least := ^uint32(0)
	for row := range h.counts {
		i := binary.BigEndian.Uint32(k[16+4*row:]) % heatWidth
		least = min(least, h.counts[row][i].Add(1))
	}
	return least >= hotLeast
}

func (h *Heat) halve() {
	for row := range h.counts {
		for i := range h.counts[row] {
			c := &h.counts[row][i]
			c.Store(c.Load() / 2)
		}
	}
}
