package control

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/catchment-net/catchment/internal/conf"
	"github.com/catchment-net/catchment/site"
	"github.com/catchment-net/catchment/topology"
)

// Change is what taking another Snapshot does.
type Change struct {
	Routes  []Difference `json:"routes"`  // what is announced, to whom, and how it is drained
	Answers []Difference `json:"answers"` // what name servers say, and by what health
	Caches  []Difference `json:"caches"`  // what is kept, for how long, and where it comes from
	Lost    []Loss       `json:"lost"`    // POPs that announce less than before
}

// Difference is one thing that is not as it was. Was is empty for what is new, Is for what goes.
type Difference struct {
	Subject string `json:"subject"` // "pop ams", "host www.shop.example"
	Was     string `json:"was,omitempty"`
	Is      string `json:"is,omitempty"`
}

// Loss is what a POP announces no more.
type Loss struct {
	POP      string         `json:"pop"`
	Prefixes []netip.Prefix `json:"prefixes"`
}

// Diff says what taking b in a's place does. What only labs and predictions read is left out.
func Diff(a, b *Snapshot) Change {
	return Change{
		Routes:  differences(routesOf(a.Topology), routesOf(b.Topology)),
		Answers: differences(answersOf(a), answersOf(b)),
		Caches:  differences(cachesOf(a), cachesOf(b)),
		Lost:    lost(a.Topology, b.Topology),
	}
}

// Empty reports whether nothing changes.
func (c Change) Empty() bool { return len(c.Routes)+len(c.Answers)+len(c.Caches)+len(c.Lost) == 0 }

// TooMuch returns why a change is not to be taken without being forced: it takes prefixes from more POPs than the
// topology in force lets go at once (Drain.AtOnce). It is empty for any other change.
func TooMuch(inForce, next *topology.Topology) string {
	gone := lost(inForce, next)
	limit := inForce.Drain.WithDefaults().AtOnce
	if len(gone) <= limit {
		return ""
	}
	var words []string
	for _, l := range gone {
		words = append(words, fmt.Sprintf("%s of %s", joined(l.Prefixes), l.POP))
	}
	return fmt.Sprintf("it withdraws %s: routes of %d POPs, and `drain: {at_once: %d}` allows no more", strings.Join(words, ", "), len(gone), limit)
}

func joined(prefixes []netip.Prefix) string {
	words := make([]string, len(prefixes))
	for i, p := range prefixes {
		words[i] = p.String()
	}
	return strings.Join(words, " ")
}

// lost lists the POPs that announce less by b than by a, in a's order.
func lost(a, b *topology.Topology) []Loss {
	var all []Loss
	for _, p := range a.POPs {
		still := announcedBy(b, b.POP(p.Name))
		var gone []netip.Prefix
		for _, prefix := range announcedBy(a, p) {
			if !slices.Contains(still, prefix) {
				gone = append(gone, prefix)
			}
		}
		next := b.POP(p.Name)
		if next != nil && len(p.Neighbors) > 0 && len(next.Neighbors) == 0 {
			gone = announcedBy(a, p) // to nobody
		}
		if len(gone) > 0 {
			all = append(all, Loss{p.Name, gone})
		}
	}
	return all
}

// announcedBy lists the prefixes that a POP announces when it is well; none for nil.
func announcedBy(t *topology.Topology, p *topology.POP) []netip.Prefix {
	if p == nil || len(p.Nodes) == 0 {
		return nil
	}
	return slices.Concat(p.Unicast, t.Anycast.Prefixes)
}

func differences(was, is map[string]string) []Difference {
	subjects := map[string]bool{}
	for _, facts := range []map[string]string{was, is} {
		for s := range facts {
			subjects[s] = true
		}
	}
	all := []Difference{} // a list in JSON, even if empty
	for _, s := range slices.Sorted(maps.Keys(subjects)) {
		if was[s] != is[s] {
			all = append(all, Difference{s, was[s], is[s]})
		}
	}
	return all
}

