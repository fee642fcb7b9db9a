package mem

import (
	"math/bits"
	"slices"
	"sync"
	"unsafe"
)

// ref is a place in an arena, in units of 16 bytes; 0 is none. It takes the part of a pointer where the garbage
// collector must not look.
type ref uint32

// Sizes of an arena, in bytes.
const (
	unit       = 16
	minPage    = 8 << 10
	maxPage    = 64 << 10
	minHead    = 96   // smallest slot for a record
	minBody    = 1024 // smallest slot for a body; a smaller body lies behind its record
	maxArena   = int64(unit) << 32
	fineHeads  = 512 // up to here slots for records differ by one unit, so that a million of them waste little
	perDoubled = 8   // further sizes for each doubling
)

// none ends the lists of an arena.
const none = ^uint32(0)

// class is a size of slots. Classes for records and for bodies are apart: the owner of a body's slot is looked up, a
// record is its own.
type class struct {
	size  int // bytes
	slots int // in a page
	body  bool
}

// page is one page's state. All its slots are of one class.
type page struct {
	class      uint8
	used       uint16 // slots in use
	fresh      uint16 // slots from here on have never been used: their memory has not been touched
	gone       uint16 // head of the list of slots that were freed, plus 1
	prev, next uint32 // in the list of pages of this class with free slots, while there are any
}

// arena is memory off the Go heap, cut into pages and these into slots. It never grows, and the collector never looks
// into it.
type arena struct {
	mem     []byte
	shift   int // of a page's size
	classes []class
	heads   []int // sizes of the classes for records, in order
	bodies  []int // sizes of the classes for bodies
	fixed   int64 // bytes outside of mem: owners

	mu      sync.Mutex // guards the following, and the first bytes of free slots
	pages   []page
	empty   []uint32 // pages without a slot in use
	partial []uint32 // by class: first page with free slots
	owners  []ref    // by KiB: the record to which the body's slot that starts there belongs
	hand    uint32   // where the search for a page to empty goes on
}

// newArena makes an arena of at most size bytes, its own tables included.
func newArena(size int64) *arena {
	a := &arena{shift: pageShift(size)}
	n := max(size/(int64(1)<<a.shift+int64(1)<<a.shift/minBody*4+int64(unsafe.Sizeof(page{}))+4), 2)
	a.fixed = size - n<<a.shift
	a.mem = mapMemory(a, n<<a.shift)
	a.pages = make([]page, n)
	a.empty = make([]uint32, 0, n)
	for p := range n - 1 { // page 0 stays unused: ref 0 is none
		a.empty = append(a.empty, uint32(n-1-p))
	}
	a.owners = make([]ref, n<<a.shift/minBody)
	a.makeClasses()
	a.partial = slices.Repeat([]uint32{none}, len(a.classes))
	return a
}

// pageShift: small arenas have small pages, so that a page in part used for each class is still a small part of them.
func pageShift(size int64) int {
	page := minPage
	for page < maxPage && size/int64(page) > 2048 {
		page *= 2
	}
	return bits.TrailingZeros(uint(page))
}

func (a *arena) makeClasses() {
	full := 1 << a.shift
	for s := minHead; s < fineHeads; s += unit {
		a.heads = append(a.heads, s)
	}
	a.heads = append(a.heads, coarse(full, fineHeads)...)
	a.bodies = coarse(full, minBody)
	for _, s := range a.heads {
		a.classes = append(a.classes, class{size: s, slots: full / s})
	}
	for _, s := range a.bodies {
		a.classes = append(a.classes, class{size: s, slots: full / s, body: true})
	}
}

// coarse lists the sizes from least up that fill a page well.
func coarse(full, least int) []int {
	var sizes []int
	for base := least; base <= full; base *= 2 {
		for i := range perDoubled {
			size := full / (full / min(base+base/perDoubled*i, full)) &^ (unit - 1)
			if len(sizes) == 0 || sizes[len(sizes)-1] < size {
				sizes = append(sizes, size)
			}
		}
	}
	return sizes
}

// forHead is the class for a record of n bytes. It is not ok if that is more than a page.
func (a *arena) forHead(n int) (class int, ok bool) {
	i, _ := slices.BinarySearch(a.heads, n)
	return i, i < len(a.heads)
}

// forBody is the class for the next piece of a body of which n bytes are left: one that wastes no more than an eighth,
// or else the largest that is filled wholly.
func (a *arena) forBody(n int64) int {
	full := a.bodies[len(a.bodies)-1]
	if n >= int64(full) {
		return len(a.classes) - 1
	}
	i, exact := slices.BinarySearch(a.bodies, int(n))
	if !exact && i > 0 && a.bodies[i]-int(n) > int(n)/8 {
		i--
	}
	return len(a.heads) + i
}

