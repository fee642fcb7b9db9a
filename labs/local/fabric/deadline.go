package fabric

import (
	"sync"
	"time"
)

// deadline is a moment after which waits end, and which can be moved. The nil deadline never comes.
type deadline struct {
	mu    sync.Mutex // guards the following
	timer *time.Timer
	past  chan struct{} // closed when it has come
}

func newDeadline() *deadline { return &deadline{past: make(chan struct{})} }

func (d *deadline) passed() <-chan struct{} {
	if d == nil {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.past
}

func (d *deadline) isPast() bool {
	select {
	case <-d.passed():
		return true
	default:
		return false
	}
}

// set moves the deadline; the zero time takes it away.
func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil && !d.timer.Stop() {
		<-d.past // the timer's function is about to close it
	}
	d.timer = nil
	select {
	case <-d.past:
		d.past = make(chan struct{})
	default:
	}
	if t.IsZero() {
		return
	}
	past := d.past
	if wait := time.Until(t); wait > 0 {
		d.timer = time.AfterFunc(wait, func() { close(past) })
		return
	}
	close(past)
}
