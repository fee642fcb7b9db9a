package health

import (
	"cmp"
	"maps"
	"math"
	"net/netip"
	"slices"
	"time"

	"github.com/catchment-net/catchment/topology"
)

// The times of gossiped words (design §5).
const (
	// WordAge is for how long a node's own word, a claim and an observation count. Nodes repeat theirs every 500 ms.
	WordAge = 2 * time.Second
	// refreshEvery is how old the times of claims in a View may get while nothing else changes.
	refreshEvery = 500 * time.Millisecond
	// idleCheck is when to look again if nothing that is known can age.
	idleCheck = time.Hour
)

// Fleet merges what all nodes say with what this node sees itself into a View. It is not safe for concurrent use.
type Fleet struct {
	topo *topology.Topology
	self *topology.Node // nil for a name that the topology does not have
	name string

	incarnation, seq uint64
	own              map[Service]ServiceView
	claims           []netip.Prefix
	progress         Progress
	observed         map[watched]sighting

	heard   map[string]word // the newest record of each other node of the topology
	intents map[string]Intent
	view    *View

	targets targets

	told told // by our own records
	owes bool // a receipt, see Owes
}

// word is a record with the time it came in.
type word struct {
	rec     Record
	at      time.Time
	out     outs
	changed time.Time // when that was other before
}

// watched is a service of a POP as its observers see it.
type watched struct {
	pop     string
	service Service
}

// sighting is the newest verdict on it.
type sighting struct {
	ok   bool
	text string
	at   time.Time
}

// NewFleet returns a Fleet that knows nothing yet; self is the name of this node.
func NewFleet(t *topology.Topology, self string) *Fleet {
	return &Fleet{
		topo: t, self: t.Node(self), name: self,
		own: map[Service]ServiceView{}, observed: map[watched]sighting{},
		heard: map[string]word{}, intents: map[string]Intent{},
	}
}

// SetIncarnation sets the number of this start of the node, which must be higher than at any start before. Without it,
// the time of the first Record in nanoseconds is taken, and a clock that was set back silences the node until it has
// caught up.
func (f *Fleet) SetIncarnation(n uint64) { f.incarnation = n }

// SetOwn notes the state of one of this node's services.
func (f *Fleet) SetOwn(_ time.Time, s Service, v ServiceView) { f.own[s] = v }

// SetClaims notes which anycast prefixes this node announces.
func (f *Fleet) SetClaims(_ time.Time, claims []netip.Prefix) {
	f.claims = slices.Clone(claims)
	slices.SortFunc(f.claims, comparePrefixes)
}

func comparePrefixes(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}

// SetObserved notes what this node's own probe says of a service of another POP. Call it for each verdict: it counts
// for WordAge.
func (f *Fleet) SetObserved(now time.Time, pop string, s Service, ok bool, text string) {
	if f.topo.POP(pop) == nil {
		return
	}
	if ok {
		text = ""
	}
	f.observed[watched{pop, s}] = sighting{ok, text, now}
}

// Record returns this node's own word for gossip. Each call makes a newer one: it is by new ones coming in that others
// know that this node lives.
func (f *Fleet) Record(now time.Time) Record {
	if f.incarnation == 0 {
		f.incarnation = uint64(max(now.UnixNano(), 1))
	}
	f.seq++
	r := Record{
		Node: f.name, Incarnation: f.incarnation, Seq: f.seq,
		Services: map[Service]ServiceView{}, Claims: f.claims, Receipts: f.receipts(), Progress: f.progress,
	}
	maps.Copy(r.Services, f.own)
	if f.self != nil {
		r.Draining, r.Why = f.drained(now, f.name, f.self.POP.Name)
	}
	f.tell(outOf(r.Services, r.Draining))
	for w, s := range f.observed {
		if now.Sub(s.at) <= WordAge {
			r.Observed = append(r.Observed, Observation{
				POP: w.pop, Service: w.service, OK: s.ok, Text: s.text,
				Age: max(now.Sub(s.at), 0).Truncate(time.Millisecond),
			})
		}
	}
	slices.SortFunc(r.Observed, func(a, b Observation) int {
		return cmp.Or(cmp.Compare(a.POP, b.POP), cmp.Compare(a.Service, b.Service))
	})
	return r
}

// Merge takes another node's record and reports whether it is news. Records of nodes that the topology does not have,
// of this node itself, and those that are not newer than the one we have change nothing.
func (f *Fleet) Merge(now time.Time, r Record) bool {
	if r.Node == f.name || f.topo.Node(r.Node) == nil {
		return false
	}
	old, ok := f.heard[r.Node]
	if ok && !r.newer(&old.rec) {
		return false
	}
	w := word{r, now, outOf(r.Services, r.Draining), old.changed}
	if again := ok && r.Incarnation == old.rec.Incarnation; !again || w.out != old.out {
		w.changed = now
		f.owes = f.owes || len(f.claims) > 0 && (w.out.beyond(old.out) || !again && w.out.any())
	}
	f.heard[r.Node] = w
	return true
}

