package announce

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/catchment-net/catchment/health"
	"github.com/catchment-net/catchment/topology"
)

// decision is about all prefixes in which the same services live.
type decision struct {
	state  State
	reason string
	since  time.Time // of the cause
	class  health.Class
	kept   bool
	leftTo []string
	early  bool // withdrawn because it was never good yet
	good   bool // nothing spoke against it
	must   bool // whatever the flap budget says
	drain  Drain
	lonely bool      // kept since too few others were well, and not long since they are
	turn   time.Time // when its turn to leave or to come back is; zero while it waits for none
	next   time.Time

	account Account
}

// causes is what speaks against announcing, of the node's own services.
type causes struct{ hard, soft, wish, unready []judged }

// causes sorts by the class of each cause. A class that is none of these says nothing about this node: it is no cause.
func (g *group) causes() causes {
	var c causes
	own := ownServices(g.in)
	for i, s := range health.Services {
		if !g.inside[i] {
			continue
		}
		j := judged{s, own[s]}
		switch {
		case j.State == health.Unknown:
			c.unready = append(c.unready, j)
		case j.State == health.Draining || j.State == health.Down && j.Cause.Class == health.Wish:
			c.wish = append(c.wish, j)
		case j.State == health.Down && j.Cause.Class == health.Hard:
			c.hard = append(c.hard, j)
		case j.State == health.Down && (j.Cause.Class == health.Soft || g.in.without&ownCauses != 0):
			c.soft = append(c.soft, j)
		}
	}
	return c
}

// decide applies the rules and books what they make.
func (g *group) decide() decision {
	d := g.overtaken(g.judge(g.causes()))
	if d.state == Withdrawn && (d.early || d.class == health.Hard || g.in.Stopping) {
		d.must = true
	}
	return g.enter(d)
}

// judge applies the rules in the order of their weight: what was never good, what is dead, what is not wanted, what
// looks ill.
func (g *group) judge(c causes) decision {
	if d, early := g.early(c); early {
		return d
	}
	ill := decision{state: Announced, good: true} // what is wanted if nobody wishes otherwise
	switch {
	case len(c.hard) > 0:
		if ill = g.hard(c.hard[0]); ill.state == Withdrawn {
			return ill
		}
	case len(c.soft) > 0:
		if ill = g.soft(c.soft[0]); ill.state == Withdrawn {
			return ill
		}
	}
	if why, since, draining := wanted(g.in, c.wish); draining {
		d := g.shed(why, since)
		d.class, d.good, d.next = health.Wish, ill.good && len(c.wish) == 0, earlier(d.next, ill.next)
		d.lonely, d.turn = ill.lonely, ill.turn
		return d
	}
	if ill.good {
		ill.reason = good(ownServices(g.in), g.inside)
	}
	return ill
}

// early holds back what was never good. A service that is new in a prefix which is announced waits for nobody.
func (g *group) early(c causes) (decision, bool) {
	d := decision{state: Withdrawn, early: true}
	switch ill := slices.Concat(c.hard, c.soft, c.wish); {
	case len(c.unready) > 0 && !g.past.Announced():
		d.reason = fmt.Sprintf("waiting for the first good probe of %s", c.unready[0].service)
	case len(ill) > 0 && !g.past.Good && g.in.without&firstGood == 0:
		d.reason = "waiting for the first good probe: " + ill[0].text()
	default:
		return decision{}, false
	}
	return d, true
}

// hard decides on a service that is gone: its prefixes are withdrawn as long as anybody else announces them. Where nobody
// does any more, one that is not dead comes back, and only if none has within a Stagger do the dead.
func (g *group) hard(why judged) decision {
	gone := decision{state: Withdrawn, reason: why.text(), since: why.Cause.Since, class: health.Hard}
	if g.in.Alone || g.anybodyElse() || g.in.without&hardFloor != 0 {
		return gone
	}
	if g.past.Good && !g.past.Announced() {
		if turn := g.turn(min(1, len(g.popsWith(g.mayReturn, anyPOP)))); g.in.Now.Before(turn) {
			gone.reason += "; nobody else announces, and one that is not dead comes back first"
			gone.turn, gone.next = turn, turn
			return gone
		}
	}
	return why.kept("kept, fail open: ", "; the view shows nobody else announcing")
}

// soft decides on a service that looks ill. What makes it ill, say a bad release, may have made all POPs ill in the same
// moment, and then some must stay, and know that they must. Nobody can know that alone, so this node asks: its record
// says that it is ill, and those that are well answer that they have heard so (health.Receipt). One that has answered
// does not count on us, and when it falls ill in its turn it must ask others than us. So of all that are ill, the last
// MinPOPs to become so are answered by too few, and stay; the answers of the others cost them one way to the nearest POPs
// and back.
func (g *group) soft(why judged) decision {
	in := g.in
	gone := decision{state: Withdrawn, reason: why.text(), since: why.Cause.Since, class: health.Soft}
	if in.Alone {
		return gone
	}
	well := g.counted(anyNode)
	if g.past.Good && !g.past.Announced() {
		return g.away(why, gone, well)
	}
	if len(well) < g.minPOPs {
		return g.alone(why, well)
	}
	knowing := g.counted(g.takesOver)
	if len(knowing) < g.minPOPs {
		d := why.kept("", fmt.Sprintf("; asked %s, and too few have answered yet", strings.Join(well, ", ")))
		d.lonely = g.past.Lonely
		return d
	}
	if turn := g.turn(g.rank(g.wantsOut)); in.Now.Before(turn) {
		d := why.kept("", "; another POP leaves first")
		if g.past.Lonely {
			d = why.kept("", "; others are well again, but not long since")
		}
		d.lonely, d.turn, d.next = g.past.Lonely, turn, turn
		return d
	}
	gone.reason += "; left to " + strings.Join(knowing, ", ")
	gone.leftTo = knowing
	return gone
}

