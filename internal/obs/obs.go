// Package obs gives a process its logger, its metrics registry and the handler that shows the metrics. Nothing is
// global: cmd makes one of each and hands them to every part by Options.
package obs

import (
	"io"
	"log/slog"
	"net/http"
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Build says what is running.
type Build struct {
	Version  string // "v0.1.0"; empty means "unknown"
	Revision string // the commit; empty means "unknown"
}

// Registry returns a new registry that already has the build and the Go runtime's and process's own metrics.
func Registry(b Build) *prometheus.Registry {
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "catchment_build_info", Help: "1; the labels say what is running.",
		ConstLabels: prometheus.Labels{"version": orUnknown(b.Version), "revision": orUnknown(b.Revision), "goversion": runtime.Version()},
	})
	info.Set(1)
	r := prometheus.NewRegistry()
	r.MustRegister(info, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

func orUnknown(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}

// The limits of the metrics handler.
const maxScrapes = 4 // at once; a further one gets 503

// Handler serves what g gathers in the Prometheus text format. A collector that fails is logged and costs only its own
// metrics.
func Handler(g prometheus.Gatherer, log *slog.Logger) http.Handler {
	o := promhttp.HandlerOpts{MaxRequestsInFlight: maxScrapes, ErrorHandling: promhttp.ContinueOnError}
	if log != nil {
		o.ErrorLog = slog.NewLogLogger(log.Handler(), slog.LevelWarn)
	}
	return promhttp.HandlerFor(g, o)
}

// LogOptions configures a logger. The zero value is text from Info on.
type LogOptions struct {
	Level slog.Leveler // nil means Info; a *slog.LevelVar may be turned while the process runs
	JSON  bool         // one JSON object a line, for machines
}

// Logger returns a logger that writes to w, one line a record. attrs are on every line: by custom pop and node.
func Logger(w io.Writer, o LogOptions, attrs ...slog.Attr) *slog.Logger {
	ho := &slog.HandlerOptions{Level: o.Level}
	var h slog.Handler = slog.NewTextHandler(w, ho)
	if o.JSON {
		h = slog.NewJSONHandler(w, ho)
	}
	if len(attrs) > 0 {
		h = h.WithAttrs(attrs)
	}
	return slog.New(h)
}
