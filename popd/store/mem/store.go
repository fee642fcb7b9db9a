// Package mem keeps whole answers in memory under a hard limit of bytes. All that it keeps lies in slabs off the Go
// heap, where the garbage collector does not look:
//
//	key ─► bucket ─► record ─► record …        newest first; a URL's variants are in one bucket
//	                   │ header block, tags, a body below 1 KiB
//	                   └─► pieces of the body, a page of 64 KiB each at most
//
// An answer that is read is pinned: what is dropped meanwhile is freed by its last reader. Which to drop is decided by
// S3-FIFO (queue.go). An answer that arrives is written into its pieces at once (Fill), and becomes an entry when it is
// whole.
package mem

import (
	"bytes"
	"hash/maphash"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/catchment-net/catchment/popd/key"
)

// Limits of a Store.
const (
	// MinLimit and MaxLimit bound Options.Limit, in bytes.
	MinLimit = 1 << 20
	MaxLimit = maxArena

	maxShards     = 16
	bytesPerShard = 64 << 20 // a shard with few entries would know too little of what is worth keeping
	perBucket     = 2 << 10  // bytes of the limit for each bucket of the index
	perGhost      = 1 << 10  // bytes of the limit for each remembered key
	largestShare  = 4        // an entry takes at most this part of the limit
	filledShare   = 2        // answers that arrive take at most this part of it
	plainTries    = 16       // entries dropped in their order for one slot, before a page is emptied
	pageTries     = 8        // pages emptied for one slot, before there is no room
	pagesLooked   = 32       // pages looked at to find one worth emptying
)

// Options configures a Store.
type Options struct {
	Limit int64 // bytes, over all that the store keeps: index, records, slack, and answers that are arriving
}

// Store is the memory of one node. Its methods are safe for concurrent use.
type Store struct {
	limit     int64
	arena     *arena
	seed      maphash.Seed
	shards    []shard
	next      atomic.Uint32 // the shard to drop from next
	entries   atomic.Int64
	evictions atomic.Int64
	refused   atomic.Int64
	filling   atomic.Int64
}

// shard is one part of the keys.
type shard struct {
	mu          sync.RWMutex // guards the following, and links, flags and queues of the records in it
	buckets     []ref
	small, main queue
	ghosts      ghosts
}

// Stats are the gauges and counters of a Store. All bytes are what is taken from the limit.
type Stats struct {
	Bytes     int64 // never above the limit
	Filling   int64 // bytes of answers that are arriving, part of Bytes
	Entries   int64
	Evictions int64 // entries dropped to make room
	Refused   int64 // answers not stored for want of room
}

// New makes an empty Store. A limit outside MinLimit and MaxLimit is taken for the nearer of them. The memory is taken
// from the kernel as it is used, and given back when the Store is unreachable.
func New(o Options) *Store {
	limit := min(max(o.Limit, MinLimit), MaxLimit)
	n := 1
	for n < maxShards && int64(n)*bytesPerShard < limit {
		n *= 2
	}
	s := &Store{limit: limit, seed: maphash.MakeSeed(), shards: make([]shard, n)}
	fixed := int64(0)
	for i := range s.shards {
		sh := &s.shards[i]
		sh.buckets = make([]ref, int(limit/perBucket)/n)
		sh.ghosts = newGhosts(int(limit/perGhost)/n, s.seed)
		fixed += int64(4*len(sh.buckets) + 4*len(sh.ghosts.places))
	}
	s.arena = newArena(limit - fixed)
	s.arena.fixed += fixed
	return s
}

// Select returns the key of the answer to a request, as key.Variant does, among those that a Vary of these names tells
// apart: the names in lower case with commas between. It is called under a lock and must not keep names.
type Select func(names []byte) key.Key

// Get returns the newest of a URL's entries that answers a request; it must be released. sel is asked for entries that
// depend on request fields; nil finds the others only. If none is found, the zero View is returned, and the Vary names
// of the newest entry there is, to tell by what the URL's answers differ. Without such entries it allocates nothing.
func (s *Store) Get(primary key.Key, sel Select) (v View, vary []string) {
	k := digestOf(primary)
	sh, bucket := s.find(k)
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	var names []byte // of the last entry that sel was asked for
	var want digest
	for at := *bucket; at != 0; {
		r := s.arena.record(at)
		next := r.next
		if r.loadKey() == k {
			ok := r.vary == 0
			if !ok && sel != nil {
				if n := r.varyNames(); !bytes.Equal(n, names) {
					names, want = n, digestOf(sel(n))
				}
				ok = r.variant() == want
			}
			if ok {
				r.pin()
				return View{s, r, at}, nil
			}
			if vary == nil {
				vary = splitNames(r.varyNames())
			}
		}
		at = next
	}
	return View{}, vary
}

// Remove drops all entries of a URL and reports how many there were.
func (s *Store) Remove(primary key.Key) int {
	k := digestOf(primary)
	sh, bucket := s.find(k)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	n := 0
	for at := *bucket; at != 0; {
		r := s.arena.record(at)
		next := r.next
		if r.loadKey() == k {
			s.unlink(sh, at)
			n++
		}
		at = next
	}
	return n
}

