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
//	x, ill                                     y, well
//	record 7: web is down              ───►    counts on x no more
//	y knows: x may leave them to y     ◄───    record 12: I announce; of x I have record 7
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

// standing is what a receipt is for: as long as it is the same, an older receipt holds.
type standing struct {
	states   [len(Services)]State
	since    [len(Services)]int64 // Unix ns, so that a state left and entered again is another
	draining bool
}

func standingOf(services map[Service]ServiceView, draining bool) standing {
	s := standing{draining: draining}
	for i, name := range Services {
		v := services[name]
		s.states[i] = v.State
		if !v.Cause.Since.IsZero() {
			s.since[i] = v.Cause.Since.UnixNano()
		}
	}
	return s
}

// leaving reports whether some of the node's clients should go elsewhere.
func (s standing) leaving() bool {
	return s.draining || slices.Contains(s.states[:], Down) || slices.Contains(s.states[:], Draining)
}

// told is the own standing that the newest records tell of, and the first record that did.
type told struct {
	standing standing
	seq      uint64 // 0 means none
}

// ownStanding is this node's at time now, whether it has been told or not.
func (f *Fleet) ownStanding(now time.Time) standing {
	draining := false
	if f.self != nil {
		draining, _ = f.drained(now, f.name, f.self.POP.Name)
	}
	return standingOf(f.own, draining)
}

// tell notes that the record with the present number tells of this standing.
func (f *Fleet) tell(s standing) {
	f.owes = false
	if f.told.seq == 0 || f.told.standing != s {
		f.told = told{s, f.seq}
	}
}

// knownTo reports whether the sender of a record has said that it has heard this node's present standing.
func (f *Fleet) knownTo(now time.Time, r *Record) bool {
	i := slices.IndexFunc(r.Receipts, func(x Receipt) bool { return x.Node == f.name })
	return i >= 0 && f.told.seq != 0 && r.Receipts[i].Incarnation == f.incarnation && r.Receipts[i].Seq >= f.told.seq &&
		f.told.standing == f.ownStanding(now)
}

// receipts lists what this node has heard of those that are on their way out, in order of names.
func (f *Fleet) receipts() []Receipt {
	var leaving []word
	for _, w := range f.heard {
		if w.standing.leaving() {
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
