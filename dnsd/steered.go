package dnsd

import (
	"maps"
	"sync/atomic"

	"github.com/miekg/dns"

	"github.com/catchment-net/catchment/dnsd/steer"
	"github.com/catchment-net/catchment/geodata"
)

// The limits of what is kept for one name and family.
const (
	maxLists = 256  // of a table, for answers to be kept by list, of 8 bytes each
	maxSets  = 1024 // sets of POPs beyond few; the answers of further ones are made anew
	fewSets  = 14   // POPs and targets, the first of a host, that are found without a map
)

// steered are the packed answers of a name whose addresses depend on one steered host, under one Health. All but lists
// is immutable; a change makes new ones.
type steered struct {
	health *steer.Health
	table  *geodata.Table         // decides alone, and lists are by its lists; nil: sets are asked for
	lists  []atomic.Pointer[body] // filled as they are asked for
	config *config                // whose policy it is
	policy *steer.Policy          // nil: several hosts were asked, and all is made anew
	family int
	few    [fewSets]*body        // by SetID
	more   map[steer.SetID]*body // nil: made anew
}

// address answers a question for addresses at a name of the zone's own; family is 0 for A and 1 for AAAA.
func (w *worker) address(at *nameIndex, zx *zoneIndex, name []byte, family typeSet) (*body, uint8) {
	if b := at.fixed[family].Load(); b != nil {
		return b, 0
	}
	st := &w.st
	t := at.steer[family].Load()
	if t == nil || t.config != st.state.config {
		if t = at.packAddress(zx, st, name, family); t == nil {
			return at.fixed[family].Load(), 0
		}
	}
	if t.policy == nil {
		return nil, 0
	}
	if t.health != st.state.health {
		t = newSteered(st, t.policy, t.family)
		at.steer[family].Store(t)
	}
	if t.table == nil {
		return w.bySet(t, at, zx, name, family)
	}
	list, bits := t.table.Lookup(st.addr())
	b := t.lists[list].Load()
	if b == nil {
		if b, _ = w.bySet(t, at, zx, name, family); b != nil {
			t.lists[list].Store(b)
		}
	}
	return b, bits
}

func newSteered(st *steering, p *steer.Policy, family int) *steered {
	t := &steered{health: st.state.health, config: st.state.config, policy: p, family: family}
	if table := p.Deciding(t.health); table != nil && table.Lists() <= maxLists {
		t.table, t.lists = table, make([]atomic.Pointer[body], table.Lists())
	}
	return t
}

// packAddress finds out what a name's addresses depend on. It returns nil where they are the same for everybody, and are
// packed then.
func (x *nameIndex) packAddress(zx *zoneIndex, st *steering, name []byte, family typeSet) *steered {
	b, r := zx.resolve(st, name, quick[family])
	t := &steered{config: st.state.config, health: st.state.health}
	switch {
	case b == nil || !r.steady(x, b):
	case r.asked == 0:
		x.fixed[family].Store(b)
		return nil
	default:
		t = newSteered(st, st.state.config.policies[r.host], r.family())
	}
	x.steer[family].Store(t)
	return t
}

// bySet answers with what is kept for the set that the client gets, and keeps it.
func (w *worker) bySet(t *steered, at *nameIndex, zx *zoneIndex, name []byte, family typeSet) (*body, uint8) {
	st := &w.st
	set, bits := t.policy.Pick(st.addr(), t.family, t.health)
	if set < fewSets && t.few[set] != nil {
		return t.few[set], bits
	}
	b, known := t.more[set]
	if known || len(t.more) >= maxSets {
		return b, bits
	}
	b, r := zx.resolve(st, name, quick[family])
	if b != nil && !r.steady(at, b) {
		b = nil
	}
	// What another reader keeps at the same time may be lost; it is made again when it is asked for.
	at.steer[family].Store(t.with(set, b))
	return b, bits
}

// with returns a copy with one more answer.
func (t *steered) with(set steer.SetID, b *body) *steered {
	next := *t
	if set < fewSets && b != nil {
		next.few[set] = b
		return &next
	}
	next.more = map[steer.SetID]*body{set: b}
	maps.Copy(next.more, t.more)
	return &next
}

// recorder notes which steered host a resolution asked for.
type recorder struct {
	*steering
	asked int
	host  string
	qtype uint16
}

func (r *recorder) Steer(host, owner string, qtype uint16) []dns.RR {
	r.asked++
	r.host, r.qtype = host, qtype
	return r.steering.Steer(host, owner, qtype)
}

func (r *recorder) family() int {
	if r.qtype == dns.TypeAAAA {
		return 6
	}
	return 4
}

// steady reports whether all that the body depends on is the set of the one host that was asked for. What a wildcard's
// alias leads to may be the name asked for itself, so it is not the same for all names.
func (r *recorder) steady(x *nameIndex, b *body) bool {
	return (!x.wildcard || b.alone) && (r.asked == 0 || r.asked == 1 && (r.qtype == dns.TypeA || r.qtype == dns.TypeAAAA))
}
