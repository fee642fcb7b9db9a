package gossip

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are what a pool counts.
type metrics struct {
	sent         prometheus.Counter
	received     *prometheus.CounterVec // copy: first, again
	dropped      *prometheus.CounterVec // reason: queue, send, key, malformed, exchange
	joinFailures prometheus.Counter
}

func newMetrics(r prometheus.Registerer, k Kind, members, queued func() int) (*metrics, error) {
	m := &metrics{
		sent: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "gossip_sent_total", Help: "Messages that this node gave out itself.",
		}),
		received: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "gossip_received_total", Help: "Messages that came in, by whether they were news.",
		}, []string{"copy"}),
		dropped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "gossip_dropped_total", Help: "Messages or states that were dropped, by reason.",
		}, []string{"reason"}),
		joinFailures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "gossip_join_failures_total", Help: "Seeds that were not members and could not be reached.",
		}),
	}
	if r == nil {
		return m, nil
	}
	r = prometheus.WrapRegistererWith(prometheus.Labels{"pool": string(k)}, r)
	return m, errors.Join(
		r.Register(m.sent), r.Register(m.received), r.Register(m.dropped), r.Register(m.joinFailures),
		r.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "gossip_members", Help: "Members that are thought to live, this node included.",
		}, func() float64 { return float64(members()) })),
		r.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "gossip_queue_messages", Help: "Messages that wait for gossip.",
		}, func() float64 { return float64(queued()) })),
	)
}
