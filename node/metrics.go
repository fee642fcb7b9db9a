package node

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the hub's own.
type metrics struct{ held prometheus.Gauge }

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	m := &metrics{held: prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "node_config_held", Help: "Is a configuration held because it would withdraw prefixes from too many POPs at once?",
	})}
	if err := r.Register(m.held); err != nil {
		return nil, fmt.Errorf("register metrics of node: %w", err)
	}
	return m, nil
}