// alloc takes a slot of a class. A body may take one that is up to a half larger, where none of its size is left.
func (a *arena) alloc(c int) (ref, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.partial[c] == none && len(a.empty) > 0 {
		p := a.empty[len(a.empty)-1]
		a.empty = a.empty[:len(a.empty)-1]
		a.pages[p] = page{class: uint8(c), prev: none, next: none}
		a.partial[c] = p
	}
	if a.partial[c] != none {
		return a.take(a.partial[c]), true
	}
	if k := a.classes[c]; k.body {
		for i := c + 1; i < len(a.classes) && a.classes[i].size <= k.size+k.size/2; i++ {
			if a.partial[i] != none {
				return a.take(a.partial[i]), true
			}
		}
	}
	return 0, false
}

// take takes a slot of a page that has free ones. The caller holds a.mu.
func (a *arena) take(at uint32) ref {
	p := &a.pages[at]
	k := a.classes[p.class]
	var slot int
	if p.gone != 0 {
		slot = int(p.gone) - 1
		p.gone = *(*uint16)(a.pointer(a.ref(at, slot)))
	} else {
		slot = int(p.fresh)
		p.fresh++
	}
	p.used++
	if int(p.used) == k.slots {
		a.unlist(at)
	}
	return a.ref(at, slot)
}

// free gives slots back; 0 is ignored.
func (a *arena) free(slots ...ref) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, at := range slots {
		if at != 0 {
			a.freeOne(at)
		}
	}
}

func (a *arena) freeOne(at ref) {
	n := a.pageOf(at)
	p := &a.pages[n]
	k := a.classes[p.class]
	if k.body {
		a.owners[int(at)*unit/minBody] = 0
	}
	listed := int(p.used) < k.slots
	p.used--
	if p.used == 0 {
		if listed {
			a.unlist(n)
		}
		a.empty = append(a.empty, n)
		return
	}
	*(*uint16)(a.pointer(at)) = p.gone
	p.gone = uint16((int(at)*unit-int(n)<<a.shift)/k.size) + 1
	if !listed {
		p.prev, p.next = none, a.partial[p.class]
		if p.next != none {
			a.pages[p.next].prev = n
		}
		a.partial[p.class] = n
	}
}

func (a *arena) unlist(at uint32) {
	p := &a.pages[at]
	if p.prev != none {
		a.pages[p.prev].next = p.next
	} else {
		a.partial[p.class] = p.next
	}
	if p.next != none {
		a.pages[p.next].prev = p.prev
	}
}

// freeWith gives back a record's slot and those of its body, whose list lies in the record.
func (a *arena) freeWith(record ref, body []ref) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, at := range body {
		a.freeOne(at)
	}
	a.freeOne(record)
}

// own notes that the slots of a body, which were from's, are to's; 0 is nobody. Those of others are left alone.
func (a *arena) own(from, to ref, slots []ref) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, at := range slots {
		if owner := &a.owners[int(at)*unit/minBody]; *owner == from {
			*owner = to
		}
	}
}

// occupant is a record and the key to find it by.
type occupant struct {
	at  ref
	key digest
}

// occupants are the records that keep one page from being empty: of the next few pages in turn, the one with the
// fewest. Slots of bodies that are still arriving have none; a page with such slots only is passed over.
func (a *arena) occupants(candidates int) []occupant {
	a.mu.Lock()
	defer a.mu.Unlock()
	best, least := uint32(0), 1<<16
	for range candidates {
		a.hand = (a.hand + 1) % uint32(len(a.pages))
		p := &a.pages[a.hand]
		if a.hand == 0 || p.used == 0 {
			continue
		}
		if n := int(p.used) * 1024 / a.classes[p.class].slots; n < least && a.anyOwner(a.hand) {
			best, least = a.hand, n
		}
	}
	if best == 0 {
		return nil
	}
	var all []occupant
	p := &a.pages[best]
	for slot := range int(p.fresh) {
		at := a.ref(best, slot)
		if a.classes[p.class].body {
			at = a.owners[int(at)*unit/minBody]
		}
		if at != 0 {
			all = append(all, occupant{at, a.record(at).loadKey()})
		}
	}
	return all
}

func (a *arena) anyOwner(at uint32) bool {
	p := &a.pages[at]
	if !a.classes[p.class].body {
		return true
	}
	for slot := range int(p.fresh) {
		if a.owners[int(a.ref(at, slot))*unit/minBody] != 0 {
			return true
		}
	}
	return false
}

// size is the bytes of a slot in use.
func (a *arena) size(at ref) int { return a.classes[a.pages[a.pageOf(at)].class].size }

// bytes is a slot's memory.
func (a *arena) bytes(at ref) []byte {
	off, n := int(at)*unit, a.size(at)
	return a.mem[off : off+n : off+n]
}

func (a *arena) pointer(at ref) unsafe.Pointer { return unsafe.Pointer(&a.mem[int(at)*unit]) }

func (a *arena) record(at ref) *record { return (*record)(a.pointer(at)) }

func (a *arena) pageOf(at ref) uint32 { return uint32(int(at) * unit >> a.shift) }

func (a *arena) ref(page uint32, slot int) ref {
	return ref((int(page)<<a.shift + slot*a.classes[a.pages[page].class].size) / unit)
}

// inUse is the bytes of all pages with a slot in use, and of the tables.
func (a *arena) inUse() int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.fixed + int64(len(a.pages)-len(a.empty))<<a.shift
}