// routesOf are the facts that decide what is announced, by their subjects.
func routesOf(t *topology.Topology) map[string]string {
	facts := map[string]string{"asn": strconv.FormatUint(uint64(t.ASN), 10), "drain": ladder(t.Drain), "rpki": origins(t.BGP.RPKI)}
	for _, p := range t.POPs {
		facts["pop "+p.Name] = fmt.Sprintf("announces %s, anycast ones with %d:1:%d", joined(announcedBy(t, p)), t.ASN, p.Index)
		for _, n := range p.Nodes {
			facts["node "+n.Name] = fmt.Sprintf("addresses %s, router id %s", list(n.Addrs), n.RouterID)
		}
		for _, n := range p.Neighbors {
			facts[fmt.Sprintf("neighbor %s of %s", n.Name, p.Name)] = neighbor(n) + ", " + towards(n)
		}
	}
	return facts
}

// answersOf are the facts that decide what name servers answer.
func answersOf(s *Snapshot) map[string]string {
	t := s.Topology
	facts := map[string]string{
		"anycast dns": list(t.Anycast.DNS), "anycast web": list(t.Anycast.Web),
		"health": timing(t.Health),
	}
	for _, p := range t.POPs {
		facts["pop "+p.Name] = fmt.Sprintf("at %s, capacity %s", place(p.At), rate(p.Capacity))
	}
	for _, z := range s.Zones {
		sum := sha256.Sum256(z.Text)
		facts["zone "+z.Origin] = fmt.Sprintf("%d records, digest %s", z.facts.records, hex.EncodeToString(sum[:6]))
	}
	for _, r := range slices.Concat(s.Rules.Prefixes, s.Rules.ASNs, s.Rules.Measured) {
		facts[clientsText(r)] = "to " + strings.Join(r.To, ", then ")
	}
	for _, one := range s.Sites {
		for _, h := range one.Hosts {
			words := choices(h)
			for _, target := range h.Targets {
				words = append(words, "target "+targetText(target))
			}
			facts["host "+h.Name] = strings.Join(words, ", ")
		}
	}
	return facts
}

// choices are what a host says of its steering, without defaults but for way and TTL.
func choices(h *site.Host) []string {
	words := []string{"steer " + string(h.Steer), "ttl " + conf.Span(h.TTL)}
	if len(h.POPs) > 0 {
		words = append(words, "pops "+shares(h.POPs))
	}
	if h.Nearest > 1 {
		words = append(words, "nearest "+strconv.Itoa(h.Nearest))
	}
	if len(h.Fallback) > 0 {
		words = append(words, "fallback "+list(h.Fallback))
	}
	if h.Closed {
		words = append(words, "fail closed")
	}
	return words
}

// cachesOf are the facts that decide what caches keep.
func cachesOf(s *Snapshot) map[string]string {
	facts := map[string]string{}
	for _, p := range s.Topology.POPs {
		facts["shield "+p.Name] = strconv.FormatBool(p.Shield)
	}
	for _, one := range s.Sites {
		subject := "site " + one.Name
		var origins, rules, certificates []string
		for _, t := range one.TLS {
			certificates = append(certificates, certificateText(t))
		}
		for _, o := range one.Origins {
			origins = append(origins, originText(o))
		}
		for _, r := range one.Cache.Rules {
			rules = append(rules, ruleText(r))
		}
		facts[subject+" origin"] = strings.Join(origins, ", ")
		facts[subject+" tls"] = strings.Join(certificates, ", ")
		facts[subject+" key"] = keyText(one.Cache.Key)
		facts[subject+" vary"] = varyText(one.Cache)
		facts[subject+" obey_clients"] = strconv.FormatBool(one.Cache.ObeyClients)
		facts[subject+" stale"] = fmt.Sprintf("if_error %s, while_revalidate %s", conf.Span(one.Cache.Stale.IfError), conf.Span(one.Cache.Stale.WhileRevalidate))
		facts[subject+" rules"] = strings.Join(rules, ", ") // their order counts: the first that matches
	}
	return facts
}

func originText(o site.Origin) string {
	return fmt.Sprintf("{url: %s, weight: %d, backup: %t}", o.URL, o.Weight, o.Backup)
}

func ruleText(r site.Rule) string {
	if r.Never {
		return fmt.Sprintf("{path: %s, store: never}", r.Path)
	}
	return fmt.Sprintf("{path: %s, ttl: %s}", r.Path, conf.Span(r.TTL))
}
