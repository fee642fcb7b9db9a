package announce

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/catchment-net/catchment/health"
)

// decision is about all prefixes in which the same services live.
type decision struct {
	state  State
	reason string
	since  time.Time // of the cause
	kept   bool
	early  bool // withdrawn because it was never good yet
	drain  Drain
	next   time.Time
}

// decide applies the rules in the order of their weight: what was never good, what is dead, what is not wanted, what
// looks ill.
func decide(in *Input, inside services, prefixes []netip.Prefix) decision {
	own := ownServices(in)
	var hard, soft, wish, unready []judged
	for i, s := range health.Services {
		if !inside[i] {
			continue
		}
		j := judged{s, own[s]}
		switch {
		case j.State == health.Unknown:
			unready = append(unready, j)
		case j.State == health.Draining:
			wish = append(wish, j)
		case j.State == health.Down && j.Cause.Class == health.Hard:
			hard = append(hard, j)
		case j.State == health.Down && j.Cause.Class == health.Wish:
			wish = append(wish, j)
		case j.State == health.Down:
			soft = append(soft, j)
		}
	}
	if len(unready) > 0 {
		return decision{state: Withdrawn, early: true, reason: fmt.Sprintf("waiting for the first good probe of %s", unready[0].service)}
	}
	var ill string // a cause that was overruled
	if len(hard) > 0 {
		if in.Alone || anybodyElse(in, inside, prefixes) {
			return decision{state: Withdrawn, reason: hard[0].text(), since: hard[0].Cause.Since}
		}
		ill = hard[0].text() + "; the view shows nobody else announcing"
		soft = append(soft, hard...)
	} else if len(soft) > 0 {
		if in.Alone || otherPOP(in, inside, prefixes) {
			if until := hearOthers(in, soft[0].Cause.Since); in.Now.Before(until) {
				return decision{state: Announced, kept: true, reason: soft[0].text() + "; hearing first whether the others are well", since: soft[0].Cause.Since, next: until}
			}
			return decision{state: Withdrawn, reason: soft[0].text(), since: soft[0].Cause.Since}
		}
		ill = soft[0].text() + "; no other healthy POP announces"
	}
	if why, since, draining := wanted(in, wish); draining {
		return shed(in, inside, prefixes, why, since)
	}
	if ill != "" {
		return decision{state: Announced, kept: true, reason: "kept, fail open: " + ill, since: soft[0].Cause.Since}
	}
	return decision{state: Announced, reason: good(own, inside)}
}

// hearOthers is until when a node that looks ill waits before it leaves its clients to the other POPs: what makes it ill,
// say a bad release, may have made all of them ill in the same moment, and then the last one must still be there when
// they have told each other. The first POP of the file does not wait, so that one at least is soon out of the way; a
// cause from the future, of a clock that was set back, is waited for by nobody.
func hearOthers(in *Input, cause time.Time) time.Time {
	if in.Alone || in.Node.POP.Index == 0 || in.Now.Before(cause) {
		return time.Time{}
	}
	return cause.Add(HearFor)
}

// judged is a service of this node with its state.
type judged struct {
	service health.Service
	health.ServiceView
}

func (j judged) text() string {
	if j.Cause.Text == "" {
		return fmt.Sprintf("%s is %s", j.service, j.State)
	}
	return fmt.Sprintf("%s is %s: %s", j.service, j.State, j.Cause.Text)
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
		text += fmt.Sprintf("%s is %s", s, own[s].State)
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

// anybodyElse reports whether any other node, of this POP or another, was last heard to announce all the prefixes. It
// asks for no fresh word: a dead service is withdrawn even where gossip is late.
func anybodyElse(in *Input, inside services, prefixes []netip.Prefix) bool {
	return announced(in, inside, prefixes, func(name string, _ health.NodeView) bool { return name != in.Node.Name })
}

// relieved reports whether another node, of this POP or another, has said so within ClaimAge.
func relieved(in *Input, inside services, prefixes []netip.Prefix) bool {
	return announced(in, inside, prefixes, func(name string, n health.NodeView) bool {
		return name != in.Node.Name && in.Now.Sub(n.Claimed) <= ClaimAge
	})
}

// otherPOP reports whether another POP has said so within ClaimAge.
func otherPOP(in *Input, inside services, prefixes []netip.Prefix) bool {
	return announced(in, inside, prefixes, func(_ string, n health.NodeView) bool {
		return n.POP != in.Node.POP.Name && in.Now.Sub(n.Claimed) <= ClaimAge
	})
}

// announced reports whether for each of the prefixes a node that counts says that it announces it. Nodes of another POP
// that is down in a service that lives there never count: two ill POPs must not both rely on the other.
func announced(in *Input, inside services, prefixes []netip.Prefix, counts func(string, health.NodeView) bool) bool {
	return everyPrefix(prefixes, func(p netip.Prefix) bool {
		for name, n := range in.View.Nodes {
			if counts(name, n) && claims(n, p) && (n.POP == in.Node.POP.Name || usable(in.View, n.POP, inside)) {
				return true
			}
		}
		return false
	})
}

func usable(v *health.View, pop string, inside services) bool {
	for i, s := range health.Services {
		if inside[i] && !v.Usable(pop, s) {
			return false
		}
	}
	return true
}

func claims(n health.NodeView, p netip.Prefix) bool { return slices.Contains(n.Claims, p) }

func everyPrefix(prefixes []netip.Prefix, ok func(netip.Prefix) bool) bool {
	for _, p := range prefixes {
		if !ok(p) {
			return false
		}
	}
	return true
}
