// Package mem keeps whole answers in memory under a hard limit of bytes. Which to drop is decided by SIEVE: an answer
// used since the hand last passed it stays, a new one that nobody asks for again goes first.
package mem

import (
	"net/http"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/catchment-net/catchment/popd/fresh"
	"github.com/catchment-net/catchment/popd/key"
)

// shards is how many locks the store is split over. A power of two.
const shards = 16

// overhead is what an entry costs beyond its header and body, in bytes: the entry, its places in map and queue, and the
// header map. Measured with 1 KiB bodies, rounded up.
const overhead = 1024

// Entry is one stored answer. It and all that it points to are immutable once it is in a Store.
type Entry struct {
	Primary key.Key  // of the URL
	Variant key.Key  // of URL and selected request fields; Primary where Vary is empty
	Vary    []string // as by key.Vary

	Status int
	Header http.Header // as it came from upstream, without the fields that are not stored
	Body   [][]byte    // the whole body, in order
	Length int64       // bytes of Body
	Policy fresh.Policy

	Tags  []string // surrogate keys, by which an answer can be purged
	Stamp uint64   // generation of the purge index when the fetch began: an answer older than a purge of its tags is stale
}

// Size is what the entry counts against the limit, in bytes.
func (e *Entry) Size() int64 {
	n := int64(overhead) + e.Length
	for name, values := range e.Header {
		n += int64(len(name))
		for _, v := range values {
			n += int64(len(v)) + 16
		}
	}
	for _, t := range e.Tags {
		n += int64(len(t)) + 16
	}
	return n
}

// Options configures a Store.
type Options struct {
	Limit int64 // bytes, over all entries; an entry larger than a quarter of it is refused
}

// Store is the memory of one node. Its methods are safe for concurrent use.
type Store struct {
	limit     int64
	used      atomic.Int64 // bytes, never above limit
	entries   atomic.Int64
	evictions atomic.Int64
	shard     [shards]shard
}

// Stats are the counters of a Store.
type Stats struct {
	Bytes, Entries, Evictions int64
}

// New makes an empty Store.
func New(o Options) *Store {
	s := &Store{limit: o.Limit}
	for i := range s.shard {
		s.shard[i].urls = map[key.Key][]*slot{}
	}
	return s
}

// Get returns the newest of a URL's entries that match accepts, or nil. match must be quick: a lock is held. others
// says that there are entries that match refused; the newest of them is returned in its place, to tell by what they
// differ.
func (s *Store) Get(primary key.Key, match func(*Entry) bool) (found, other *Entry) {
	sh := s.of(primary)
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	slots := sh.urls[primary]
	for _, slot := range slices.Backward(slots) {
		e := slot.entry
		if match(e) {
			slot.used.Store(true)
			return e, nil
		}
		if other == nil {
			other = e
		}
	}
	return nil, other
}

// Put stores e in the place of the entry with the same variant, and drops others until all fit. It reports false, and
// stores nothing, if e is larger than a quarter of the limit.
func (s *Store) Put(e *Entry) bool {
	size := e.Size()
	if size > s.limit/4 {
		return false
	}
	s.removeVariant(e.Primary, e.Variant)
	s.reserve(e.Primary, size)
	sh := s.of(e.Primary)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	// Another Put of the same variant may have come between; and the oldest variants make room.
	for _, old := range sh.urls[e.Primary] {
		if old.entry.Variant == e.Variant {
			s.drop(sh, old)
			break
		}
	}
	for len(sh.urls[e.Primary]) >= key.MaxVariants {
		s.drop(sh, sh.urls[e.Primary][0])
	}
	sh.add(&slot{entry: e, size: size})
	s.entries.Add(1)
	return true
}

// Remove drops all entries of a URL and reports how many there were.
func (s *Store) Remove(primary key.Key) int {
	sh := s.of(primary)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	n := len(sh.urls[primary])
	for len(sh.urls[primary]) > 0 {
		s.drop(sh, sh.urls[primary][0])
	}
	return n
}

// Stats reads the counters.
func (s *Store) Stats() Stats {
	return Stats{Bytes: s.used.Load(), Entries: s.entries.Load(), Evictions: s.evictions.Load()}
}

func (s *Store) of(k key.Key) *shard { return &s.shard[int(k[0])%shards] }

func (s *Store) removeVariant(primary, variant key.Key) {
	sh := s.of(primary)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for _, old := range sh.urls[primary] {
		if old.entry.Variant == variant {
			s.drop(sh, old)
			return
		}
	}
}

// reserve takes size bytes off the limit, dropping entries until they are free: first of the key's own shard, then of
// the next ones. It ends because what is reserved but not yet in a shard is bounded by the callers' own entries, each
// of which arrives without waiting for another.
func (s *Store) reserve(k key.Key, size int64) {
	for i := int(k[0]) % shards; ; i = (i + 1) % shards {
		used := s.used.Load()
		if used+size <= s.limit {
			if s.used.CompareAndSwap(used, used+size) {
				return
			}
			continue
		}
		sh := &s.shard[i]
		sh.mu.Lock()
		for range 16 {
			if s.used.Load()+size <= s.limit {
				break
			}
			victim := sh.victim()
			if victim == nil {
				break
			}
			s.drop(sh, victim)
			s.evictions.Add(1)
		}
		sh.mu.Unlock()
	}
}

// drop takes a slot out of its shard, whose lock the caller holds, and frees its bytes.
func (s *Store) drop(sh *shard, sl *slot) {
	sh.remove(sl)
	s.used.Add(-sl.size)
	s.entries.Add(-1)
}

// slot is an entry's place in the queue of its shard.
type slot struct {
	entry      *Entry
	size       int64
	used       atomic.Bool // since the hand last passed; set under the read lock
	newer, old *slot
}

// shard is one part of the keys.
type shard struct {
	mu   sync.RWMutex        // guards the following
	urls map[key.Key][]*slot // oldest first
	head *slot               // newest
	tail *slot               // oldest
	hand *slot               // where SIEVE goes on; nil: at the tail
}
