package dnsd

import (
	"fmt"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
)

// metrics are a Server's. Labels come from the topology and fixed lists; clients cannot add any.
type metrics struct {
	queries   *prometheus.CounterVec
	steered   *prometheus.CounterVec
	dropped   prometheus.Counter
	truncated prometheus.Counter
	conns     prometheus.Gauge
	evicted   prometheus.Counter
	zones     prometheus.Gauge
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	}
	m := &metrics{
		queries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "dnsd_queries_total", Help: "Queries answered, by transport and response code.",
		}, []string{"transport", "rcode"}),
		steered: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "dnsd_steered_total", Help: "Steering decisions, by the POP chosen (anycast: the shared addresses, target: a customer's own, none: no address).",
		}, []string{"to"}),
		dropped:   counter("dnsd_dropped_total", "Packets without an answer: no queries at all."),
		truncated: counter("dnsd_truncated_total", "Answers too large for UDP, sent empty with TC."),
		conns:     gauge("dnsd_tcp_connections", "TCP connections open now."),
		evicted:   counter("dnsd_tcp_evicted_total", "TCP connections closed to make room for new ones."),
		zones:     gauge("dnsd_zones", "Zones served."),
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.queries, m.steered, m.dropped, m.truncated, m.conns, m.evicted, m.zones} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("dnsd: register metrics: %w", err)
		}
	}
	return m, nil
}

func (m *metrics) answered(tcp bool, rcode int, truncated bool) {
	transport := "udp"
	if tcp {
		transport = "tcp"
	}
	name := "other"
	switch rcode {
	case dns.RcodeSuccess, dns.RcodeFormatError, dns.RcodeServerFailure, dns.RcodeNameError, dns.RcodeNotImplemented,
		dns.RcodeRefused, dns.RcodeNotAuth, dns.RcodeYXDomain, dns.RcodeBadVers:
		name = dns.RcodeToString[rcode]
	}
	if rcode == dns.RcodeBadVers {
		name = "BADVERS" // 16 is BADSIG in a TSIG record
	}
	m.queries.WithLabelValues(transport, name).Inc()
	if truncated {
		m.truncated.Inc()
	}
}

func (m *metrics) steeredTo(name string, own bool) {
	switch {
	case name == "":
		name = "none"
	case own:
		name = "target"
	}
	m.steered.WithLabelValues(name).Inc()
}