// away decides whether what has left for a soft cause stays away. It does while enough others are well; then the first
// by rank comes back, and after each Stagger the next, until enough are well again. Where nobody else announces at all,
// nobody waits.
func (g *group) away(why judged, gone decision, well []string) decision {
	in := g.in
	if len(well) >= g.minPOPs || in.without&comeBack != 0 {
		return gone
	}
	if g.announcedBy(g.fresh) {
		if turn := g.turn(g.rank(g.wentOut)); in.Now.Before(turn) {
			gone.reason += g.short(well) + "; another POP comes back first"
			gone.turn, gone.next = turn, turn
			return gone
		}
	}
	return g.alone(why, well)
}

// alone keeps what looks ill, since too few others are well.
func (g *group) alone(why judged, well []string) decision {
	d := why.kept("kept, fail open: ", g.short(well))
	d.lonely = true
	return d
}

// short says that too few others are well.
func (g *group) short(well []string) string {
	if len(well) == 0 {
		return "; no other healthy POP announces"
	}
	return fmt.Sprintf("; of the %d healthy POPs that must announce there is only %s", g.minPOPs, strings.Join(well, ", "))
}

// turn is when this node may follow the POPs that go before it. It stays as it is once it is known.
func (g *group) turn(before int) time.Time {
	last := g.in.Now.Add(Linger + time.Duration(len(g.in.Topology.POPs))*Stagger) // a clock that was set back makes nobody wait longer
	if t := g.past.Turn; !t.IsZero() && !t.After(last) {
		return t
	}
	from := g.in.Now
	if g.past.Lonely && g.in.without&linger == 0 {
		from = from.Add(Linger)
	}
	return from.Add(time.Duration(before) * Stagger)
}

// judged is a service of this node with its state.
type judged struct {
	service health.Service
	health.ServiceView
}

func (j judged) text() string {
	if j.Cause.Text == "" || j.Cause.Class == health.NoCause {
		return fmt.Sprintf("%s is %s", j.service, j.State)
	}
	return fmt.Sprintf("%s is %s: %s", j.service, j.State, j.Cause.Text)
}

// kept announces against a cause, and says why.
func (j judged) kept(before, after string) decision {
	return decision{state: Announced, kept: true, reason: before + j.text() + after, since: j.Cause.Since}
}

func ownServices(in *Input) map[health.Service]health.ServiceView {
	if in.View == nil {
		return nil
	}
	return in.View.Nodes[in.Node.Name].Services
}

func good(own map[health.Service]health.ServiceView, inside services) string {
	text := ""
	for i, s := range health.Services {
		if !inside[i] {
			continue
		}
		if text != "" {
			text += ", "
		}
		text += judged{s, own[s]}.text()
	}
	if text == "" {
		return "no service of ours lives in it"
	}
	return text
}

// wanted reports whether somebody wants the node's clients elsewhere.
func wanted(in *Input, wish []judged) (why string, since time.Time, draining bool) {
	switch {
	case in.Stopping:
		return "the node is stopping", time.Time{}, true
	case in.View != nil && in.View.Nodes[in.Node.Name].Draining:
		why = in.View.Nodes[in.Node.Name].Why
		if why == "" {
			why = "asked for"
		}
		return "drain: " + why, time.Time{}, true
	case len(wish) > 0:
		return wish[0].text(), wish[0].Cause.Since, true
	}
	return "", time.Time{}, false
}

// relieved reports whether another node, of this POP or another, that is well announces the prefixes and has told us that
// it knows of our drain: two that drain in the same moment must not each count on the other. Once we have gone it is
// enough that one announces. A drain that takes this POP away must leave MinPOPs others.
func (g *group) relieved() bool {
	in := g.in
	if in.without&drainFloor != 0 {
		return true
	}
	gone := !in.Drains[g.prefixes[0]].Gone.IsZero()
	counts := func(n health.NodeView) bool { return g.fresh(n) && g.well(n) && (gone || g.takesOver(n)) }
	if !g.announcedBy(func(n health.NodeView) bool { return counts(n) && (n.POP == in.Node.POP.Name || g.usable(n.POP)) }) {
		return false
	}
	sibling := slices.ContainsFunc(in.Node.POP.Nodes, func(n *topology.Node) bool {
		v := in.View.Nodes[n.Name]
		return n != in.Node && g.claims(v) && counts(v)
	})
	return sibling || len(g.popsWith(func(n health.NodeView) bool { return g.claims(n) && counts(n) }, g.usable)) >= g.minPOPs
}