// RemoveEntry drops an entry, unless another has taken its place already.
func (s *Store) RemoveEntry(v View) {
	sh, _ := s.find(v.r.loadKey())
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if atomic.LoadUint32(&v.r.state)&deadBit == 0 {
		s.unlink(sh, v.at)
	}
}

// Limit is the most that Stats.Bytes may be.
func (s *Store) Limit() int64 { return s.limit }

// Stats reads the counters.
func (s *Store) Stats() Stats {
	return Stats{
		Bytes: s.arena.inUse(), Filling: s.filling.Load(), Entries: s.entries.Load(),
		Evictions: s.evictions.Load(), Refused: s.refused.Load(),
	}
}

// find is the shard and the bucket of a key. Which they are cannot be told from outside: nobody can choose URLs that
// fall into one bucket.
func (s *Store) find(k digest) (*shard, *ref) {
	h := maphash.Comparable(s.seed, k)
	sh := &s.shards[h%uint64(len(s.shards))]
	return sh, &sh.buckets[h>>32*uint64(len(sh.buckets))>>32]
}

// link makes a finished record an entry, in the place of the one with the same variant; of too many variants the
// oldest goes.
func (s *Store) link(at ref) {
	r := s.arena.record(at)
	k := r.loadKey()
	sh, bucket := s.find(k)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	s.linkLocked(sh, bucket, at)
}

// linkLocked is link for a caller who holds the lock.
func (s *Store) linkLocked(sh *shard, bucket *ref, at ref) {
	r := s.arena.record(at)
	k, variants, last := r.loadKey(), 0, ref(0)
	proven := false // it takes the place of one in the main queue
	for old := *bucket; old != 0; {
		o := s.arena.record(old)
		next := o.next
		if o.loadKey() == k {
			if o.variant() == r.variant() {
				proven = o.flags&inMain != 0
				r.setUses(max(r.uses(), o.uses()))
				s.unlink(sh, old)
			} else {
				variants, last = variants+1, old
			}
		}
		old = next
	}
	if variants >= key.MaxVariants {
		s.unlink(sh, last)
	}
	r.next = *bucket
	*bucket = at
	s.admit(sh, at, proven)
	s.entries.Add(1)
}

// unlink takes a record out of index and queue; it is freed now or by its last reader. The caller holds the lock.
func (s *Store) unlink(sh *shard, at ref) {
	r := s.arena.record(at)
	_, link := s.find(r.loadKey())
	for *link != at {
		link = &s.arena.record(*link).next
	}
	*link = r.next
	if r.flags&inMain != 0 {
		s.unqueue(&sh.main, at)
	} else {
		s.unqueue(&sh.small, at)
	}
	s.entries.Add(-1)
	if old := atomic.OrUint32(&r.state, deadBit); old&pinMask == 0 {
		s.freeRecord(at)
	}
}

// unpin gives a pin back.
func (s *Store) unpin(at ref) {
	if now := atomic.AddUint32(&s.arena.record(at).state, ^uint32(0)); now&deadBit != 0 && now&pinMask == 0 {
		s.freeRecord(at)
	}
}

// freeRecord frees what nobody can reach any more.
func (s *Store) freeRecord(at ref) {
	r := s.arena.record(at)
	if r.flags&hasBase != 0 {
		base := *r.base()
		s.arena.own(at, base, r.pieceList())
		s.arena.free(at)
		s.unpin(base)
		return
	}
	s.arena.freeWith(at, r.pieceList())
}

// footprint is the bytes that an entry takes in the arena.
func (s *Store) footprint(at ref) int64 {
	n := int64(s.arena.size(at))
	for _, p := range s.arena.record(at).pieceList() {
		n += int64(s.arena.size(p))
	}
	return n
}

// slot takes memory, dropping entries until there is some: first in their order, then all that lie in one page. It is
// not ok if even that gave none: what is there is being read or written.
func (s *Store) slot(class int) (at ref, ok bool) {
	for try := 0; ; try++ {
		if at, ok = s.arena.alloc(class); ok {
			return at, true
		}
		switch {
		case try < plainTries && s.evictOne():
		case try < plainTries+pageTries:
			try = max(try, plainTries)
			s.emptyPage()
		default:
			return 0, false
		}
	}
}

// evictOne drops one entry, of the shards in turn.
func (s *Store) evictOne() bool {
	for range s.shards {
		sh := &s.shards[int(s.next.Add(1))%len(s.shards)]
		sh.mu.Lock()
		ok := s.evict(sh)
		sh.mu.Unlock()
		if ok {
			s.evictions.Add(1)
			return true
		}
	}
	return false
}

// emptyPage drops the entries that lie in one page.
func (s *Store) emptyPage() {
	for _, o := range s.arena.occupants(pagesLooked) {
		sh, bucket := s.find(o.key)
		sh.mu.Lock()
		for at := *bucket; at != 0; at = s.arena.record(at).next {
			if at == o.at {
				s.unlink(sh, at)
				s.evictions.Add(1)
				break
			}
		}
		sh.mu.Unlock()
	}
}

func splitNames(names []byte) []string {
	if len(names) == 0 {
		return nil
	}
	return strings.Split(string(names), ",")
}
