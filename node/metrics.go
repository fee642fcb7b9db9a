package node

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the hub's own.
type metrics struct{ held, badZones, targetsDown prometheus.Gauge }

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		held: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "node_config_held", Help: "Is a configuration held because it would withdraw prefixes from too many POPs at once?",
		}),
		badZones: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "node_zones_bad", Help: "Zones whose files have mistakes: they are served from their last good copy, or SERVFAIL.",
		}),
		targetsDown: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "node_targets_down", Help: "Probed addresses of sites' own targets that most of their observers see fail.",
		}),
	}
	for _, c := range []prometheus.Collector{m.held, m.badZones, m.targetsDown} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics of node: %w", err)
		}
	}
	return m, nil
}
