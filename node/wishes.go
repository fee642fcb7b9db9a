package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

	"github.com/catchment-net/catchment/health"
)

// wishes is what an operator wants of a speaker that has no fleet to remember it: one intent in a file, which outlives the
// process.
type wishes struct {
	path string

	mu     sync.Mutex // guards the following
	intent health.Intent
	news   chan struct{} // capacity 1: intent has changed
}

func loadWishes(path string) (*wishes, error) {
	w := &wishes{path: path, news: make(chan struct{}, 1)}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return w, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &w.intent)
	}
	if err != nil {
		return nil, fmt.Errorf("read what an operator wanted: %w; remove %s to forget it", err, path)
	}
	return w, nil
}

// now is the intent as it was set last; whether it is in force is for the caller's clock to say.
func (w *wishes) now() health.Intent {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.intent
}

// set keeps an intent. One that could not be written does not hold.
func (w *wishes) set(i health.Intent) error {
	text, err := json.Marshal(i)
	if err != nil {
		return fmt.Errorf("encode intent: %w", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	beside := w.path + ".new"
	if err := os.WriteFile(beside, text, 0o600); err != nil {
		return fmt.Errorf("keep intent: %w", err)
	}
	if err := os.Rename(beside, w.path); err != nil {
		return fmt.Errorf("keep intent: %w", err)
	}
	w.intent = i
	select {
	case w.news <- struct{}{}:
	default:
	}
	return nil
}

// expires is how long until the intent lifts itself; false if it does not.
func (w *wishes) expires(now time.Time) (time.Duration, bool) {
	i := w.now()
	if !i.InForce(now) || i.Expires.IsZero() {
		return 0, false
	}
	return i.Expires.Sub(now), true
}
