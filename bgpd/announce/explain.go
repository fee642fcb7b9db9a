package announce

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/catchment-net/catchment/health"
	"github.com/catchment-net/catchment/topology"
)

// Condition is one thing that a decision rests on, as it is now.
type Condition struct {
	What  string    `json:"what"`           // "service web", "POP nyc", "flap budget" …
	OK    bool      `json:"ok"`             // it speaks for announcing as usual; of another POP: it is counted on
	Value string    `json:"value"`          // what it is, for people
	Since time.Time `json:"since,omitzero"` // since when it is so, where that is known
}

// Explain says why an anycast prefix is announced or not: the decision of Decide, and the chain of conditions in the order
// in which the rules ask them. False is for a prefix that is not in the topology.
func Explain(in Input, p netip.Prefix) (Want, []Condition, bool) {
	wants := Decide(in).Wants
	i := slices.IndexFunc(wants, func(w Want) bool { return w.Prefix == p })
	if i < 0 {
		return Want{}, nil, false
	}
	if !wants[i].Anycast {
		return wants[i], []Condition{{What: "unicast", OK: true, Value: "announced as long as the node speaks BGP"}}, true
	}
	g := newGroup(&in, servicesOf(in.Topology), p)
	all := append(g.ownConditions(), g.wishes()...)
	all = append(all, g.others()...)
	return wants[i], append(all, g.book(in.Drains[p])...), true
}

// ownConditions are the node's own services.
func (g *group) ownConditions() []Condition {
	var all []Condition
	own := ownServices(g.in)
	for i, s := range health.Services {
		if !g.inside[i] {
			continue
		}
		v := own[s]
		value := v.State.String()
		if v.Cause.Text != "" {
			value += ", " + className(v.Cause.Class) + ": " + v.Cause.Text
		}
		all = append(all, Condition{What: "service " + string(s), OK: v.State == health.Up || v.State == health.Degraded, Value: value, Since: v.Cause.Since})
	}
	if len(all) == 0 {
		all = append(all, Condition{What: "services", OK: true, Value: "no address of dns or web lies in it"})
	}
	value := "not all services were good at the same time yet"
	if g.past.Good {
		value = "all services were good at the same time once"
	}
	return append(all, Condition{What: "first good probe", OK: g.past.Good, Value: value})
}

// className is a class of cause in the words of the rules.
func className(c health.Class) string {
	return [...]string{health.NoCause: "no cause", health.Soft: "soft", health.Hard: "hard", health.Wish: "wish"}[c]
}

// wishes are what people want of the node.
func (g *group) wishes() []Condition {
	why, since, draining := wanted(g.in, g.causes().wish)
	if !draining {
		return []Condition{{What: "wish", OK: true, Value: "nobody wants the clients elsewhere"}}
	}
	return []Condition{{What: "wish", Value: why, Since: since}}
}

// others are the other POPs, each with what keeps it from being counted on, and whether they are enough.
func (g *group) others() []Condition {
	if g.in.Alone {
		return []Condition{{What: "other POPs", OK: true, Value: "not known to this speaker: it asks nobody"}}
	}
	if g.in.View == nil {
		return []Condition{{What: "other POPs", Value: "nothing is known of the fleet yet"}}
	}
	var all []Condition
	for _, p := range g.in.Topology.POPs {
		if p != g.in.Node.POP {
			all = append(all, g.other(p))
		}
	}
	counted := 0
	for _, c := range all {
		if c.OK {
			counted++
		}
	}
	return append(all, Condition{
		What: "min_pops", OK: counted >= g.minPOPs,
		Value: fmt.Sprintf("%d of the other POPs are well and announce it; a POP that is ill leaves to %d", counted, g.minPOPs),
	})
}

func (g *group) other(p *topology.POP) Condition {
	c := Condition{What: "POP " + p.Name}
	var not []string // what is wrong with the node that comes nearest to being counted on
	for i, n := range p.Nodes {
		v := g.in.View.Nodes[n.Name]
		var wrong []string
		for _, test := range []struct {
			ok   bool
			text string
		}{
			{g.claims(v), "does not announce it"},
			{g.fresh(v), "was last heard " + ago(g.in.Now, v.Claimed)},
			{g.well(v), "is not well by its own word"},
			{g.usable(p.Name), "is not well by its observers"},
		} {
			if !test.ok {
				wrong = append(wrong, test.text)
			}
		}
		if i == 0 || len(wrong) < len(not) {
			not = wrong
			c.Since = v.Claimed
			c.Value = "announces it and is well"
			if v.Knows {
				c.Value += "; it has said that it knows how we are"
			}
		}
	}
	if c.OK = len(not) == 0; !c.OK {
		c.Value = strings.Join(not, ", ")
	}
	return c
}

func ago(now, at time.Time) string {
	if at.IsZero() {
		return "never"
	}
	return now.Sub(at).Round(time.Millisecond).String() + " ago"
}

// book is what is remembered of the prefix: its turn, its drain, its flap budget.
func (g *group) book(d Drain) []Condition {
	var all []Condition
	if !g.past.Turn.IsZero() {
		all = append(all, Condition{What: "turn", OK: !g.in.Now.Before(g.past.Turn), Value: "others go first until " + g.past.Turn.UTC().Format(time.RFC3339Nano)})
	}
	if step, since := d.Step(); step != health.NoStep {
		all = append(all, Condition{What: "drain", Value: "at step " + step.String(), Since: since})
	}
	penalty, limit := g.past.PenaltyAt(g.in.Now), g.limit()
	value := fmt.Sprintf("penalty %.0f of %.0f; a withdrawal costs %d", penalty, limit, PenaltyWithdrawal)
	if math.IsInf(limit, 1) {
		value = fmt.Sprintf("penalty %.0f; the neighbours do not damp flaps", penalty)
	}
	return append(all, Condition{What: "flap budget", OK: penalty+PenaltyWithdrawal < limit, Value: value})
}
