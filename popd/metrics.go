package popd

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/catchment-net/catchment/popd/flight"
	"github.com/catchment-net/catchment/popd/upstream"
)

// metrics are the counters of a Server. Label values come from fixed lists.
type metrics struct {
	upstream *prometheus.CounterVec
	purges   *prometheus.CounterVec

	badCertificates prometheus.Gauge
	expiry          *prometheus.GaugeVec
}

// purged counts a purge.
func (m *metrics) purged(r PurgeRequest) {
	kind := "key"
	if r.URL != "" {
		kind = "url"
	}
	m.purges.WithLabelValues(kind, r.how()).Inc()
}

// newMetrics makes the counters of s and registers them where there is a registerer.
func newMetrics(reg prometheus.Registerer, s *Server) (*metrics, error) {
	m := &metrics{
		upstream: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "popd_upstream_requests_total",
			Help: "Requests sent on, by the tier that answered and how it ended.",
		}, []string{"tier", "result"}), // peer, shield, origin, none; ok, error, timeout
		purges: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "popd_purges_total",
			Help: "Purges, by what they named and how.",
		}, []string{"kind", "how"}), // url, key; hard, soft
	}
	m.badCertificates = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "popd_certificates_refused", Help: "Sites whose certificate files have changed into something that cannot be used; the certificate before goes on.",
	})
	m.expiry = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "popd_certificate_expiry_seconds", Help: "When the first certificate in use ends, in Unix time, by site.",
	}, []string{"site"}) // the sites of the configuration
	if reg == nil {
		return m, nil
	}
	gauge := func(name, help string, read func() int64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return float64(read()) })
	}
	for _, c := range []prometheus.Collector{
		newTallyCollector(&s.tallies), m.upstream, m.purges, m.badCertificates, m.expiry,
		gauge("popd_store_bytes", "Bytes of answers, stored or on their way, with all that is needed to find them.", func() int64 { return s.store.Stats().Bytes }),
		gauge("popd_store_limit_bytes", "The most that popd_store_bytes may be.", func() int64 { return s.store.Limit() }),
		gauge("popd_store_entries", "Stored answers.", func() int64 { return s.store.Stats().Entries }),
		gauge("popd_flights", "Requests to upstreams for answers that may be shared, under way.", func() int64 { return int64(s.flights.Stats().Flights) }),
		gauge("popd_flights_limit", "Flights that are allowed.", func() int64 { return flight.DefaultFlights }),
		gauge("popd_store_filling_bytes", "Bytes of answers on their way, part of popd_store_bytes and at most half of its limit.", func() int64 { return s.store.Stats().Filling }),
		gauge("popd_windows_bytes", "Bytes of answers that pass without being stored.", func() int64 { return s.flights.Stats().Windows }),
		gauge("popd_windows_limit_bytes", "The most that popd_windows_bytes may be, and 64 KiB for each such answer beyond.", func() int64 { return s.o.Memory / windowsShare }),
		gauge("popd_unshareable_urls", "URLs remembered as not shareable.", func() int64 { return int64(s.marks.Len()) }),
		gauge("popd_unsliceable_urls", "URLs remembered as giving no ranges though their origin says so; their limit is that of the unshareable ones.", func() int64 { return int64(s.unsliced.Len()) }),
		gauge("popd_unshareable_urls_limit", "URLs remembered as not shareable that are allowed.", func() int64 { return flight.DefaultMarks }),
		gauge("popd_purge_tags", "URLs and surrogate keys whose last purge is remembered.", func() int64 { return int64(s.o.Purges.Stats().Tags) }),
		gauge("popd_purge_tags_limit", "URLs and surrogate keys whose last purge can be remembered.", func() int64 { return int64(s.o.Purges.Stats().Limit) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "popd_flights_refused_total",
			Help: "Requests answered 503 because too many flights were under way.",
		}, func() float64 { return float64(s.flights.Stats().Refused) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "popd_store_evictions_total",
			Help: "Stored answers dropped to make room.",
		}, func() float64 { return float64(s.store.Stats().Evictions) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "popd_store_refused_total",
			Help: "Answers not stored for want of room, or because their header was too large.",
		}, func() float64 { return float64(s.store.Stats().Refused) }),
	} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics of popd: %w", err)
		}
	}
	return m, nil
}

// countUpstream counts what Do returned and hands it on.
func (s *Server) countUpstream(a *upstream.Answer, err error) (*upstream.Answer, error) {
	var e *upstream.Error
	switch {
	case err == nil:
		s.metrics.upstream.WithLabelValues(a.Tier, "ok").Inc()
	case errors.As(err, &e) && e.Timeout:
		s.metrics.upstream.WithLabelValues("none", "timeout").Inc()
	default:
		s.metrics.upstream.WithLabelValues("none", "error").Inc()
	}
	return a, err
}
