package dnsd

import (
	"sync/atomic"

	"github.com/catchment-net/catchment/dnsd/wire"
)

// answers are the packed answers of one name to one type that asks for no steered addresses. They are immutable.
type answers struct {
	qtype  uint16
	slow   bool    // they are made anew for each query
	fixed  *body   // the same for everybody
	config *config // in which they are made anew, since what a host is steered to may be packed in another; nil: in all
	next   *answers
}

// fast answers from what is packed, and packs what is asked for the first time. It returns nil for what only the slow
// path can do. The name is in lower case.
func (w *worker) fast(st *steering, qtype uint16, name []byte) (*body, uint8) {
	bit := quickBit(qtype)
	if bit == 0 {
		return nil, 0
	}
	zx := st.state.config.index.find(&w.names)
	if zx == nil {
		return w.s.refused, 0
	}
	at, exact := zx.find(&w.names)
	switch {
	case at == nil || at.top != nil && at.top.dname || at.dname && !exact:
		return nil, 0
	case at.top != nil:
		at = at.top
	case exact:
	case at.wild == nil:
		return zx.negative(&zx.nxdomain, st, name, qtype), 0
	default:
		at = at.wild
	}
	w.owner = at.number
	switch {
	case at.top == nil && !at.steered && !at.alias && at.types&bit == 0:
		return zx.negative(&zx.nodata, st, name, qtype), 0
	case at.top == nil && bit <= quickAAAA:
		return w.address(at, zx, name, bit>>1)
	}
	a := at.find(at.slot(qtype))
	if a == nil || a.config != nil && a.config != st.state.config {
		a = at.pack(zx, st, name, qtype)
	}
	if a.slow {
		return nil, 0
	}
	return a.fixed, 0
}

func (zx *zoneIndex) negative(kept *atomic.Pointer[body], st *steering, name []byte, qtype uint16) *body {
	if b := kept.Load(); b != nil {
		return b
	}
	b, _ := zx.resolve(st, name, qtype)
	kept.Store(b)
	return b
}

// resolve packs an answer and says whom the resolution asked. The body is nil if it cannot be packed.
func (zx *zoneIndex) resolve(st *steering, name []byte, qtype uint16) (*body, recorder) {
	r := recorder{steering: st}
	a := st.state.config.zones.Resolve(wire.Text(name), qtype, &r)
	r.settle(&a)
	b, err := packBody(a, name, st.state.config.index.seed)
	if err != nil {
		return nil, r
	}
	b.zone, b.chosen = uint16(zx.number), uint16(st.chosen)
	b.scoped = r.asked > 0 && len(a.Answer) > 0
	return zx.same(b), r
}

// slot is the type under which a name keeps its answers: at a delegation one referral serves all.
func (x *nameIndex) slot(qtype uint16) uint16 {
	if x.top != nil {
		return 0
	}
	return qtype
}

func (x *nameIndex) find(slot uint16) *answers {
	a := x.answers.Load()
	for a != nil && a.qtype != slot {
		a = a.next
	}
	return a
}

// pack makes the answers for a type and keeps them.
func (x *nameIndex) pack(zx *zoneIndex, st *steering, name []byte, qtype uint16) *answers {
	a := &answers{qtype: x.slot(qtype)}
	b, r := zx.resolve(st, name, qtype)
	if r.asked > 0 {
		a.config = st.state.config
	}
	if a.slow = b == nil || r.asked > 0 || !r.steady(x, b); !a.slow {
		a.fixed = b
	}
	for {
		old := x.answers.Load()
		a.next = old.without(a.qtype)
		if x.answers.CompareAndSwap(old, a) {
			return a
		}
	}
}

// without is the list without the answers to a type. What comes before them is copied, since others may be reading it.
func (a *answers) without(qtype uint16) *answers {
	if a == nil {
		return nil
	}
	if a.qtype == qtype {
		return a.next
	}
	rest := a.next.without(qtype)
	if rest == a.next {
		return a
	}
	return &answers{qtype: a.qtype, slow: a.slow, fixed: a.fixed, config: a.config, next: rest}
}
