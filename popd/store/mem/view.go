package mem

import (
	"encoding/binary"
	"net/http"
	"sync/atomic"

	"github.com/catchment-net/catchment/popd/fresh"
	"github.com/catchment-net/catchment/purge"
)

// View is an entry that is being read. Its memory stays until Release, whatever becomes of the entry meanwhile; slices
// that it hands out must not be changed, nor used after that. It is a small value; copies share one pin. The zero View
// is none.
type View struct {
	s  *Store
	r  *record
	at ref
}

// OK reports whether there is an entry.
func (v View) OK() bool { return v.r != nil }

// Same reports whether both are the very same entry, rather than one that has taken the other's place.
func (v View) Same(w View) bool { return v.r == w.r }

// Pin takes another pin, which needs a Release of its own, and returns v.
func (v View) Pin() View {
	if v.r != nil {
		atomic.AddUint32(&v.r.state, 1)
	}
	return v
}

// Release gives the pin back. Releasing the zero View does nothing.
func (v View) Release() {
	if v.r != nil {
		v.s.unpin(v.at)
	}
}

// Status is the answer's status.
func (v View) Status() int { return int(v.r.status) }

// Length is the bytes of the body.
func (v View) Length() int64 { return v.r.length }

// Policy is how long the answer may be served.
func (v View) Policy() fresh.Policy { return v.r.freshPolicy() }

// Header is the header block, ready to be sent (block.go): lines "Name: value CRLF" sorted by name, Content-Length last.
func (v View) Header() []byte { return v.r.headerBlock() }

// Fields is the stored header for those who need a map, without Content-Length. It is a copy.
func (v View) Fields() http.Header { return parseBlock(v.r.headerBlock()) }

// Field is the value of a stored field, given by its canonical name: of the first line, if there are several; nil if
// there is none.
func (v View) Field(name string) []byte { return findField(v.r.headerBlock(), name) }

// Vary are the names of the request fields that select the answer, in lower case and sorted. It is a copy.
func (v View) Vary() []string { return splitNames(v.r.varyNames()) }

// Tags are the surrogate keys by which the entry can be purged.
func (v View) Tags() []purge.Tag { return v.r.tagList() }

// Stamp is the generation of the purge index up to which the entry is known not to be purged: at first, when its fetch
// began.
func (v View) Stamp() uint64 { return atomic.LoadUint64(&v.r.stamp) }

// Raise notes that the entry was checked against all purges up to a generation.
func (v View) Raise(generation uint64) {
	for {
		old := atomic.LoadUint64(&v.r.stamp)
		if old >= generation || atomic.CompareAndSwapUint64(&v.r.stamp, old, generation) {
			return
		}
	}
}

// Slices is the name of the slices that hold the body, each an entry of its own (Store.PutSliced). It is not ok for an
// entry whose body is here.
func (v View) Slices() (name uint64, ok bool) {
	if v.r.flags&isSliced == 0 {
		return 0, false
	}
	return binary.BigEndian.Uint64(v.r.inline()), true
}

// AppendBody appends the pieces of the body to dst.
func (v View) AppendBody(dst [][]byte) [][]byte { return v.AppendRange(dst, 0, v.r.length) }

// AppendRange appends n bytes of the body from off on, which must be within it. Of a sliced entry there is nothing here.
func (v View) AppendRange(dst [][]byte, off, n int64) [][]byte {
	if v.r.flags&isSliced != 0 {
		return dst
	}
	if v.r.pieces == 0 {
		if n > 0 {
			dst = append(dst, v.r.inline()[off:off+n:off+n])
		}
		return dst
	}
	for _, at := range v.r.pieceList() {
		if n <= 0 {
			break
		}
		p := v.s.arena.bytes(at)
		if off >= int64(len(p)) {
			off -= int64(len(p))
			continue
		}
		p = p[off:]
		off = 0
		if int64(len(p)) > n {
			p = p[:n:n]
		}
		dst = append(dst, p)
		n -= int64(len(p))
	}
	return dst
}
