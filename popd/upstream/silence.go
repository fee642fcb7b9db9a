package upstream

import (
	"sync"
	"time"
)

// silence ends an exchange with a shield that gives no sign of life. Its methods are safe for concurrent use: signs come
// from the goroutines of the transport, also from a dial that another connection has overtaken.
type silence struct {
	limit time.Duration

	mu    sync.Mutex  // guards the following
	timer *time.Timer // nil once stopped
}

// watchSilence calls end unless signs come at most limit apart, until stop.
func watchSilence(limit time.Duration, end func()) *silence {
	return &silence{limit: limit, timer: time.AfterFunc(limit, end)}
}

// sign starts the time anew.
func (s *silence) sign() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.timer != nil {
		s.timer.Reset(s.limit)
	}
}

// stop ends the watch for good: the header is there, and a late sign must not cut the body off.
func (s *silence) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.timer.Stop()
	s.timer = nil
}
