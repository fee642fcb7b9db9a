package health

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/catchment-net/catchment/topology"
)

// ballot is what the probes of one POP say of a service of another: the newest verdict of each of its nodes.
type ballot struct{ good, bad int }

// fails reports whether most of the POP's nodes see it fail.
func (b ballot) fails() bool { return b.bad > b.good }

// poll is who observes a service, by POP.
type poll struct {
	votes map[string]ballot
	text  map[string]string // of a failing verdict, by POP
}

// ballots gathers all observations that count at time now, those of this node included.
func (f *Fleet) ballots(now time.Time) map[watched]poll {
	polls := map[watched]poll{}
	vote := func(from *topology.Node, w watched, ok bool, text string) {
		p, there := polls[w]
		if !there {
			p = poll{map[string]ballot{}, map[string]string{}}
			polls[w] = p
		}
		b := p.votes[from.POP.Name]
		if ok {
			b.good++
		} else {
			b.bad++
			if old, said := p.text[from.POP.Name]; !said || text < old {
				p.text[from.POP.Name] = text
			}
		}
		p.votes[from.POP.Name] = b
	}
	for name, w := range f.heard {
		for _, o := range w.rec.Observed {
			if now.Sub(w.at)+o.Age <= WordAge {
				vote(f.topo.Node(name), watched{o.POP, o.Service}, o.OK, o.Text)
			}
		}
	}
	if f.self != nil {
		for w, s := range f.observed {
			if now.Sub(s.at) <= WordAge {
				vote(f.self, w, s.ok, s.text)
			}
		}
	}
	return polls
}

// popView judges a POP:
//
//	words of its nodes heard?  observers (majority of those heard)   judgement
//	yes                        most see it fail                      down
//	yes                        split, well, or silent                the words, best node first
//	no                         most see it fail                      down
//	no                         most see it well; split               up; degraded
//	no                         silent, own probe                     what the own probe says
//	no                         silent, no own probe                  unknown, which counts as usable
//
// A node that is cut off from all others sees every other POP fail, hears nobody, and so calls them down; its own POP
// keeps its own word. Those that it left behind see one POP fail.
func (f *Fleet) popView(now time.Time, v *View, p *topology.POP, polls map[watched]poll) POPView {
	pv := POPView{Services: map[Service]ServiceView{}, Weight: f.weight(v, p)}
	for _, s := range Services {
		sv, heard := words(v, p, s)
		if over, ok := f.observers(polls[watched{p.Name, s}], p, heard); ok && (!heard || over.State == Down && sv.State.Usable()) {
			sv = over
		}
		if why, drain := f.popDrain(now, v, p); drain && sv.State.Usable() {
			sv = ServiceView{State: Draining, Cause: Cause{Class: Wish, Text: why}}
		}
		sv.Cause.Since = now
		if f.view != nil {
			if was := f.view.POPs[p.Name].Services[s]; was.State == sv.State && was.Cause.Class == sv.Cause.Class {
				sv.Cause.Since = was.Cause.Since
			}
		}
		sv.Suspect = false // one probe is no judgement
		pv.Services[s] = sv
	}
	return pv
}

// popDrain reports whether all of a POP drains: by an intent on it, or since every node of it that is heard does.
func (f *Fleet) popDrain(now time.Time, v *View, p *topology.POP) (why string, drain bool) {
	if drain, why = f.drained(now, p.Name); drain {
		return why, true
	}
	for _, n := range p.Nodes {
		nv := v.Nodes[n.Name]
		if !nv.Draining {
			return "", false
		}
		why = cmp.Or(why, nv.Why)
	}
	return why, true
}

// words is the state of a service by the words of the POP's nodes; heard is false when there is none.
func words(v *View, p *topology.POP, s Service) (sv ServiceView, heard bool) {
	var best, worst ServiceView
	usable, total := 0, 0
	var worstNode string
	for _, n := range p.Nodes {
		nv := v.Nodes[n.Name]
		said, ok := nv.Services[s]
		if !nv.Heard || !ok {
			continue
		}
		if nv.Draining && said.State.Usable() {
			said = ServiceView{State: Draining, Cause: Cause{Class: Wish, Text: nv.Why}}
		}
		if total == 0 || rank(said.State) < rank(best.State) {
			best = said
		}
		if total == 0 || rank(said.State) > rank(worst.State) {
			worst, worstNode = said, n.Name
		}
		total++
		if said.State.Usable() {
			usable++
		}
	}
	if total == 0 {
		return ServiceView{}, false
	}
	if best.State == Up && usable < len(p.Nodes) {
		text := fmt.Sprintf("%d of %d nodes are healthy", usable, len(p.Nodes))
		if !worst.State.Usable() {
			text += fmt.Sprintf("; %s: %s", worstNode, worst.Cause.Text)
		}
		return ServiceView{State: Degraded, Cause: Cause{Class: Soft, Text: text}}, true
	}
	if best.State == Down {
		best = worst // all are down: the first node's cause, whoever looks
	}
	return best, true
}

// rank orders states from best to worst. Unknown comes after those of which something good is known.
func rank(s State) int {
	switch s {
	case Up:
		return 0
	case Degraded:
		return 1
	case Unknown:
		return 2
	case Draining:
		return 3
	default:
		return 4
	}
}

// observers is the judgement of a POP's observers, or, where none of them is heard, of this node's own probe.
func (f *Fleet) observers(p poll, pop *topology.POP, heard bool) (ServiceView, bool) {
	var failing []string
	well, asked := 0, 0
	count := func(from string) {
		b, ok := p.votes[from]
		if !ok {
			return
		}
		asked++
		if b.fails() {
			failing = append(failing, from+": "+p.text[from])
		} else {
			well++
		}
	}
	for _, o := range Observers(f.topo, pop.Name) {
		count(o)
	}
	if asked == 0 && f.self != nil {
		count(f.self.POP.Name)
	}
	slices.Sort(failing)
	switch {
	case asked == 0:
		return ServiceView{}, false
	case len(failing) > well:
		text := fmt.Sprintf("%d of %d observers: %s", len(failing), asked, strings.Join(failing, "; "))
		return ServiceView{State: Down, Cause: Cause{Class: Soft, Text: text}}, true
	case len(failing) == well:
		return ServiceView{State: Degraded, Cause: Cause{Class: Soft, Text: "observers disagree: " + failing[0]}}, !heard
	}
	return ServiceView{State: Up}, true
}

// weight is the share of a POP's capacity, in requests, that its heard nodes say is healthy. A POP of which nothing is
// heard counts as whole: nobody knows better.
func (f *Fleet) weight(v *View, p *topology.POP) float64 {
	equal := slices.ContainsFunc(p.Nodes, func(n *topology.Node) bool { return n.Capacity <= 0 })
	var healthy, all float64
	heard := false
	for _, n := range p.Nodes {
		c := n.Capacity
		if equal {
			c = 1
		}
		all += c
		nv := v.Nodes[n.Name]
		heard = heard || nv.Heard
		if nv.Heard && nv.Services[Web].State.Usable() && !nv.Draining {
			healthy += c
		}
	}
	if !heard || all == 0 {
		return 1
	}
	return healthy / all
}