// fresh reports whether a node's word counts.
func (f *Fleet) fresh(now time.Time, node string) bool {
	w, ok := f.heard[node]
	return ok && now.Sub(w.at) <= WordAge
}

// View returns the fleet as it looks at time now. It is the same pointer as long as nothing that a reader acts upon has
// changed; claims that are merely repeated make a new one at most every 500 ms.
func (f *Fleet) View(now time.Time) *View {
	v := &View{Self: f.name, Time: now, POPs: map[string]POPView{}, Nodes: map[string]NodeView{}, Targets: f.downTargets(now)}
	for _, p := range f.topo.POPs {
		for _, n := range p.Nodes {
			v.Nodes[n.Name] = f.nodeView(now, n)
		}
	}
	ballots := f.ballots(now)
	for _, p := range f.topo.POPs {
		v.POPs[p.Name] = f.popView(now, v, p, ballots)
	}
	if f.view != nil && sameView(f.view, v) && (now.Sub(f.view.Time) < refreshEvery || !f.claimsMoved()) {
		return f.view
	}
	if f.view != nil {
		v.Seq = f.view.Seq
	}
	v.Seq++
	f.view = v
	return v
}

// nodeView is what is known of one node: its own word, and the intents on it.
func (f *Fleet) nodeView(now time.Time, n *topology.Node) NodeView {
	nv := NodeView{POP: n.POP.Name, Services: map[Service]ServiceView{}}
	nv.Draining, nv.Why = f.drained(now, n.Name, n.POP.Name)
	if n.Name == f.name {
		maps.Copy(nv.Services, f.own)
		nv.Claims, nv.Claimed, nv.Heard, nv.Progress = f.claims, now, true, f.progress
		return nv
	}
	w, ok := f.heard[n.Name]
	if !ok {
		return nv
	}
	maps.Copy(nv.Services, w.rec.Services)
	nv.Claims, nv.Claimed, nv.Progress = w.rec.Claims, w.at, w.rec.Progress
	nv.Heard = f.fresh(now, n.Name)
	nv.Knows = f.knownTo(now, &w.rec)
	if nv.Heard && w.rec.Draining && !nv.Draining && !f.lifted(now, n.Name) && !f.lifted(now, n.POP.Name) {
		nv.Draining, nv.Why = true, w.rec.Why // by an intent that has not come here yet
	}
	return nv
}

// lifted reports whether an intent on the target is known that is not in force any more: a node that still says that it
// drains has not heard so yet.
func (f *Fleet) lifted(now time.Time, target string) bool {
	i, known := f.intents[target]
	return known && !i.InForce(now)
}

// NextCheck returns when the passing of time alone may change the View: always after now, at most an hour.
func (f *Fleet) NextCheck(now time.Time) time.Time {
	next := now.Add(idleCheck)
	consider := func(t time.Time) {
		if t.After(now) && t.Before(next) {
			next = t
		}
	}
	for _, w := range f.heard {
		consider(w.at.Add(WordAge + 1))
		for _, o := range w.rec.Observed {
			consider(w.at.Add(WordAge - o.Age + 1))
		}
	}
	for _, s := range f.observed {
		consider(s.at.Add(WordAge + 1))
	}
	for _, i := range f.intents {
		consider(i.Expires)
	}
	consider(f.targets.until)
	if f.view != nil && f.claimsMoved() {
		consider(f.view.Time.Add(refreshEvery))
	}
	return next
}

// claimsMoved reports whether a claim was repeated since the present View was made.
func (f *Fleet) claimsMoved() bool {
	for name, n := range f.view.Nodes {
		if w, ok := f.heard[name]; ok && name != f.name && !w.at.Equal(n.Claimed) {
			return true
		}
	}
	return false
}

// sameView compares all but number and times of claims.
func sameView(a, b *View) bool {
	if len(a.POPs) != len(b.POPs) || len(a.Nodes) != len(b.Nodes) || !sameCauses(a.Targets, b.Targets) {
		return false // another topology was adopted
	}
	for name, pa := range a.POPs {
		pb := b.POPs[name]
		if math.Abs(pa.Weight-pb.Weight) > 1e-9 || !sameServices(pa.Services, pb.Services) {
			return false
		}
	}
	for name, na := range a.Nodes {
		nb := b.Nodes[name]
		if na.Draining != nb.Draining || na.Why != nb.Why || na.Heard != nb.Heard || na.Knows != nb.Knows || !na.Progress.same(nb.Progress) ||
			!slices.Equal(na.Claims, nb.Claims) || !sameServices(na.Services, nb.Services) {
			return false
		}
	}
	return true
}

func sameServices(a, b map[Service]ServiceView) bool {
	if len(a) != len(b) {
		return false
	}
	for s, va := range a {
		vb, ok := b[s]
		if !ok || va.State != vb.State || va.Suspect != vb.Suspect || va.Cause.Class != vb.Cause.Class || va.Cause.Text != vb.Cause.Text ||
			!va.Cause.Since.Equal(vb.Cause.Since) {
			return false
		}
	}
	return true
}
