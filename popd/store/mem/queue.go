package mem

// smallShare of a shard's bytes is for answers on trial: one that is not asked for again while it moves through the
// small queue leaves, and only its key is remembered, for as long as it takes to replace all that is stored. (The paper
// wants two uses in the small queue; one gives 0.3 points more hits on our traces.)
//
//	new ──► small (a tenth) ──used──► main ──used──► main again
//	           └─unused─► ghosts        └─unused─► out
//	new and known to ghosts ──────────► main
const smallShare = 10

// queue is a FIFO of records, linked through them. The shard's lock guards it.
type queue struct {
	newest, oldest ref
	bytes          int64 // that its entries take in the arena
	entries        int
}

func (s *Store) push(q *queue, at ref) {
	r := s.arena.record(at)
	r.newer, r.older = 0, q.newest
	if q.newest != 0 {
		s.arena.record(q.newest).newer = at
	} else {
		q.oldest = at
	}
	q.newest = at
	q.bytes += s.footprint(at)
	q.entries++
}

func (s *Store) unqueue(q *queue, at ref) {
	r := s.arena.record(at)
	if r.newer != 0 {
		s.arena.record(r.newer).older = r.older
	} else {
		q.newest = r.older
	}
	if r.older != 0 {
		s.arena.record(r.older).newer = r.newer
	} else {
		q.oldest = r.newer
	}
	r.newer, r.older = 0, 0
	q.bytes -= s.footprint(at)
	q.entries--
}

// admit puts a new record into its queue: main if it has proven its worth, or its key was here before. The caller holds
// the lock.
func (s *Store) admit(sh *shard, at ref, proven bool) {
	r := s.arena.record(at)
	if proven || sh.ghosts.take(r.variant(), sh.small.entries+sh.main.entries) {
		r.flags |= inMain
		s.push(&sh.main, at)
		return
	}
	s.push(&sh.small, at)
}

// evict drops one entry by S3-FIFO, and reports whether there was one. The caller holds the lock.
func (s *Store) evict(sh *shard) bool {
	for {
		small := sh.small.bytes*smallShare >= sh.small.bytes+sh.main.bytes
		switch {
		case sh.small.oldest != 0 && (small || sh.main.oldest == 0):
			at := sh.small.oldest
			r := s.arena.record(at)
			if r.uses() == 0 {
				sh.ghosts.add(r.variant())
				s.unlink(sh, at)
				return true
			}
			s.unqueue(&sh.small, at)
			r.flags |= inMain
			r.setUses(0)
			s.push(&sh.main, at)
		case sh.main.oldest != 0:
			at := sh.main.oldest
			r := s.arena.record(at)
			n := r.uses()
			if n == 0 {
				s.unlink(sh, at)
				return true
			}
			s.unqueue(&sh.main, at)
			r.setUses(n - 1)
			s.push(&sh.main, at)
		default:
			return false
		}
	}
}
