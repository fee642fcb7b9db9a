package announce

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"time"

	"github.com/catchment-net/catchment/health"
	"github.com/catchment-net/catchment/topology"
)

// The simulation: nodes that decide by their own fleet views, gossip that takes its time and may be cut, and a wire that
// carries what is decided in the same instant. Time is virtual, and all chance comes from one seed.

// recordEvery is how often a node repeats its record, as package node has it.
const recordEvery = 500 * time.Millisecond

// sim is a network whose nodes run.
type sim struct {
	topo    *topology.Topology
	rnd     *rand.Rand
	now     time.Time
	queue   events
	nodes   []*simNode
	delay   func(from, to *simNode) time.Duration
	loss    float64
	every   time.Duration   // between two records of a node
	cut     map[string]bool // POPs that gossip does not reach
	without rule

	up       bool // the prefix was announced once
	gone     time.Time
	deaths   int           // hard ones so far
	absent   time.Duration // the longest time that no node announced a prefix
	changes  int
	problems []string
}

type simNode struct {
	*topology.Node
	fleet    *health.Fleet
	dead     bool
	good     bool // its service was well once
	view     *health.View
	web      health.ServiceView
	ledger   map[netip.Prefix]Account
	drains   map[netip.Prefix]Drain
	wants    map[netip.Prefix]Want
	claimed  int
	foreign  bool // what ails the service is not its own
	wake     time.Time
	left     time.Time // of the last withdrawal
	flaps    float64   // the penalty as a neighbour counts it
	counted  time.Time
	pardoned bool // it went over its budget for a reason that goes before it
}

// moment is something that happens.
type moment struct {
	at time.Time
	no int
	do func()
}

type events struct {
	all []moment
	no  int
}

func (e *events) Len() int { return len(e.all) }
func (e *events) Less(i, j int) bool {
	a, b := e.all[i], e.all[j]
	return a.at.Before(b.at) || a.at.Equal(b.at) && a.no < b.no
}
func (e *events) Swap(i, j int) { e.all[i], e.all[j] = e.all[j], e.all[i] }
func (e *events) Push(x any)    { e.all = append(e.all, x.(moment)) }
func (e *events) Pop() any {
	last := e.all[len(e.all)-1]
	e.all = e.all[:len(e.all)-1]
	return last
}

// small has POPs of the given numbers of nodes, and one prefix of each family with the web service in it.
func small(nodes ...int) *topology.Topology {
	t := &topology.Topology{ASN: 64500, Anycast: topology.Anycast{
		Prefixes: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8:53::/48")},
		Web:      []netip.Addr{netip.MustParseAddr("192.0.2.80"), netip.MustParseAddr("2001:db8:53::80")},
	}}
	for i, count := range nodes {
		p := &topology.POP{Name: string(rune('a' + i)), Index: i}
		for j := range count {
			p.Nodes = append(p.Nodes, &topology.Node{Name: fmt.Sprintf("%s%d", p.Name, j+1), POP: p})
		}
		t.POPs = append(t.POPs, p)
	}
	return t
}

func newSim(seed uint64, without rule, delay time.Duration, nodes ...int) *sim {
	s := newNet(seed, without, delay, nodes...)
	for i, node := range s.nodes {
		s.after(time.Duration(i)*time.Millisecond, func() { s.become(node, health.Up, health.NoCause) })
	}
	s.run(700 * time.Millisecond)
	if len(s.problems) > 0 || !s.up {
		panic(fmt.Sprintf("the network does not come up: %v", s.problems))
	}
	s.changes, s.absent = 0, 0
	return s
}

