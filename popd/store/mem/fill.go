package mem

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/catchment-net/catchment/popd/fresh"
	"github.com/catchment-net/catchment/popd/key"
	"github.com/catchment-net/catchment/purge"
)

// Entry is what a Store is told of an answer.
type Entry struct {
	Primary key.Key  // of the URL
	Variant key.Key  // of URL and selected request fields; not looked at where Vary is empty
	Vary    []string // as by key.Vary

	Status int
	Header http.Header // as it came from upstream, without the fields that are not stored
	Policy fresh.Policy

	Tags  []purge.Tag // surrogate keys, by which the answer can be purged
	Stamp uint64      // generation of the purge index when the fetch began

	sliced bool
}

// ErrNoRoom says that all memory is being read or written.
var ErrNoRoom = errors.New("store an answer: no room")

// Fill takes a body while it arrives. It belongs to one goroutine, except that others may read the bytes that Wrote has
// taken, until Free; Free must be called.
type Fill struct {
	s      *Store
	pieces []ref
	size   int64 // bytes written
	room   int   // bytes free in the last piece
	taken  int64 // bytes of the arena
	kept   View  // the entry that it has become
	spare  []ref // pieces that did not become the entry's
}

// Fill begins an answer.
func (s *Store) Fill() *Fill { return &Fill{s: s} }

// Room returns where the next bytes go: what is free in the last piece, or a new one. left is how many are still to
// come, if that is known, else below 0; pieces are chosen to fit. It returns ErrNoRoom if there is none.
func (f *Fill) Room(left int64) ([]byte, error) {
	if f.room > 0 {
		p := f.s.arena.bytes(f.pieces[len(f.pieces)-1])
		return p[len(p)-f.room:], nil
	}
	if left < 0 {
		left = int64(4<<10) << min(len(f.pieces), 8)
	}
	if len(f.pieces) == math.MaxUint16 {
		return nil, ErrNoRoom
	}
	class := f.s.arena.forBody(max(left, 1))
	n := int64(f.s.arena.classes[class].size)
	if f.taken+n > f.s.limit/largestShare {
		return nil, ErrNoRoom
	}
	at, ok := ref(0), f.s.filling.Add(n) <= f.s.limit/filledShare
	if ok {
		at, ok = f.s.slot(class)
	}
	if !ok {
		f.s.filling.Add(-n)
		return nil, ErrNoRoom
	}
	size := f.s.arena.size(at)
	f.s.filling.Add(int64(size) - n)
	f.taken += int64(size)
	f.pieces = append(f.pieces, at)
	f.room = size
	return f.s.arena.bytes(at), nil
}

// Wrote takes the first n bytes of what Room returned.
func (f *Fill) Wrote(n int) {
	f.room -= n
	f.size += int64(n)
}

// Size is the bytes written so far.
func (f *Fill) Size() int64 { return f.size }

// Commit makes what was written the body of an entry (see Entry). Whatever it returns, the bytes stay readable until
// Free.
func (f *Fill) Commit(e Entry) error {
	pieces, inline, err := f.fit()
	if err != nil {
		f.s.refused.Add(1)
		return err
	}
	at, err := f.s.build(e, pieces, inline, f.size, 0)
	if err != nil {
		f.s.refused.Add(1)
		f.spare = append(f.spare, differ(pieces, f.pieces)...)
		return err
	}
	f.spare = append(f.spare, differ(f.pieces, pieces)...)
	f.pieces = nil
	f.s.filling.Add(-f.taken)
	f.taken = 0
	r := f.s.arena.record(at)
	f.kept = View{f.s, r, at}.Pin()
	f.s.arena.own(0, at, pieces)
	f.s.link(at)
	return nil
}

// Drop gives the first piece back, which nobody may read any more. What is written later cannot become an entry.
func (f *Fill) Drop() {
	at := f.pieces[0]
	n := int64(f.s.arena.size(at))
	f.s.arena.free(at)
	f.pieces = f.pieces[1:]
	f.taken -= n
	f.s.filling.Add(-n)
}

// Entry is the entry that Commit has made, pinned until Free; the zero View before.
func (f *Fill) Entry() View { return f.kept }

// fit returns the pieces that an entry needs for what was written: a small body goes behind its record, and a last
// piece much larger than its bytes is exchanged.
func (f *Fill) fit() (pieces []ref, inline []byte, err error) {
	if f.size == 0 {
		return nil, nil, nil
	}
	last := f.s.arena.bytes(f.pieces[len(f.pieces)-1])
	last = last[:len(last)-f.room]
	if f.size < minBody && len(f.pieces) == 1 {
		return nil, last, nil
	}
	pieces = append(pieces, f.pieces...)
	if f.room <= len(last)/8 && len(last) > 0 {
		return pieces, nil, nil
	}
	pieces = pieces[:len(pieces)-1]
	for len(last) > 0 {
		at, ok := f.s.slot(f.s.arena.forBody(int64(len(last))))
		if !ok {
			f.s.arena.free(differ(pieces, f.pieces)...)
			return nil, nil, ErrNoRoom
		}
		last = last[copy(f.s.arena.bytes(at), last):]
		pieces = append(pieces, at)
	}
	return pieces, nil, nil
}

// differ are those of a that are not in b, which both begin alike.
func differ(a, b []ref) []ref {
	i := 0
	for i < len(a) && i < len(b) && a[i] == b[i] {
		i++
	}
	return a[i:]
}

