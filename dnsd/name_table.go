package dnsd

import (
	"encoding/binary"
	"math/bits"

	"github.com/catchment-net/catchment/dnsd/wire"
)

// maxLabels is how many labels a name has at most, the root's included (RFC 1035 §2.3.4).
const maxLabels = 128

// suffixes are a name in lower case and all names above it, the longest first, each with its hash. One pass from the
// right makes all hashes, which a map of Go would make one by one for every table that is asked.
type suffixes struct {
	name []byte
	n    int
	from [maxLabels]uint8
	hash [maxLabels]uint32
}

// set takes a well-formed name, which it keeps. Only the first n entries are valid.
func (s *suffixes) set(name []byte) {
	s.name, s.n = name, 0
	at := 0
	for {
		s.from[s.n] = uint8(at)
		s.n++
		if name[at] == 0 {
			break
		}
		at += 1 + int(name[at])
	}
	h := uint64(0x2d358dccaa6c78a5)
	end := len(name)
	for i := s.n - 1; i >= 0; i-- {
		h = hashLabel(h, name[s.from[i]:end])
		s.hash[i] = uint32(h >> 32)
		end = int(s.from[i])
	}
}

// hashLabel adds a label with its length in front to the hash of the name above it. Names are the operator's and a table
// has no more entries than there are names, so nobody who asks can make it slow.
func hashLabel(h uint64, label []byte) uint64 {
	for len(label) >= 8 {
		h = mix(h, binary.LittleEndian.Uint64(label))
		label = label[8:]
	}
	var rest uint64
	for i, b := range label {
		rest |= uint64(b) << (8 * i)
	}
	return mix(h, rest)
}

func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a^0x8bb84b93962eacc9, b^0x4b33a62ed433d4a3)
	return hi ^ lo
}

// nameTable finds things by names in lower-case wire form: open addressing, at most half full. It is filled once, and
// safe for concurrent use from then on.
type nameTable[T any] struct {
	slots   []nameSlot[T] // their number is a power of two
	names   []byte        // of all entries, one behind the other
	longest int           // bytes of the longest name
}

// nameSlot is free while it has no value.
type nameSlot[T any] struct {
	hash  uint32
	from  uint32 // in names
	size  uint32
	value *T
}

func newNameTable[T any](n int) nameTable[T] {
	size := 4
	for size < 2*n {
		size *= 2
	}
	return nameTable[T]{slots: make([]nameSlot[T], size)}
}

// put adds an entry. The table must have been made for as many.
func (t *nameTable[T]) put(name []byte, value *T) {
	var s suffixes
	s.set(name)
	i := s.hash[0]
	for t.slots[int(i)&(len(t.slots)-1)].value != nil {
		i++
	}
	t.slots[int(i)&(len(t.slots)-1)] = nameSlot[T]{hash: s.hash[0], from: uint32(len(t.names)), size: uint32(len(name)), value: value}
	t.names = append(t.names, name...)
	t.longest = max(t.longest, len(name))
}

// find looks the i-th suffix up; nil if it is not there.
func (t *nameTable[T]) find(s *suffixes, i int) *T {
	name := s.name[s.from[i]:]
	if len(name) > t.longest {
		return nil
	}
	hash := s.hash[i]
	for at := hash; ; at++ {
		slot := &t.slots[int(at)&(len(t.slots)-1)]
		switch {
		case slot.value == nil:
			return nil
		case slot.hash == hash && int(slot.size) == len(name) && string(t.names[slot.from:slot.from+slot.size]) == string(name):
			return slot.value
		}
	}
}

// get looks one name up.
func (t *nameTable[T]) get(name []byte) *T {
	if len(name) > wire.MaxName {
		return nil
	}
	var s suffixes
	s.set(name)
	return t.find(&s, 0)
}

// each calls f for every entry.
func (t *nameTable[T]) each(f func(name []byte, value *T)) {
	for i := range t.slots {
		if s := &t.slots[i]; s.value != nil {
			f(t.names[s.from:s.from+s.size:s.from+s.size], s.value)
		}
	}
}
