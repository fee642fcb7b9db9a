package h1_test

import (
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/catchment-net/catchment/popd/h1"
)

// TestSlowlorisHoldsNobodyUp: 5,000 connections each drip a header that never ends; a client beside them is answered as
// ever, also when they have taken every connection that is allowed: theirs are closed for it.
func TestSlowlorisHoldsNobodyUp(t *testing.T) {
	const drips = 5000
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil || files.Cur < 2*drips+200 {
		t.Skipf("it needs %d open files, and %d are allowed", 2*drips+200, files.Cur)
	}
	for name, most := range map[string]int{"with room": 2 * drips, "with all places taken": drips} {
		t.Run(name, func(t *testing.T) {
			addr := serve(t, h1.Options{MaxConns: most}, h1.Binding{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				_, _ = io.WriteString(w, "hello")
			})})
			for range drips {
				c := dial(t, addr)
				t.Cleanup(func() { _ = c.Close() })
				if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\nX-Drip: "); err != nil {
					t.Fatal(err)
				}
			}
			var worst time.Duration
			for range 50 {
				start := time.Now()
				if said := talk(t, addr, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"); !strings.HasSuffix(said, "hello") {
					t.Fatalf("a client beside them got %q", said)
				}
				worst = max(worst, time.Since(start))
			}
			t.Logf("the slowest of 50 requests beside %d slow ones took %v", drips, worst)
		})
	}
}