// newNet has nodes whose services have not answered a probe yet.
func newNet(seed uint64, without rule, delay time.Duration, nodes ...int) *sim {
	s := &sim{topo: small(nodes...), rnd: rand.New(rand.NewPCG(seed, 1)), now: epoch, cut: map[string]bool{}, without: without, every: recordEvery}
	s.delay = func(*simNode, *simNode) time.Duration { return delay }
	for i, n := range s.topo.Nodes() {
		node := &simNode{Node: n, fleet: health.NewFleet(s.topo, n.Name)}
		node.fleet.SetIncarnation(1)
		s.nodes = append(s.nodes, node)
		s.after(time.Duration(i)*time.Millisecond, func() { s.repeat(node) })
	}
	return s
}

func (s *sim) after(d time.Duration, do func()) {
	s.queue.no++
	heap.Push(&s.queue, moment{s.now.Add(d), s.queue.no, do})
}

// run lets time pass.
func (s *sim) run(d time.Duration) {
	end := s.now.Add(d)
	for len(s.queue.all) > 0 && !s.queue.all[0].at.After(end) {
		m := heap.Pop(&s.queue).(moment)
		s.now = m.at
		m.do()
	}
	s.now = end
	s.look()
}

func (s *sim) repeat(n *simNode) {
	if n.dead {
		return
	}
	s.send(n)
	s.after(s.every, func() { s.repeat(n) })
}

// kill takes a whole node away: its routes go with its sessions, and it says nothing any more.
func (s *sim) kill(n *simNode) {
	s.deaths++
	n.dead, n.wants = true, nil
	s.look()
}

// send gossips a node's record. A message that a partition meets at either end is lost.
func (s *sim) send(n *simNode) {
	r := n.fleet.Record(s.now)
	for _, to := range s.nodes {
		if to == n || s.parted(n, to) || s.loss > 0 && s.rnd.Float64() < s.loss {
			continue
		}
		s.after(s.delay(n, to), func() {
			if s.parted(n, to) || to.dead || !to.fleet.Merge(s.now, r) {
				return
			}
			owes := to.fleet.Owes()
			if to.fleet.View(s.now) != to.view { // as node's judge does
				s.step(to)
			}
			if owes {
				s.send(to)
			}
		})
	}
}

func (s *sim) parted(a, b *simNode) bool {
	return a.POP != b.POP && s.cut[a.POP.Name] != s.cut[b.POP.Name]
}

// suspect is a node whose service has failed a probe.
func (s *sim) suspect(n *simNode) {
	if n.web.State != health.Up || n.web.Suspect {
		return
	}
	n.web.Suspect = true
	n.fleet.SetOwn(s.now, health.Web, n.web)
	s.step(n)
	s.send(n)
}

// become changes how a node's service is.
func (s *sim) become(n *simNode, state health.State, class health.Class) {
	if n.web.State == state && n.web.Cause.Class >= class && !n.web.Suspect {
		return
	}
	if class == health.Hard {
		s.deaths++
	}
	n.web = health.ServiceView{State: state, Cause: health.Cause{Class: class, Text: "it failed", Since: s.now}}
	n.good = n.good || state == health.Up
	n.fleet.SetOwn(s.now, health.Web, n.web)
	s.step(n)
	s.send(n)
}

// wish drains a node or a POP, or lifts that, from one node; the others hear of it as they hear of records.
func (s *sim) wish(from *simNode, target string, drain bool) {
	i := from.fleet.SetIntent(s.now, health.Intent{Target: target, Kind: health.IntentDrain, Why: "new kernel", Lifted: !drain})
	s.step(from)
	s.send(from)
	for _, to := range s.nodes {
		s.tellIntent(from, to, i)
	}
}

func (s *sim) tellIntent(from, to *simNode, i health.Intent) {
	if to == from {
		return
	}
	s.after(s.delay(from, to), func() {
		if s.parted(from, to) {
			s.after(5*time.Second, func() { s.tellIntent(from, to, i) }) // by a full exchange
		} else if to.fleet.MergeIntent(s.now, i) {
			s.step(to)
			s.send(to)
		}
	})
}