// Free gives back what did not become an entry's, and the pin on the entry. Nobody may read the bytes any more.
func (f *Fill) Free() {
	f.s.arena.free(f.pieces...)
	f.s.arena.free(f.spare...)
	f.s.filling.Add(-f.taken)
	f.kept.Release()
	*f = Fill{s: f.s}
}

// build writes a record into a slot of its own. base is the record that owns the pieces, if another.
func (s *Store) build(e Entry, pieces []ref, inline []byte, length int64, base ref) (ref, error) {
	names := strings.Join(e.Vary, ",")
	block, err := appendBlock(nil, e.Status, e.Header, length)
	if err != nil {
		return 0, err
	}
	r := record{
		stamp: e.Stamp, length: length, status: uint16(e.Status), tags: uint16(len(e.Tags)), pieces: uint16(len(pieces)),
		vary: uint16(len(names)), header: uint16(len(block)),
	}
	if len(e.Vary) > 0 {
		r.flags |= hasVariant
	}
	if base != 0 {
		r.flags |= hasBase
	}
	if e.sliced {
		r.flags |= isSliced
	}
	if e.Policy.WhileRevalidate != 0 || e.Policy.IfError != 0 {
		r.flags |= hasGrace
	}
	size := r.headerAt() + len(block) + len(inline)
	class, ok := s.arena.forHead(size)
	if !ok || len(e.Tags) > math.MaxUint16 || len(names) > math.MaxUint16 {
		return 0, fmt.Errorf("store an answer: its header takes %d bytes: want at most a page of %d", size, 1<<s.arena.shift)
	}
	at, ok := s.slot(class)
	if !ok {
		return 0, ErrNoRoom
	}
	to := s.arena.record(at)
	to.storeKey(digestOf(e.Primary))
	to.copyFixed(&r)
	copy(to.tagList(), e.Tags)
	to.setPolicy(e.Policy)
	if r.flags&hasVariant != 0 {
		*(*digest)(to.at(to.variantAt())) = digestOf(e.Variant)
	}
	if base != 0 {
		*to.base() = base
	}
	copy(to.pieceList(), pieces)
	copy(to.varyNames(), names)
	copy(to.headerBlock(), block)
	if len(pieces) == 0 {
		copy(to.inline(), inline)
	}
	return at, nil
}

// Put stores an entry with a body that is there already.
func (s *Store) Put(e Entry, body ...[]byte) error {
	f := s.Fill()
	defer f.Free()
	var left int64
	for _, p := range body {
		left += int64(len(p))
	}
	for _, p := range body {
		for len(p) > 0 {
			room, err := f.Room(left)
			if err != nil {
				s.refused.Add(1)
				return err
			}
			n := copy(room, p)
			f.Wrote(n)
			p, left = p[n:], left-int64(n)
		}
	}
	return f.Commit(e)
}

// PutSliced stores an entry whose body of length bytes is in slices, entries of their own under keys that its owner makes
// from name.
func (s *Store) PutSliced(e Entry, length int64, name uint64) error {
	e.sliced = true
	at, err := s.build(e, nil, binary.BigEndian.AppendUint64(nil, name), length, 0)
	if err != nil {
		s.refused.Add(1)
		return err
	}
	s.link(at)
	return nil
}

// Update gives an entry another header, policy, tags and stamp, after a validation (RFC 9111 §4.3.4); a body above
// copied bytes stays where it is. Key and Vary of e are not looked at. It reports false if v is no longer the entry, or
// finds no room.
func (s *Store) Update(v View, e Entry) bool {
	at, base, ok := s.successor(v, e)
	if !ok {
		s.refused.Add(1)
		return false
	}
	if base != 0 {
		atomic.AddUint32(&s.arena.record(base).state, 1)
	}
	sh, bucket := s.find(v.r.loadKey())
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if atomic.LoadUint32(&v.r.state)&deadBit != 0 {
		s.freeRecord(at)
		return false
	}
	s.linkLocked(sh, bucket, at)
	for _, from := range []ref{0, v.at, base} { // a copy was nobody's
		s.arena.own(from, at, s.arena.record(at).pieceList())
	}
	return true
}

// copied is up to which size a body is copied on an update: less than the old record is worth, which else stays for as
// long as its body does.
const copied = 4 << 10

// successor builds the record that Update puts in the place of v's, and says which record its body belongs to.
func (s *Store) successor(v View, e Entry) (at, base ref, ok bool) {
	old := v.r
	pieces := old.pieceList()
	var inline []byte
	if len(pieces) == 0 {
		inline = old.inline()
	} else if to, ok := s.copyBody(pieces, old.length); ok {
		pieces = []ref{to}
	} else if old.flags&hasBase != 0 {
		base = *old.base()
	} else {
		base = v.at
	}
	e.Vary, e.sliced = v.Vary(), old.flags&isSliced != 0
	at, err := s.build(e, pieces, inline, old.length, base)
	if err != nil {
		if base == 0 {
			s.arena.free(pieces...)
		}
		return 0, 0, false
	}
	r := s.arena.record(at)
	r.storeKey(old.loadKey())
	if r.flags&hasVariant != 0 {
		*(*digest)(r.at(r.variantAt())) = old.variant()
	}
	return at, base, true
}

// copyBody copies a small body into a slot of its own.
func (s *Store) copyBody(pieces []ref, length int64) (ref, bool) {
	if len(pieces) != 1 || length > copied {
		return 0, false
	}
	at, ok := s.slot(s.arena.forBody(length))
	if !ok {
		return 0, false
	}
	if to := s.arena.bytes(at); int64(len(to)) >= length {
		copy(to, s.arena.bytes(pieces[0])[:length])
		return at, true
	}
	s.arena.free(at)
	return 0, false
}
