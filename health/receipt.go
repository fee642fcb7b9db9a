package health

import (
	"cmp"
	"slices"
	"time"
)

// A node that would leave its clients to others must know that they know of it: of two nodes that count on each other,
// and of which neither has heard yet that the other is ill, both would go. So each node repeats in its Record what it
// has heard of those on their way out.
//
//	x                                          y, well
//	record 7: web failed a probe       ───►    counts on x no more
//	y knows: x may leave them to y     ◄───    record 12: I announce; of x I have record 7
//	web is down: x leaves
//
// Of nodes that fall ill one after the other, each can have such a receipt only from those that are still well when
// they hear of it. The last one to fall ill gets none, so it stays, however late or lost the records are.

// maxReceipts bounds the receipts in a Record, so that it fits a datagram. Those who still claim come first, then those
// whose word is newest; who is left out waits until others have gone.
const maxReceipts = 8

// Receipt says which record of a node on its way out was the newest that its sender had.
type Receipt struct {
	Node             string
	Incarnation, Seq uint64
}

// outs says of which services a node may be about to leave its clients to others: what is down, drains, or has just failed
// a probe. That last one asks early: the answers are there when the next probes have made it certain.
type outs [len(Services)]bool

func outOf(services map[Service]ServiceView, draining bool) outs {
	var o outs
	for i, name := range Services {
		v := services[name]
		o[i] = draining || v.Suspect || v.State == Down || v.State == Draining
	}
	return o
}

func (o outs) any() bool { return o != outs{} }

// beyond reports whether o has a service that old has not.
func (o outs) beyond(old outs) bool {
	for i := range o {
		if o[i] && !old[i] {
			return true
		}
	}
	return false
}

// told is, for each service, the first of the own records that say all along that it is on its way out; 0 is none. Who has
// heard that one, or a later one, has not heard otherwise since.
type told [len(Services)]uint64

// ownOuts are this node's at time now, whether they have been told or not.
func (f *Fleet) ownOuts(now time.Time) outs {
	draining := false
	if f.self != nil {
		draining, _ = f.drained(now, f.name, f.self.POP.Name)
	}
	return outOf(f.own, draining)
}

// tell notes what the record with the present number tells.
func (f *Fleet) tell(o outs) {
	f.owes = false
	for i := range o {
		switch {
		case !o[i]:
			f.told[i] = 0
		case f.told[i] == 0:
			f.told[i] = f.seq
		}
	}
}

// knownTo reports whether the sender of a record has said that it has heard of all that this node is on its way out of.
func (f *Fleet) knownTo(now time.Time, r *Record) bool {
	i := slices.IndexFunc(r.Receipts, func(x Receipt) bool { return x.Node == f.name && x.Incarnation == f.incarnation })
	if i < 0 {
		return false
	}
	for s, out := range f.ownOuts(now) {
		if out && (f.told[s] == 0 || r.Receipts[i].Seq < f.told[s]) {
			return false
		}
	}
	return true
}

// receipts lists what this node has heard of those that are on their way out, in order of names.
func (f *Fleet) receipts() []Receipt {
	var leaving []word
	for _, w := range f.heard {
		if w.out.any() {
			leaving = append(leaving, w)
		}
	}
	slices.SortFunc(leaving, func(a, b word) int {
		return cmp.Or(cmp.Compare(min(len(b.rec.Claims), 1), min(len(a.rec.Claims), 1)), b.changed.Compare(a.changed), cmp.Compare(a.rec.Node, b.rec.Node))
	})
	var all []Receipt
	for _, w := range leaving[:min(len(leaving), maxReceipts)] {
		all = append(all, Receipt{w.rec.Node, w.rec.Incarnation, w.rec.Seq})
	}
	slices.SortFunc(all, func(a, b Receipt) int { return cmp.Compare(a.Node, b.Node) })
	return all
}

// Owes reports whether another node waits to hear that this one has heard of its leaving. The next Record says so;
// without it the news would wait for the next regular one.
func (f *Fleet) Owes() bool { return f.owes }
