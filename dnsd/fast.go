package dnsd

import (
	"maps"
	"sync/atomic"

	"github.com/miekg/dns"

	"github.com/catchment-net/catchment/dnsd/steer"
	"github.com/catchment-net/catchment/dnsd/wire"
)

// maxSets is how many sets of POPs a name keeps answers for; further ones are made anew for each query.
const maxSets = 1024

// answers are the packed answers of one name to one type. It is immutable but for what packs points to.
type answers struct {
	qtype  uint16
	slow   bool          // they are made anew for each query
	fixed  *body         // the same for everybody; nil for a steered host
	config *config       // whose policy it is
	policy *steer.Policy // of the one steered host that the resolution asks
	family int
	packs  atomic.Pointer[packs]
}

// packs are the answers of a steered host under one Health. It is immutable.
type packs struct {
	health *steer.Health
	sets   map[steer.SetID]*body // nil: made anew
}

// fast answers from what is packed, and packs what is asked for the first time. It returns nil for what only the slow
// path can do. The name is in lower case.
func (w *worker) fast(st *steering, qtype uint16, name []byte) (*body, uint8) {
	bit := quickBit(qtype)
	if bit == 0 {
		return nil, 0
	}
	zx := st.state.config.index.find(name)
	if zx == nil {
		return w.s.refused, 0
	}
	at, exact := zx.find(name)
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
	if at.top == nil && !at.steered && !at.alias && at.types&bit == 0 {
		return zx.negative(&zx.nodata, st, name, qtype), 0
	}
	a := at.find(qtype)
	if a == nil || a.config != nil && a.config != st.state.config {
		a = at.pack(zx, st, name, qtype)
	}
	switch {
	case a.slow:
		return nil, 0
	case a.fixed != nil:
		return a.fixed, 0
	}
	set, bits := a.policy.Pick(st.addr(), a.family, st.state.health)
	p := a.packs.Load()
	if p == nil || p.health != st.state.health {
		p = &packs{health: st.state.health}
	}
	b, known := p.sets[set]
	if !known && len(p.sets) < maxSets {
		b = a.keep(at, p, set, zx, st, name, qtype)
	}
	return b, bits
}

// keep packs the answer for a set. What another reader has kept at the same time is lost, and made again when asked for.
func (a *answers) keep(x *nameIndex, p *packs, set steer.SetID, zx *zoneIndex, st *steering, name []byte, qtype uint16) *body {
	b, r := zx.resolve(st, name, qtype)
	if b != nil && !r.steady(x, b) {
		b = nil
	}
	next := &packs{health: p.health, sets: maps.Clone(p.sets)}
	if next.sets == nil {
		next.sets = map[steer.SetID]*body{}
	}
	next.sets[set] = b
	a.packs.Store(next)
	return b
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
	b.zone, b.chosen = zx.number, st.chosen
	b.scoped = r.asked > 0 && len(a.Answer) > 0
	return b, r
}

// recorder notes which steered host a resolution asked for.
type recorder struct {
	*steering
	asked int
	host  string
	qtype uint16
}

// steady reports whether all that the body depends on is the set of the one host that was asked for. What a wildcard's
// alias leads to may be the name asked for itself, so it is not the same for all names.
func (r *recorder) steady(x *nameIndex, b *body) bool {
	return (!x.wildcard || b.alone) && (r.asked == 0 || r.asked == 1 && (r.qtype == dns.TypeA || r.qtype == dns.TypeAAAA))
}

func (r *recorder) Steer(host, owner string, qtype uint16) []dns.RR {
	r.asked++
	r.host, r.qtype = host, qtype
	return r.steering.Steer(host, owner, qtype)
}

// slot is the type under which a name keeps its answers: at a delegation one referral serves all.
func (x *nameIndex) slot(qtype uint16) uint16 {
	if x.top != nil {
		return 0
	}
	return qtype
}

func (x *nameIndex) find(qtype uint16) *answers {
	qtype = x.slot(qtype)
	if list := x.answers.Load(); list != nil {
		for _, a := range *list {
			if a.qtype == qtype {
				return a
			}
		}
	}
	return nil
}

// pack makes the answers for a type and keeps them.
func (x *nameIndex) pack(zx *zoneIndex, st *steering, name []byte, qtype uint16) *answers {
	a := &answers{qtype: x.slot(qtype)}
	b, r := zx.resolve(st, name, qtype)
	switch {
	case b == nil || !r.steady(x, b):
		a.slow = true
	case r.asked == 0:
		a.fixed = b
	default:
		a.config, a.policy, a.family = st.state.config, st.state.config.policies[r.host], 4
		if r.qtype == dns.TypeAAAA {
			a.family = 6
		}
		a.slow = a.policy == nil
	}
	if r.asked > 0 {
		a.config = st.state.config
	}
	for {
		old := x.answers.Load()
		list := []*answers{a}
		if old != nil {
			for _, other := range *old {
				if other.qtype != a.qtype {
					list = append(list, other)
				}
			}
		}
		if x.answers.CompareAndSwap(old, &list) {
			return a
		}
	}
}
