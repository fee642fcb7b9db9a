package steer

import (
	"math"
	"net/netip"
	"slices"

	"github.com/catchment-net/catchment/site"
)

// SetID names the candidates of one answer, nearest first: each in ten bits as its number and one, the first in the
// lowest. 0 is no candidate: there is nothing to answer. One candidate alone is a number below MaxSingle, so that it may
// index an array. Two are equal only for one Policy and one Health: with another, equal SetIDs may have other addresses.
type SetID uint64

// The limits of a SetID.
const (
	MaxSingle  = 1 << setBits    // all SetIDs of one candidate are below
	MaxNearest = site.MaxNearest // candidates of one answer

	setBits = 10
)

// with adds a candidate as the n-th, from 0.
func (s SetID) with(n int, i uint16) SetID { return s | SetID(i+1)<<(setBits*n) }

// at is the n-th candidate; ok is false beyond the last.
func (s SetID) at(n int) (i uint16, ok bool) {
	v := uint16(s >> (setBits * n) & (MaxSingle - 1))
	return v - 1, v != 0
}

func (s SetID) contains(i uint16) bool {
	for ; s != 0; s >>= setBits {
		if uint16(s&(MaxSingle-1)) == i+1 {
			return true
		}
	}
	return false
}

// Pick chooses for one client and family (6: AAAA, else A), and says for whom else the choice holds: for all clients
// that share so many leading bits of the address. Only candidates with an address of the family are chosen: a negative
// answer must not depend on the client, since caches keep it for everybody (RFC 7871 §7.4). A candidate that is down
// gives way to the next; if all are down, the best of all is chosen, since an address that may work beats none, unless
// the host says `fail: closed`. A nil Health knows of nothing bad. It does not allocate.
func (p *Policy) Pick(client netip.Addr, family int, h *Health) (SetID, uint8) {
	f := index(family)
	w := walk{p: p, client: client, able: &p.able[f]}
	if st := h.of(p); st != nil && p.way != anycast {
		if h.empty {
			return 0, 0
		}
		w.usable, w.st = &st.usable[f], st
	}
	w.choose()
	if w.n == 0 && !p.closed { // all are down
		w.usable, w.st = nil, nil
		w.choose()
	}
	if w.n == 0 {
		return 0, 0
	}
	return w.set, w.scope
}

// walk is one decision in the making.
type walk struct {
	p      *Policy
	client netip.Addr
	able   *mask     // have an answer
	usable *mask     // are well; nil: all are
	st     *standing // for what they bear of their load; nil: all bear the whole

	net   uint64 // the client's network, once it was needed
	drawn bool   // it was
	scope uint8
	set   SetID
	n     int
}

// live reports whether a candidate may be taken.
func (w *walk) live(i uint16) bool {
	return w.able.has(i) && (w.usable == nil || w.usable.has(i)) && (w.n == 0 || !w.set.contains(i))
}

// choose takes of those that are live.
func (w *walk) choose() {
	switch w.p.way {
	case weighted:
		w.weighted()
	case geo:
		w.nearest()
	default:
		w.first(w.p.order)
	}
	if w.n == 0 {
		w.first(w.p.fallback)
	}
}

func (w *walk) add(i uint16) {
	w.set = w.set.with(w.n, i)
	w.n++
}

// first takes the first of the list that is live.
func (w *walk) first(list []uint16) {
	for _, i := range list {
		if w.live(i) {
			w.add(i)
			return
		}
	}
}

// nearest takes as many candidates as the host wants, spot by spot. Those that bear only a part of their load let some
// networks pass; who was let pass by all gets the nearest all the same.
func (w *walk) nearest() {
	list, scope := w.p.table.Lookup(w.client)
	order := w.p.table.List(list)
	w.scope = scope
	w.along(order)
	if w.n == 0 && w.st != nil {
		w.st = nil
		w.along(order)
	}
}

// along takes what is still wanted from the spots of an order.
func (w *walk) along(order []uint16) {
	for _, spot := range order {
		if w.visit(w.p.members[spot]); w.n == w.p.wants {
			return
		}
	}
}

// visit takes from one spot what is still wanted: the only candidate there, or drawn ones of several.
func (w *walk) visit(members []uint16) {
	if len(members) == 1 {
		if i := members[0]; w.live(i) && w.accepts(i) {
			w.add(i)
		}
		return
	}
	var passed mask // those that let this client pass
	for w.n < w.p.wants {
		i, ok := w.draw(members, &passed)
		if !ok {
			return
		}
		if passed.set(i); w.accepts(i) {
			w.add(i)
		}
	}
}

// accepts asks a candidate that bears only a part of its load whether it takes this client.
func (w *walk) accepts(i uint16) bool {
	if w.st == nil || !w.st.partial.has(i) {
		return true
	}
	return w.p.list[i].accepts(w.network(), w.st.shares[i])
}

// weighted draws one of all. What a candidate can bear of its load scales its weight, so that the others get the rest.
func (w *walk) weighted() {
	if len(w.p.order) == 1 {
		w.first(w.p.order)
		return
	}
	if i, ok := w.draw(w.p.order, nil); ok {
		w.add(i)
	}
}

// draw picks one of the list by weight. Of a list without passed, what a candidate bears of its load scales its weight.
func (w *walk) draw(list []uint16, passed *mask) (best uint16, found bool) {
	lowest := math.Inf(1)
	for _, i := range list {
		if !w.live(i) || passed != nil && passed.has(i) {
			continue
		}
		share := uint16(whole)
		if passed == nil && w.st != nil && w.st.partial.has(i) {
			share = w.st.shares[i]
		}
		if score, ok := w.p.list[i].beats(w.network(), w.p.salt, share, lowest); ok {
			best, lowest, found = i, score, true
		}
	}
	return best, found
}

// network is the client's network; whoever asks for it draws, and the answer holds for no wider one.
func (w *walk) network() uint64 {
	if !w.drawn {
		w.net, w.drawn = networkOf(w.client), true
		w.scope = max(w.scope, networkBits(w.client))
	}
	return w.net
}

// Answer is what a set says to clients: the addresses of the family, or one CNAME with its final dot. It allocates: call
// it once for each set. The addresses must not be changed.
func (p *Policy) Answer(s SetID, family int, h *Health) (addrs []netip.Addr, cname string) {
	f := index(family)
	st := h.of(p)
	for n := range MaxNearest {
		i, ok := s.at(n)
		if !ok {
			break
		}
		c := &p.list[i]
		if c.cname != "" {
			if n == 0 {
				return nil, c.cname
			}
			continue // a name has a CNAME or addresses, never both (RFC 1034 §3.6.2)
		}
		of := c.addrs[f]
		if st != nil && p.way != anycast {
			of = st.addrs[f][i]
		}
		if n == 0 {
			addrs = of
			continue
		}
		addrs = append(slices.Clip(addrs), of...)
	}
	return addrs, ""
}

// Name is what logs and metrics call a set: its first candidate, "anycast" for the shared addresses, "" for none.
func (p *Policy) Name(s SetID) string {
	i, ok := s.at(0)
	if !ok {
		return ""
	}
	return p.list[i].name
}
