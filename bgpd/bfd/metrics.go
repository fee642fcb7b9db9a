package bfd

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	up             prometheus.Gauge
	sent, received prometheus.Counter
	changes        *prometheus.CounterVec
	discarded      *prometheus.CounterVec
	late           prometheus.Histogram
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		up:       prometheus.NewGauge(prometheus.GaugeOpts{Name: "bgpd_bfd_sessions_up", Help: "How many BFD sessions are up?"}),
		sent:     prometheus.NewCounter(prometheus.CounterOpts{Name: "bgpd_bfd_sent_packets_total", Help: "How many BFD packets were sent?"}),
		received: prometheus.NewCounter(prometheus.CounterOpts{Name: "bgpd_bfd_received_packets_total", Help: "How many BFD packets arrived, taken or not?"}),
		changes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "bgpd_bfd_changes_total", Help: "How often did a BFD session enter a state, by state?",
		}, []string{"state"}),
		discarded: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "bgpd_bfd_discarded_packets_total", Help: "How many BFD packets were not taken, by the rule that they broke?",
		}, []string{"reason"}),
		late: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "bgpd_bfd_send_delay_seconds", Help: "How long after its time did a packet of a session that is up leave?",
			Buckets: []float64{.0001, .0003, .001, .003, .01, .03, .1, .3, 1},
		}),
	}
	for _, s := range []State{Down, Init, Up} {
		m.changes.WithLabelValues(s.String())
	}
	for _, d := range discards() {
		m.discarded.WithLabelValues(string(d))
	}
	var errs []error
	for _, c := range []prometheus.Collector{m.up, m.sent, m.received, m.changes, m.discarded, m.late} {
		if err := r.Register(c); err != nil {
			errs = append(errs, fmt.Errorf("register metrics of bfd: %w", err))
		}
	}
	return m, errors.Join(errs...)
}
