package obs

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// broken is a collector that fails.
type broken struct{ desc *prometheus.Desc }

func (b broken) Describe(ch chan<- *prometheus.Desc) { ch <- b.desc }
func (b broken) Collect(ch chan<- prometheus.Metric) {
	ch <- prometheus.NewInvalidMetric(b.desc, io.ErrUnexpectedEOF)
}

func TestMetrics(t *testing.T) {
	r := Registry(Build{Version: "v1.2.3"})
	var log strings.Builder
	h := Handler(r, slog.New(slog.NewTextHandler(&log, nil)))
	body := get(t, h)
	for _, want := range []string{`catchment_build_info{goversion="go`, `revision="unknown",version="v1.2.3"} 1`, "\ngo_goroutines ", "\nprocess_open_fds "} {
		if !strings.Contains(body, want) {
			t.Errorf("metrics lack %q", want)
		}
	}
	if log.Len() > 0 {
		t.Errorf("log: got %q, want nothing", log.String())
	}
	r.MustRegister(broken{prometheus.NewDesc("broken", "always", nil, nil)})
	if body := get(t, h); !strings.Contains(body, "catchment_build_info") {
		t.Error("one broken collector costs the others' metrics")
	}
	if !strings.Contains(log.String(), "unexpected EOF") {
		t.Errorf("log: got %q, want the failure", log.String())
	}
}

func TestTwoRegistriesLiveSideBySide(t *testing.T) {
	Registry(Build{})
	Registry(Build{}) // with the global registry this would panic
}

func TestLogger(t *testing.T) {
	tests := []struct {
		name string
		o    LogOptions
		want string // without the time
	}{
		{"text from info on", LogOptions{}, `level=INFO msg=kept pop=ams`},
		{"json", LogOptions{JSON: true}, `"level":"INFO","msg":"kept","pop":"ams"}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out strings.Builder
			log := Logger(&out, tt.o, slog.String("pop", "ams"))
			log.Debug("dropped")
			log.Info("kept")
			if lines := strings.Count(out.String(), "\n"); lines != 1 || !strings.HasSuffix(strings.TrimSpace(out.String()), tt.want) {
				t.Errorf("got %q, want one line that ends in %q", out.String(), tt.want)
			}
		})
	}
}

func TestLevelCanBeTurned(t *testing.T) {
	var out strings.Builder
	var level slog.LevelVar
	log := Logger(&out, LogOptions{Level: &level})
	log.Debug("one")
	level.Set(slog.LevelDebug)
	log.Debug("two")
	if strings.Contains(out.String(), "one") || !strings.Contains(out.String(), "two") {
		t.Errorf("got %q, want only the second line", out.String())
	}
}

func get(t *testing.T, h http.Handler) string {
	t.Helper()
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", http.NoBody))
	if rec.Code != http.StatusOK {
		t.Fatalf("status: got %d, want 200", rec.Code)
	}
	return rec.Body.String()
}
