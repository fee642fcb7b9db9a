package bgpd

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/catchment-net/catchment/bgpd/announce"
)

type metrics struct {
	changes  *prometheus.CounterVec
	claims   prometheus.Gauge
	sessions prometheus.Gauge
	invalid  prometheus.Gauge
	delay    prometheus.Histogram
	step     prometheus.Gauge
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		changes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "bgpd_announcement_changes_total", Help: "How often did a prefix enter a state, by state?",
		}, []string{"state"}),
		claims: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "bgpd_claimed_prefixes", Help: "How many anycast prefixes attract clients here?",
		}),
		sessions: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "bgpd_sessions_established", Help: "How many BGP sessions are established?",
		}),
		invalid: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "bgpd_rpki_invalid_prefixes", Help: "How many of our prefixes does the RPKI call invalid for our AS?",
		}),
		step: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "bgpd_drain_step", Help: "How far has this node's drain come: 0 none, 1 dns, 2 gshut, 3 withdrawn, 4 down?",
		}),
		delay: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "bgpd_cause_to_wire_seconds", Help: "How long after its cause was a change handed to the sessions?",
			Buckets: []float64{.0001, .0003, .001, .003, .01, .03, .1, .3, 1, 3},
		}),
	}
	for _, s := range []announce.State{announce.Announced, announce.GSHUT, announce.Withdrawn} {
		m.changes.WithLabelValues(string(s))
	}
	var errs []error
	for _, c := range []prometheus.Collector{m.changes, m.claims, m.sessions, m.invalid, m.delay, m.step} {
		if err := r.Register(c); err != nil {
			errs = append(errs, fmt.Errorf("register metrics of bgpd: %w", err))
		}
	}
	return m, errors.Join(errs...)
}
