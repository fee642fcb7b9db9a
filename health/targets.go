package health

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// The addresses of sites' own targets are probed by a few nodes for all:
//
//	rendezvous ─► 3 nodes of 3 POPs probe an address ─► Tracker ─► sights ─gossip─► every node: what most of them see
//
// So an address is asked a few times in a second by the whole fleet, not by each name server, and all name servers have
// one opinion of it. A node that falls silent is replaced by the next in the order.

// MaxChecks is how many addresses one configuration may have probed, all sites together.
const MaxChecks = 1024

// check is one address that is probed, with what is known of it.
type check struct {
	id    string
	key   uint64
	votes map[string]vote // by node, this one included
}

// vote is one node's opinion.
type vote struct {
	ok               bool
	text             string // why not
	at               time.Time
	incarnation, seq uint64
}

// targets is the part of a Fleet that knows checks.
type targets struct {
	checks []*check
	byKey  map[uint64]*check
	seq    uint64 // of our own sights

	down  map[string]Cause // what the last reading of the votes said
	stale bool             // a vote has changed since
	until time.Time        // when the first vote that counted then ages out; zero: none does
}

// SetChecks names what is to be probed in the whole fleet, by site.Check.ID. What is known of those that stay is kept.
func (f *Fleet) SetChecks(ids []string) {
	t := targets{byKey: map[uint64]*check{}, seq: f.targets.seq, down: f.targets.down, stale: true}
	for _, id := range ids[:min(len(ids), MaxChecks)] {
		key := Rendezvous(id, "")
		c := f.targets.byKey[key]
		if c == nil || c.id != id {
			c = &check{id: id, key: key, votes: map[string]vote{}}
		}
		t.checks, t.byKey[key] = append(t.checks, c), c
	}
	f.targets = t
}

// Voices are the nodes whose word counts now, this one included, in the order of their names: those among whom checks are
// divided.
func (f *Fleet) Voices(now time.Time) []string {
	voices := []string{f.name}
	for name := range f.heard {
		if f.fresh(now, name) {
			voices = append(voices, name)
		}
	}
	slices.Sort(voices)
	return voices
}

// Assigned are the checks that fall to this node when the voices are those: it is the first of its POP in the order of
// rendezvous hashing, and at most two other POPs have one before it.
func (f *Fleet) Assigned(voices []string) []string {
	type seat struct {
		name, pop string
		hash      uint64
	}
	popOf := func(name string) string {
		if n := f.topo.Node(name); n != nil {
			return n.POP.Name
		}
		return ""
	}
	self := seat{f.name, popOf(f.name), Rendezvous(f.name, "")}
	var others []seat // POP by POP
	for _, name := range voices {
		if name != f.name {
			others = append(others, seat{name, popOf(name), Rendezvous(name, "")})
		}
	}
	slices.SortStableFunc(others, func(a, b seat) int { return strings.Compare(a.pop, b.pop) })
	mine := func(c *check) bool {
		own, ahead, last := blend(self.hash^c.key), 0, ""
		for _, s := range others {
			score := blend(s.hash ^ c.key)
			if score < own || score == own && s.name > self.name {
				continue
			}
			if s.pop == self.pop {
				return false
			}
			if ahead == 0 || s.pop != last {
				ahead, last = ahead+1, s.pop
			}
		}
		return ahead < observersPerPOP
	}
	var own []string
	for _, c := range f.targets.checks {
		if mine(c) {
			own = append(own, c.id)
		}
	}
	return own
}

// SetSight notes what this node's own probes say of a check, and reports whether that is news to others.
func (f *Fleet) SetSight(now time.Time, id string, ok bool, text string) (news bool) {
	c := f.targets.byKey[Rendezvous(id, "")]
	if c == nil || c.id != id {
		return false
	}
	if ok {
		text = ""
	}
	was, had := c.votes[f.name]
	news = !had || was.ok != ok
	f.targets.stale = f.targets.stale || news || was.text != text
	c.votes[f.name] = vote{ok: ok, text: text, at: now}
	return news
}

// Unsight forgets this node's opinion of a check, which others make now.
func (f *Fleet) Unsight(id string) {
	if c := f.targets.byKey[Rendezvous(id, "")]; c != nil {
		delete(c.votes, f.name)
		f.targets.stale = true
	}
}

// MergeSights takes what another node's probes say, and reports whether it changed anything. Of checks that our
// configuration does not have it says nothing.
func (f *Fleet) MergeSights(now time.Time, s Sights) (news bool) {
	if s.Node == f.name || f.topo.Node(s.Node) == nil {
		return false
	}
	for _, one := range s.List {
		c := f.targets.byKey[one.Key]
		if c == nil {
			continue
		}
		was, had := c.votes[s.Node]
		if had && (s.Incarnation < was.incarnation || s.Incarnation == was.incarnation && s.Seq < was.seq) {
			continue
		}
		news = news || !had || was.ok != one.OK || was.text != one.Text
		c.votes[s.Node] = vote{one.OK, one.Text, now, s.Incarnation, s.Seq}
	}
	f.targets.stale = f.targets.stale || news
	return news
}

// TargetsKnown reports whether of every check at least one node says how it is.
func (f *Fleet) TargetsKnown(now time.Time) bool {
	for _, c := range f.targets.checks {
		known := false
		for name, v := range c.votes {
			known = known || name == f.name || now.Sub(v.at) <= WordAge
		}
		if !known {
			return false
		}
	}
	return true
}

// downTargets reads the votes: down is what more of those that are heard see fail than well.
func (f *Fleet) downTargets(now time.Time) map[string]Cause {
	t := &f.targets
	if !t.stale && (t.until.IsZero() || now.Before(t.until)) {
		return t.down
	}
	t.stale, t.until = false, time.Time{}
	var down map[string]Cause
	for _, c := range t.checks {
		text, is := f.read(now, c)
		if !is {
			continue
		}
		if down == nil {
			down = map[string]Cause{}
		}
		cause := Cause{Class: Soft, Text: text, Since: now}
		if was, known := t.down[c.id]; known {
			cause.Since = was.Since
		}
		down[c.id] = cause
	}
	t.down = down
	return down
}

// read counts the votes on one check.
func (f *Fleet) read(now time.Time, c *check) (text string, down bool) {
	var failing []string
	heard := 0
	for name, v := range c.votes {
		if ends := v.at.Add(WordAge + 1); name != f.name {
			if !now.Before(ends) || f.topo.Node(name) == nil {
				delete(c.votes, name)
				continue
			}
			if t := &f.targets; t.until.IsZero() || ends.Before(t.until) {
				t.until = ends
			}
		}
		if heard++; !v.ok {
			failing = append(failing, name+": "+v.text)
		}
	}
	if 2*len(failing) <= heard {
		return "", false
	}
	slices.Sort(failing)
	return fmt.Sprintf("%d of %d observers: %s", len(failing), heard, strings.Join(failing, "; ")), true
}

// sameCauses compares but for the clocks behind the times.
func sameCauses(a, b map[string]Cause) bool {
	if len(a) != len(b) {
		return false
	}
	for id, was := range a {
		if is, ok := b[id]; !ok || was.Text != is.Text || !was.Since.Equal(is.Since) {
			return false
		}
	}
	return true
}
