// Package purge decides which stored answers a purge has made unusable. Nothing is searched: a purge writes a
// generation beside a tag, and every lookup compares its entry's stamp with it.
//
//	purge TAG ──► Index: TAG → generation 8          fetch begins ──► stamp = Head() = 7
//	                                                 lookup       ──► Check(7, its tags) = Hard: fetch again
//
// The stamp is taken before upstream is asked, so an answer that was on its way while its tag was purged is caught like
// one that was stored already.
package purge

import (
	"slices"
	"sync"
	"sync/atomic"
)

// DefaultTags is how many purged tags an Index remembers: 3 to 6 MiB. minTags is the least that it can be told.
const (
	DefaultTags = 1 << 16
	minTags     = 16
)

// Verdict is what an Index says of an entry.
type Verdict uint8

// The verdicts, from best to worst.
const (
	Current Verdict = iota // no purge since its fetch began concerns it
	Soft                   // purged softly: stale, and usable as far as a stale answer is
	Hard                   // purged: never to be served again
)

// Index remembers the latest purge of each tag. Its methods are safe for concurrent use; Head and Check take no lock
// and allocate nothing. It is bounded: beyond its limit it forgets the older half of its tags, and every entry
// stamped before the newest purge that it forgot counts as purged.
type Index struct {
	limit int
	head  atomic.Uint64 // generation of the latest purge; written last
	floor atomic.Uint64 // generation of the newest forgotten purge
	table atomic.Pointer[table]
	mu    sync.Mutex // serialises Purge
}

// Stats are the figures of an Index.
type Stats struct {
	Tags, Limit int
	Head, Floor uint64
}

// NewIndex makes an Index for at most limit tags; 0 means DefaultTags, and less than 16 is taken for 16.
func NewIndex(limit int) *Index {
	if limit <= 0 {
		limit = DefaultTags
	}
	ix := &Index{limit: max(limit, minTags)}
	ix.table.Store(newTable(16))
	return ix
}

// Head is the generation now: the stamp of an entry whose fetch begins now, or whose tags were just found Current.
func (ix *Index) Head() uint64 { return ix.head.Load() }

// Purge marks everything with any of the tags whose fetch began before now, and returns the new generation. From its
// return on no Check calls such an entry Current. More tags at once than half the limit purge everything.
func (ix *Index) Purge(soft bool, tags ...Tag) uint64 {
	if len(tags) > ix.limit/2 {
		return ix.All()
	}
	ix.mu.Lock()
	defer ix.mu.Unlock()
	generation := ix.head.Load() + 1
	t := ix.room(len(tags))
	for _, tag := range tags {
		t.mark(tag, generation, soft)
	}
	ix.head.Store(generation)
	return generation
}

// All marks everything whose fetch began before now.
func (ix *Index) All() uint64 {
	ix.mu.Lock()
	defer ix.mu.Unlock()
	generation := ix.head.Load() + 1
	ix.table.Store(newTable(16))
	ix.floor.Store(generation)
	ix.head.Store(generation)
	return generation
}

// Check says whether an entry with this stamp may be served; url is the tag of its URL, tags are the others. Where it
// is Current, its stamp may be raised to what Head said before the call, which makes the next Check cheap.
func (ix *Index) Check(stamp uint64, url Tag, tags []Tag) Verdict {
	if stamp >= ix.head.Load() {
		return Current
	}
	if stamp < ix.floor.Load() {
		return Hard
	}
	t := ix.table.Load()
	worst := t.check(stamp, url)
	for _, tag := range tags {
		worst = max(worst, t.check(stamp, tag))
	}
	return worst
}

// Stats reads the figures.
func (ix *Index) Stats() Stats {
	ix.mu.Lock()
	defer ix.mu.Unlock()
	return Stats{Tags: ix.table.Load().used, Limit: ix.limit, Head: ix.head.Load(), Floor: ix.floor.Load()}
}

// room returns a table with room for n more tags, which readers see already. The caller holds mu.
func (ix *Index) room(n int) *table {
	t := ix.table.Load()
	full := t.used+n > ix.limit
	if !full && 2*(t.used+n) <= len(t.slots) {
		return t
	}
	kept := t.newestFirst()
	if full { // with more than half the limit used, since n is at most the other half
		// Raised before the tags go: in between, a reader may find an entry purged that is not.
		ix.floor.Store(kept[ix.limit/2].latest())
		kept = kept[:ix.limit/2]
	}
	size := len(t.slots)
	for size < 4*(len(kept)+n) {
		size *= 2
	}
	next := newTable(size)
	for _, m := range kept {
		next.adopt(m)
	}
	ix.table.Store(next)
	return next
}

// table is an open-addressed hash table that one writer fills while readers look. Its slots are never emptied.
type table struct {
	slots []slot // a power of two, at most half full
	used  int    // for the writer alone
}

type slot struct{ tag, hard, soft atomic.Uint64 }

// marks are the latest purges of one tag.
type marks struct {
	tag        Tag
	hard, soft uint64
}

func (m marks) latest() uint64 { return max(m.hard, m.soft) }

func newTable(size int) *table { return &table{slots: make([]slot, size)} }

// find returns the tag's slot, or the empty one where it belongs.
func (t *table) find(tag Tag) *slot {
	mask := uint64(len(t.slots) - 1)
	for i := uint64(tag) & mask; ; i = (i + 1) & mask {
		s := &t.slots[i]
		if have := s.tag.Load(); have == uint64(tag) || have == 0 {
			return s
		}
	}
}

func (t *table) check(stamp uint64, tag Tag) Verdict {
	s := t.find(tag)
	switch {
	case s.hard.Load() > stamp:
		return Hard
	case s.soft.Load() > stamp:
		return Soft
	}
	return Current
}

func (t *table) mark(tag Tag, generation uint64, soft bool) {
	s := t.take(tag)
	if soft {
		s.soft.Store(generation)
	} else {
		s.hard.Store(generation)
	}
}

func (t *table) adopt(m marks) {
	s := t.take(m.tag)
	s.hard.Store(m.hard)
	s.soft.Store(m.soft)
}

// take is find for the writer, who owns an empty slot from then on.
func (t *table) take(tag Tag) *slot {
	s := t.find(tag)
	if s.tag.Load() == 0 {
		s.tag.Store(uint64(tag))
		t.used++
	}
	return s
}

func (t *table) newestFirst() []marks {
	var all []marks
	for i := range t.slots {
		if s := &t.slots[i]; s.tag.Load() != 0 {
			all = append(all, marks{Tag(s.tag.Load()), s.hard.Load(), s.soft.Load()})
		}
	}
	slices.SortFunc(all, func(a, b marks) int {
		switch {
		case a.latest() > b.latest():
			return -1
		case a.latest() < b.latest():
			return 1
		}
		return 0
	})
	return all
}
