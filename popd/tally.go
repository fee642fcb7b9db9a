package popd

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/catchment-net/catchment/popd/upstream"
)

// result is how a request was answered.
type result uint8

// The results: from the store; from the store, stale; through a fetch that may be stored; past the store; by an error of
// our own.
const (
	resultHit result = iota
	resultStale
	resultMiss
	resultPass
	resultError
	results
)

var resultNames = [results]string{"hit", "stale", "miss", "pass", "error"}

// asker is who a request came from.
type asker uint8

// The askers.
const (
	fromClient asker = iota
	fromPeer
	fromEdge
	askers
)

var askerNames = [askers]string{"client", "peer", "edge"}

func askerOf(from upstream.Asker) asker {
	switch {
	case from.Node == "":
		return fromClient
	case from.Peer:
		return fromPeer
	}
	return fromEdge
}

// tally counts the requests to one site and the bytes of bodies that answered them.
type tally struct {
	requests, bytes [askers][results]atomic.Uint64
}

func (t *tally) add(from asker, how result, bytes int64) {
	t.requests[from][how].Add(1)
	if bytes > 0 {
		t.bytes[from][how].Add(uint64(bytes))
	}
}

// tallies are those of all sites, by name, also of sites that have gone: their counters do not go back. Requests to no
// site are under "".
type tallies struct {
	mu  sync.Mutex // guards all; held for an assignment or a copy
	all map[string]*tally
}

// of is the tally of a site.
func (t *tallies) of(site string) *tally {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.all == nil {
		t.all = map[string]*tally{}
	}
	if t.all[site] == nil {
		t.all[site] = &tally{}
	}
	return t.all[site]
}

func (t *tallies) copied() map[string]*tally {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.all)
}

// tallyCollector shows tallies as metrics.
type tallyCollector struct {
	t               *tallies
	requests, bytes *prometheus.Desc
}

func newTallyCollector(t *tallies) *tallyCollector {
	labels := []string{"site", "from", "result"} // the sites of configurations; client, peer, edge; hit, stale, miss, pass, error
	return &tallyCollector{
		t: t,
		requests: prometheus.NewDesc("popd_requests_total",
			"Requests, health probes excepted, by site, by who asked and by how they were answered.", labels, nil),
		bytes: prometheus.NewDesc("popd_body_bytes_total",
			"Bytes of bodies written, by the same.", labels, nil),
	}
}

// Describe is prometheus.Collector's.
func (c *tallyCollector) Describe(to chan<- *prometheus.Desc) {
	to <- c.requests
	to <- c.bytes
}

// Collect is prometheus.Collector's. Combinations that have not occurred are left out.
func (c *tallyCollector) Collect(to chan<- prometheus.Metric) {
	all := c.t.copied()
	for _, site := range slices.Sorted(maps.Keys(all)) {
		for from := range askers {
			for how := range results {
				n := all[site].requests[from][how].Load()
				if n == 0 {
					continue
				}
				labels := []string{site, askerNames[from], resultNames[how]}
				to <- prometheus.MustNewConstMetric(c.requests, prometheus.CounterValue, float64(n), labels...)
				to <- prometheus.MustNewConstMetric(c.bytes, prometheus.CounterValue, float64(all[site].bytes[from][how].Load()), labels...)
			}
		}
	}
}
