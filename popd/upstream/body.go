package upstream

import (
	"context"
	"fmt"
	"io"
	"time"
)

// watchedBody ends a body that stands still, and the exchange with it.
type watchedBody struct {
	body   io.ReadCloser
	cancel context.CancelCauseFunc
	stall  time.Duration
	timer  *time.Timer
}

// Read reads on; it fails if nothing came for the stall time. Time between two calls does not count.
func (w *watchedBody) Read(p []byte) (int, error) {
	if w.timer == nil {
		w.timer = time.AfterFunc(w.stall, func() { w.cancel(fmt.Errorf("upstream body stood still for %v", w.stall)) })
	} else {
		w.timer.Reset(w.stall)
	}
	n, err := w.body.Read(p)
	w.timer.Stop()
	return n, err
}

// Close ends the exchange.
func (w *watchedBody) Close() error {
	err := w.body.Close()
	w.cancel(nil)
	return err
}
