package mem

import (
	"sync/atomic"
	"unsafe"

	"github.com/catchment-net/catchment/popd/key"
	"github.com/catchment-net/catchment/purge"
)

// digest is the part of a key by which records are found: 128 bits of a SHA-256.
type digest [2]uint64

func digestOf(k key.Key) digest {
	var d digest
	copy((*[16]byte)(unsafe.Pointer(&d))[:], k[:16])
	return d
}

// record is the fixed part of an entry, at the start of its head slot. It holds no pointers. Behind it lie, each only
// if there are any:
//
//	tags (8 bytes each) │ grace (16) │ variant (16) │ base (4) │ pieces (4 each) │ Vary names │ header block │ body below 1 KiB
type record struct {
	key    digest // written and read as atomics: a page is searched for occupants while a slot in it is being filled
	stamp  uint64 // atomic
	length int64  // bytes of the body
	policy policy // 16 bytes of it, the rest is below

	next         ref    // in the chain of its bucket, towards older ones
	newer, older ref    // in its queue
	state        uint32 // atomic: pins, uses, whether it is out of the index
	header       uint16 // bytes of the header block
	vary         uint16 // bytes of the Vary names
	pieces       uint16 // of the body, outside this slot
	tags         uint16
	status       uint16
	policyFlags  uint8
	flags        uint8
}

// recordSize is what a record takes before its variable parts, in bytes.
const recordSize = int(unsafe.Sizeof(record{}))

// Bits of record.flags.
const (
	hasGrace   = 1 << iota // its policy allows stale use
	hasVariant             // it is one answer of several
	hasBase                // its body belongs to the record named in base
	inMain                 // it is in the main queue, not in the small one
	isSliced               // its body is in slices of their own; behind the header block are 8 bytes that name them
)

// Bits of record.state.
const (
	deadBit  = 1 << 31 // out of the index: the last pin frees it
	useUnit  = 1 << 28 // uses since it came into its queue, 0 to 3
	useMask  = 3 * useUnit
	pinMask  = useUnit - 1
	maxUses  = 3
	useShift = 28
)

// policy is the part of fresh.Policy that every entry has; grace is the rest.
type (
	policy struct{ born, lifetime int64 } // nanoseconds
	grace  struct{ whileRevalidate, ifError int64 }
)

func (r *record) loadKey() digest {
	return digest{atomic.LoadUint64(&r.key[0]), atomic.LoadUint64(&r.key[1])}
}

func (r *record) storeKey(d digest) {
	atomic.StoreUint64(&r.key[0], d[0])
	atomic.StoreUint64(&r.key[1], d[1])
}

// copyFixed sets all fixed fields but the key, the links and the state.
func (r *record) copyFixed(from *record) {
	r.stamp, r.length, r.policy, r.policyFlags = from.stamp, from.length, from.policy, from.policyFlags
	r.header, r.vary, r.pieces, r.tags, r.status, r.flags = from.header, from.vary, from.pieces, from.tags, from.status, from.flags
	r.next, r.newer, r.older, r.state = 0, 0, 0, 0
}

// pin keeps the record's memory, and counts a use.
func (r *record) pin() {
	for {
		old := atomic.LoadUint32(&r.state)
		next := old + 1
		if old&useMask != useMask {
			next += useUnit
		}
		if atomic.CompareAndSwapUint32(&r.state, old, next) {
			return
		}
	}
}

// uses is how often the record was used, up to 3.
func (r *record) uses() uint32 { return atomic.LoadUint32(&r.state) & useMask >> useShift }

// setUses sets it, while others pin and unpin.
func (r *record) setUses(n uint32) {
	for {
		old := atomic.LoadUint32(&r.state)
		if atomic.CompareAndSwapUint32(&r.state, old, old&^useMask|n<<useShift) {
			return
		}
	}
}

// The variable parts follow one another; each offset is the sum of those before.

func (r *record) at(off int) unsafe.Pointer { return unsafe.Add(unsafe.Pointer(r), off) }

func (r *record) tagList() []purge.Tag {
	return unsafe.Slice((*purge.Tag)(r.at(recordSize)), r.tags)
}

func (r *record) graceAt() int { return recordSize + 8*int(r.tags) }

func (r *record) grace() *grace { return (*grace)(r.at(r.graceAt())) }

func (r *record) variantAt() int {
	if r.flags&hasGrace == 0 {
		return r.graceAt()
	}
	return r.graceAt() + int(unsafe.Sizeof(grace{}))
}

// variant is the digest of the entry's variant.
func (r *record) variant() digest {
	if r.flags&hasVariant == 0 {
		return r.loadKey()
	}
	return *(*digest)(r.at(r.variantAt()))
}

func (r *record) baseAt() int {
	if r.flags&hasVariant == 0 {
		return r.variantAt()
	}
	return r.variantAt() + 16
}

func (r *record) base() *ref { return (*ref)(r.at(r.baseAt())) }

func (r *record) piecesAt() int {
	if r.flags&hasBase == 0 {
		return r.baseAt()
	}
	return r.baseAt() + 4
}

func (r *record) pieceList() []ref { return unsafe.Slice((*ref)(r.at(r.piecesAt())), r.pieces) }

func (r *record) varyAt() int { return r.piecesAt() + 4*int(r.pieces) }

func (r *record) varyNames() []byte { return unsafe.Slice((*byte)(r.at(r.varyAt())), r.vary) }

func (r *record) headerAt() int { return r.varyAt() + int(r.vary) }

func (r *record) headerBlock() []byte { return unsafe.Slice((*byte)(r.at(r.headerAt())), r.header) }

// inline is the body of an entry without pieces, or what names the slices of a sliced one.
func (r *record) inline() []byte {
	n := r.length
	if r.flags&isSliced != 0 {
		n = sliceName
	}
	return unsafe.Slice((*byte)(r.at(r.headerAt()+int(r.header))), n)
}

// sliceName is the bytes of a name of slices.
const sliceName = 8
