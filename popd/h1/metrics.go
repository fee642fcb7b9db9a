package h1

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the counters of a Server. Label values come from fixed lists.
type metrics struct {
	accepted     prometheus.Counter
	acceptErrors prometheus.Counter
	handshakes   prometheus.Counter
	refused      *prometheus.CounterVec
	closed       *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer, s *Server) (*metrics, error) {
	m := &metrics{
		accepted:     prometheus.NewCounter(prometheus.CounterOpts{Name: "popd_connections_accepted_total", Help: "Connections taken from clients and other nodes."}),
		acceptErrors: prometheus.NewCounter(prometheus.CounterOpts{Name: "popd_accept_errors_total", Help: "Connections that could not be taken: out of descriptors or memory."}),
		handshakes:   prometheus.NewCounter(prometheus.CounterOpts{Name: "popd_tls_failures_total", Help: "TLS handshakes that failed."}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "popd_malformed_requests_total",
			Help: "Requests that the loop itself refused, by what was wrong.",
		}, []string{"reason"}),
		closed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "popd_connections_ended_total",
			Help: "Connections that we ended before their client did, by why.",
		}, []string{"reason"}), // idle, header, body, write; evicted for a newer one; refused because all were at work
	}
	for _, r := range reasons {
		m.refused.WithLabelValues(r)
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{
		m.accepted, m.acceptErrors, m.handshakes, m.refused, m.closed,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "popd_connections", Help: "Open connections."},
			func() float64 { return float64(len(s.slots)) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "popd_connections_limit", Help: "Open connections that are allowed."},
			func() float64 { return float64(cap(s.slots)) }),
	} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics of the HTTP loop: %w", err)
		}
	}
	return m, nil
}
