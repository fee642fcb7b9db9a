package dnsd

import (
	"fmt"
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/catchment-net/catchment/dnsd/rrl"
)

// metrics are a Server's. Labels come from the topology, the zones and fixed lists; clients cannot add any.
type metrics struct {
	evicted prometheus.Counter
	conns   prometheus.Gauge
	served  prometheus.Gauge
	faulty  prometheus.Gauge

	queries, zones, steered, limited, forgotten, slow, dropped, truncated, cookies, unlogged *prometheus.Desc

	limiter *rrl.Limiter
	log     *queryLog
	zoneNo  numbers
	popNo   numbers

	mu  sync.Mutex // guards all
	all []*counters
}

func newMetrics(r prometheus.Registerer, limiter *rrl.Limiter, log *queryLog) (*metrics, error) {
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
		limited:   desc("dnsd_rate_limited_total", "Answers that one network had too often: dropped, or truncated so that it asks over TCP.", "action"),
		forgotten: desc("dnsd_rate_limit_forgotten_total", "Accounts of the rate limit that had to make room before they were empty: more networks and answers at once than it can hold."),
		slow:      desc("dnsd_slow_queries_total", "Queries whose answers were made anew, since none was packed for them."),
		dropped:   desc("dnsd_dropped_total", "Packets without an answer: no queries at all."),
		truncated: desc("dnsd_truncated_total", "Answers too large for UDP, sent empty with TC."),
		cookies:   desc("dnsd_cookie_queries_total", "Queries whose cookie proved their sender's address."),
		unlogged:  desc("dnsd_query_log_dropped_total", "Sampled queries that the log had no room for."),

		limiter: limiter, log: log, zoneNo: numbers{limit: maxZoneLabels}, popNo: numbers{limit: maxSteerLabels},
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

// total adds all readers up.
func (m *metrics) total() *totals {
	m.mu.Lock()
	all := slices.Clip(m.all)
	m.mu.Unlock()
	sum := &totals{}
	for _, c := range all {
		c.mu.Lock()
		sum.merge(&c.totals)
		c.mu.Unlock()
	}
	return sum
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		m.queries, m.zones, m.steered, m.limited, m.forgotten, m.slow, m.dropped, m.truncated, m.cookies, m.unlogged,
	} {
		ch <- d
	}
}

// Collect implements prometheus.Collector. Counts of names that are 0 are left out.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	sum := m.total()
	send := func(d *prometheus.Desc, n uint64, labels ...string) {
		if n > 0 || len(labels) == 0 {
			ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
		}
	}
	for t, transport := range [transports]string{"udp", "tcp"} {
		for i, rcode := range rcodeLabels() {
			send(m.queries, sum.queries[t][i], transport, rcode)
		}
	}
	for i, name := range m.zoneNo.names() {
		send(m.zones, sum.zones[i], name)
	}
	for i, name := range m.popNo.names() {
		send(m.steered, sum.steered[i], name)
	}
	send(m.limited, sum.limited[rrl.Drop], "drop")
	send(m.limited, sum.limited[rrl.Truncate], "truncate")
	send(m.forgotten, m.limiter.Forgotten())
	send(m.slow, sum.slow)
	send(m.dropped, sum.dropped)
	send(m.truncated, sum.truncated)
	send(m.cookies, sum.cookies)
	send(m.unlogged, m.log.lost())
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
	return slices.Clip(n.list)
}

// name is the name with a number, "" for 0.
func (n *numbers) name(number int) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if number < 1 || number > len(n.list) {
		return ""
	}
	return n.list[number-1]
}
