package health

import (
	"cmp"
	"slices"
	"time"
)

// IntentDrain is the Kind of an Intent that moves the clients of its target away.
const IntentDrain = "drain"

// Intent is what an operator wants of a POP or node. Of several on one target the one set last holds; lifting one is
// setting another with Lifted. Lifted and expired ones are kept, so that an older one cannot come back by gossip.
type Intent struct {
	Target  string    `json:"target"` // a POP or a node; they share one name space
	Kind    string    `json:"kind,omitempty"`
	Why     string    `json:"why,omitempty"`
	By      string    `json:"by,omitempty"`
	Set     time.Time `json:"set"`
	Expires time.Time `json:"expires,omitzero"` // zero means never
	Lifted  bool      `json:"lifted,omitempty"`
}

// InForce reports whether the intent is to be followed at time now.
func (i Intent) InForce(now time.Time) bool {
	return i.Kind == IntentDrain && !i.Lifted && (i.Expires.IsZero() || now.Before(i.Expires))
}

// compareIntents orders intents on one target by time; ties are broken the same way everywhere.
func compareIntents(a, b Intent) int {
	lifted := func(i Intent) int {
		if i.Lifted {
			return 1
		}
		return 0
	}
	return cmp.Or(a.Set.Compare(b.Set), cmp.Compare(a.By, b.By), cmp.Compare(lifted(a), lifted(b)),
		a.Expires.Compare(b.Expires), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Why, b.Why))
}

// SetIntent takes an operator's wish and returns it as it now holds. An intent without a time is set now, and after any
// that this node knows of its target, whatever the clock of its author said; one with a time is merged as it is.
func (f *Fleet) SetIntent(now time.Time, i Intent) Intent {
	if i.Set.IsZero() {
		i.Set = now.Round(0)
		if old, ok := f.intents[i.Target]; ok && !i.Set.After(old.Set) {
			i.Set = old.Set.Add(1)
		}
	}
	f.MergeIntent(now, i)
	return f.intents[i.Target]
}

// MergeIntent takes an intent that another node knows and reports whether it is news. Intents on targets that the
// topology does not have are dropped.
func (f *Fleet) MergeIntent(_ time.Time, i Intent) bool {
	if f.topo.POP(i.Target) == nil && f.topo.Node(i.Target) == nil {
		return false
	}
	if old, ok := f.intents[i.Target]; ok && compareIntents(i, old) <= 0 {
		return false
	}
	f.intents[i.Target] = i
	return true
}

// Intents returns the newest intent on each target, in order of targets, with lifted and expired ones: that is what
// another node needs to know. InForce tells which are to be followed.
func (f *Fleet) Intents() []Intent {
	all := make([]Intent, 0, len(f.intents))
	for _, i := range f.intents {
		all = append(all, i)
	}
	slices.SortFunc(all, func(a, b Intent) int { return cmp.Compare(a.Target, b.Target) })
	return all
}

// drained reports whether an intent in force drains one of the targets, and why.
func (f *Fleet) drained(now time.Time, targets ...string) (bool, string) {
	for _, t := range targets {
		if i, ok := f.intents[t]; ok && i.InForce(now) {
			return true, i.Why
		}
	}
	return false, ""
}
