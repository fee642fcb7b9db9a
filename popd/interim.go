package popd

import (
	"maps"
	"net/http"
	"time"

	"github.com/catchment-net/catchment/popd/fresh"
	"github.com/catchment-net/catchment/popd/upstream"
)

// await waits for ready, or reports false if the client has gone. Meanwhile it passes interim answers on (RFC 9110
// §15.2). Another node that waits on us gets signs of life: without them it would take us for frozen and ask the next
// shield.
func await(w http.ResponseWriter, r *http.Request, a *ask, ready <-chan struct{}) bool {
	var tick <-chan time.Time
	if a.from.Node != "" && r.ContentLength == 0 {
		t := time.NewTicker(signOfLife)
		defer t.Stop()
		tick = t.C
	}
	for {
		select {
		case <-ready:
			for len(a.early) > 0 {
				writeEarly(w, r, <-a.early)
			}
			return true
		case <-r.Context().Done():
			return false
		case e := <-a.early:
			writeEarly(w, r, e)
		case <-tick:
			w.WriteHeader(http.StatusProcessing)
		}
	}
}

// writeEarly sends an interim answer, whose fields are not those of the final one. HTTP/1.0 has none.
func writeEarly(w http.ResponseWriter, r *http.Request, e upstream.Early) {
	if !r.ProtoAtLeast(1, 1) || e.Status == http.StatusSwitchingProtocols {
		return
	}
	fresh.StripConnection(e.Header)
	cleaned(e.Header)
	h := w.Header()
	final := maps.Clone(h)
	clear(h)
	maps.Copy(h, e.Header)
	w.WriteHeader(e.Status)
	clear(h)
	maps.Copy(h, final)
}