// step decides for a node and puts it on the wire.
func (s *sim) step(n *simNode) {
	n.view = n.fleet.View(s.now)
	out := Decide(Input{Topology: s.topo, Node: n.Node, View: n.view, Now: s.now, Drains: n.drains, Ledger: n.ledger, without: s.without})
	n.drains, n.ledger = out.Drains, out.Ledger
	wants := make(map[netip.Prefix]Want, len(out.Wants))
	for _, w := range out.Wants {
		wants[w.Prefix] = w
	}
	four, six := out.Wants[0], out.Wants[1]
	if four.State != six.State {
		s.problem("families apart", "%s: %s and %s", n.Name, four.State, six.State)
	}
	if four.Reason == "" {
		s.problem("no reason", "%s is %s", n.Name, four.State)
	}
	s.count(n, n.wants[four.Prefix].State, four)
	n.wants = wants
	s.look()
	if claims := out.Claims(); len(claims) != n.claimed {
		n.claimed = len(claims)
		n.fleet.SetClaims(s.now, claims)
		s.after(0, func() { s.step(n); s.send(n) })
	}
	next := n.fleet.NextCheck(s.now)
	if !out.Next.IsZero() && out.Next.Before(next) {
		next = out.Next
	}
	if n.wake.After(s.now) && !next.Before(n.wake) {
		return
	}
	n.wake = next
	s.after(max(next.Sub(s.now), 0), func() {
		if n.wake.Equal(next) && !n.dead {
			s.step(n)
		}
	})
}

// count keeps the books that a neighbour keeps, and checks a change against what may happen.
func (s *sim) count(n *simNode, was State, w Want) {
	if was == "" {
		was = Withdrawn
	}
	if was == w.State {
		return
	}
	s.changes++
	n.flaps = Account{Penalty: n.flaps, At: n.counted}.PenaltyAt(s.now)
	n.counted = s.now
	switch {
	case w.State == Withdrawn:
		if n.foreign {
			s.problem("not its own", "%s left: %s", n.Name, w.Reason)
		}
		n.flaps += PenaltyWithdrawal
		n.left = s.now
	case was != Withdrawn:
		n.flaps += PenaltyAttributes
		n.pardoned = true // an operator asked for it
	default:
		n.pardoned = n.flaps >= topology.DefaultFlapBudget-PenaltyWithdrawal // it came back all the same: that must have a reason
	}
	if !n.good && w.State != Withdrawn {
		s.problem("too early", "%s is %s (%s)", n.Name, w.State, w.Reason)
	}
	back := was == Withdrawn // costs nothing
	pardoned := n.pardoned && w.State == Withdrawn && n.web.Cause.Class == health.Hard || strings.HasPrefix(w.Reason, "drain: ")
	if n.flaps >= topology.DefaultFlapBudget && !back && !pardoned {
		s.problem("flap penalty", "%s: %.0f when %s (%s)", n.Name, n.flaps, w.State, w.Reason)
	}
}

// look measures how long the prefix has been gone.
func (s *sim) look() {
	there := false
	for _, n := range s.nodes {
		if w := n.wants[s.topo.Anycast.Prefixes[0]]; w.State == Announced || w.State == GSHUT {
			there = true
		}
	}
	switch {
	case there:
		if !s.gone.IsZero() {
			s.miss()
		}
		s.up, s.gone = true, time.Time{}
	case s.up && s.gone.IsZero():
		s.gone = s.now
	case s.up:
		s.miss()
	}
}

func (s *sim) miss() {
	s.absent = max(s.absent, s.now.Sub(s.gone))
	if s.deaths == 0 && s.absent > 0 {
		s.problem("absent", "for %v", s.now.Sub(s.gone))
	}
}

func (s *sim) problem(kind, format string, args ...any) {
	if len(s.problems) < 3 {
		s.problems = append(s.problems, fmt.Sprintf("%s at %v: %s", kind, s.now.Sub(epoch), fmt.Sprintf(format, args...)))
	}
}
