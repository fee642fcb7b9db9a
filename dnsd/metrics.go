package dnsd

import (
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are a Server's. Labels come from the topology, the zones and fixed lists; clients cannot add any.
type metrics struct {
	evicted prometheus.Counter
	conns   prometheus.Gauge
	served  prometheus.Gauge
	faulty  prometheus.Gauge

	queries, zones, steered, slow, dropped, truncated *prometheus.Desc

	mu     sync.Mutex // guards readers; the numbers have their own
	all    []*counters
	zoneNo numbers
	popNo  numbers
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	m := &metrics{
		evicted: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "dnsd_tcp_evicted_total", Help: "TCP connections closed to make room for new ones.",
		}),
		conns:  prometheus.NewGauge(prometheus.GaugeOpts{Name: "dnsd_tcp_connections", Help: "TCP connections open now."}),
		served: prometheus.NewGauge(prometheus.GaugeOpts{Name: "dnsd_zones", Help: "Zones served."}),
		faulty: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "dnsd_zones_faulty", Help: "Zones whose files have mistakes: they are served from their last good copy, or SERVFAIL.",
		}),

		queries: desc("dnsd_queries_total", "Queries answered, by transport and response code.", "transport", "rcode"),
		zones:   desc("dnsd_zone_queries_total", "Queries answered, by zone (other: zones beyond the first 999).", "zone"),
		steered: desc("dnsd_steered_total",
			"Steering decisions, by the POP chosen (anycast: the shared addresses, target: a customer's own, none: no address).", "to"),
		slow:      desc("dnsd_slow_queries_total", "Queries whose answers were made anew, since none was packed for them."),
		dropped:   desc("dnsd_dropped_total", "Packets without an answer: no queries at all."),
		truncated: desc("dnsd_truncated_total", "Answers too large for UDP, sent empty with TC."),

		zoneNo: numbers{limit: maxZoneLabels}, popNo: numbers{limit: maxSteerLabels},
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m, m.evicted, m.conns, m.served, m.faulty} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("dnsd: register metrics: %w", err)
		}
	}
	return m, nil
}

// newCounters makes counters for one more reader. They count for as long as the server lives.
func (m *metrics) newCounters() *counters {
	c := &counters{}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.all = append(m.all, c)
	return c
}

func (m *metrics) readers() []*counters {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.all[:len(m.all):len(m.all)]
}

func (m *metrics) sum(of func(*counters) *atomic.Uint64) uint64 {
	var n uint64
	for _, c := range m.readers() {
		n += of(c).Load()
	}
	return n
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.queries, m.zones, m.steered, m.slow, m.dropped, m.truncated} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	send := func(d *prometheus.Desc, of func(*counters) *atomic.Uint64, always bool, labels ...string) {
		if n := m.sum(of); n > 0 || always {
			ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
		}
	}
	for t, transport := range [transports]string{"udp", "tcp"} {
		for i, rcode := range rcodeLabels() {
			send(m.queries, func(c *counters) *atomic.Uint64 { return &c.queries[t][i] }, false, transport, rcode)
		}
	}
	for i, name := range m.zoneNo.names() {
		send(m.zones, func(c *counters) *atomic.Uint64 { return &c.zones[i] }, false, name)
	}
	for i, name := range m.popNo.names() {
		send(m.steered, func(c *counters) *atomic.Uint64 { return &c.steered[i] }, false, name)
	}
	send(m.slow, func(c *counters) *atomic.Uint64 { return &c.slow }, true)
	send(m.dropped, func(c *counters) *atomic.Uint64 { return &c.dropped }, true)
	send(m.truncated, func(c *counters) *atomic.Uint64 { return &c.truncated }, true)
}

// numbers gives names small numbers from 1 on, which index counters. Beyond the limit all names share the last, "other".
// Safe for concurrent use.
type numbers struct {
	limit int

	mu   sync.Mutex // guards of and list
	of   map[string]int
	list []string
}

func (n *numbers) number(name string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	if i, ok := n.of[name]; ok {
		return i
	}
	if n.of == nil {
		n.of = map[string]int{}
	}
	if len(n.list) >= n.limit-1 {
		name = "other"
		if i, ok := n.of[name]; ok {
			return i
		}
	}
	n.list = append(n.list, name)
	n.of[name] = len(n.list)
	return len(n.list)
}

func (n *numbers) names() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.list[:len(n.list):len(n.list)]
}
