package flight

import (
	"sync"
	"time"

	"github.com/catchment-net/catchment/popd/key"
)

// DefaultMarks is how many keys a Marks remembers: about 1 MiB.
const DefaultMarks = 8192

// Marks remembers keys whose answers could not be shared (hit-for-miss), so that requests for them need not queue
// behind one another only to learn it again. A full Marks forgets the oldest first. Its methods are safe for
// concurrent use.
type Marks struct {
	mu    sync.Mutex // guards the following
	until map[key.Key]time.Time
	ring  []key.Key // in the order of marking; next is the oldest once it is full
	next  int
}

// NewMarks makes an empty Marks for limit keys; 0 means DefaultMarks.
func NewMarks(limit int) *Marks {
	if limit <= 0 {
		limit = DefaultMarks
	}
	return &Marks{until: map[key.Key]time.Time{}, ring: make([]key.Key, 0, limit)}
}

// Set marks k until the given time.
func (m *Marks) Set(k key.Key, until time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, known := m.until[k]; known {
		m.until[k] = until
		return
	}
	if len(m.ring) < cap(m.ring) {
		m.ring = append(m.ring, k)
	} else {
		delete(m.until, m.ring[m.next])
		m.ring[m.next] = k
		m.next = (m.next + 1) % len(m.ring)
	}
	m.until[k] = until
}

// Clear takes the mark of k away: its answer could be shared after all.
func (m *Marks) Clear(k key.Key) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, known := m.until[k]; known {
		m.until[k] = time.Time{} // its place in the ring is given back when the ring comes round
	}
}

// Len is how many places are taken.
func (m *Marks) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.ring)
}

// Has reports whether k is marked at time now.
func (m *Marks) Has(k key.Key, now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return now.Before(m.until[k])
}
