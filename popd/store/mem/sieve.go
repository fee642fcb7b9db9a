package mem

import "slices"

// add puts a slot at the head of the queue. The caller holds the lock.
func (sh *shard) add(sl *slot) {
	sl.old = sh.head
	if sh.head != nil {
		sh.head.newer = sl
	} else {
		sh.tail = sl
	}
	sh.head = sl
	p := sl.entry.Primary
	sh.urls[p] = append(sh.urls[p], sl)
}

// remove takes a slot out of queue and map. The caller holds the lock.
func (sh *shard) remove(sl *slot) {
	if sh.hand == sl {
		sh.hand = sl.newer
	}
	if sl.newer != nil {
		sl.newer.old = sl.old
	} else {
		sh.head = sl.old
	}
	if sl.old != nil {
		sl.old.newer = sl.newer
	} else {
		sh.tail = sl.newer
	}
	sl.newer, sl.old = nil, nil
	p := sl.entry.Primary
	rest := slices.DeleteFunc(sh.urls[p], func(x *slot) bool { return x == sl })
	if len(rest) == 0 {
		delete(sh.urls, p)
		return
	}
	sh.urls[p] = rest
}

// victim is the slot to drop next: the first one from the hand towards the head that nobody has used since the hand
// last passed (SIEVE, NSDI 2024 §3). Nil if the shard is empty. The caller holds the lock.
func (sh *shard) victim() *slot {
	at := sh.hand
	if at == nil {
		at = sh.tail
	}
	for at != nil && at.used.Swap(false) {
		if at = at.newer; at == nil {
			at = sh.tail
		}
	}
	sh.hand = at
	return at
}
