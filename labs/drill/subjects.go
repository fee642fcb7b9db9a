package drill

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/catchment-net/catchment/internal/conf"
	"github.com/catchment-net/catchment/labs"
)

// rule says what a verb takes.
type rule struct {
	hosts, processes, links, origins bool
	arg                              bool // how much, behind the subject
}

func ruleOf(v labs.Verb) rule {
	switch v {
	case labs.Kill, labs.Freeze:
		return rule{hosts: true, processes: true, origins: true}
	case labs.Cut, labs.Blackhole:
		return rule{links: true}
	case labs.Slow:
		return rule{links: true, origins: true, arg: true}
	case labs.Lossy:
		return rule{links: true, arg: true}
	case labs.Skew:
		return rule{hosts: true, arg: true}
	case labs.Heal:
		return rule{hosts: true, processes: true, links: true, origins: true}
	}
	return rule{hosts: true}
}

// The bounds of arguments: beyond them nothing is left to measure.
const (
	maxSlow = 10 * time.Second
	maxSkew = 24 * time.Hour
)

// wrongArg says what is wrong with a verb's argument, or "".
func wrongArg(v labs.Verb, arg string) string {
	d, err := time.ParseDuration(arg)
	switch v {
	case labs.Slow:
		if err != nil || d <= 0 || d > maxSlow {
			return fmt.Sprintf("write a time above 0s and up to %v, such as 200ms", maxSlow)
		}
	case labs.Skew:
		if err != nil || d == 0 || d.Abs() > maxSkew {
			return fmt.Sprintf("write a time other than 0s and up to %v either way, such as 90s or -90s", maxSkew)
		}
	case labs.Lossy:
		digits, ok := strings.CutSuffix(arg, "%")
		p, err := strconv.ParseFloat(digits, 64)
		if !ok || err != nil || math.IsNaN(p) || p <= 0 || p > 100 {
			return "write a percentage above 0% and up to 100%, such as 30%"
		}
	}
	return ""
}

// fault reads "VERB SUBJECT [ARG]". A link may be written with its ends in either order; the fault has its name as the
// topology writes it.
func (r *reader) fault(v conf.Value, text string) (labs.Fault, bool) {
	words := strings.Fields(text)
	if len(words) == 0 {
		return labs.Fault{}, false
	}
	f := labs.Fault{Verb: labs.Verb(words[0])}
	if !slices.Contains(verbs(), words[0]) {
		v.Fail(fmt.Sprintf("unknown verb %q", words[0]), suggest(words[0], "verb", verbs()))
		return f, false
	}
	takes, words := ruleOf(f.Verb), words[1:]
	if takes.arg {
		if n := len(words); n > 1 {
			f.Arg, words = words[n-1], words[:n-1]
		}
		if fix := wrongArg(f.Verb, f.Arg); fix != "" {
			v.Fail(fmt.Sprintf("argument %q of %s", f.Arg, f.Verb), fix)
			return f, false
		}
	}
	f.Subject = strings.Join(words, " ")
	known, kind := r.subjects(takes)
	if name, ok := r.linkNamed(f.Subject); ok && takes.links {
		f.Subject = name
	} else if !slices.Contains(known, f.Subject) {
		v.Fail(fmt.Sprintf("%s of unknown %s %q", f.Verb, kind, f.Subject), suggest(f.Subject, kind, known))
		return f, false
	}
	return f, true
}

// subjects are all names that a verb takes, and what they are in a message.
func (r *reader) subjects(takes rule) (names []string, kind string) {
	kind = "subject"
	if takes.hosts {
		names = r.hosts(takes.processes)
	}
	if takes.links {
		for _, l := range r.d.topo.Internet.Links {
			names = append(names, l.Name())
		}
	}
	if takes.origins {
		for _, o := range r.d.topo.Internet.Origins {
			names = append(names, o.Host)
		}
	}
	if !takes.hosts && !takes.origins {
		kind = "link"
	}
	return names, kind
}

// linkNamed is the name of the link between the two ends that a text names in either order.
func (r *reader) linkNamed(text string) (string, bool) {
	words := strings.Fields(text)
	if len(words) != 3 || words[1] != "->" && words[1] != "--" {
		return "", false
	}
	for _, l := range r.d.topo.Internet.Links {
		if l.A == words[0] && l.B == words[2] || l.A == words[2] && l.B == words[0] {
			return l.Name(), true
		}
	}
	return "", false
}

// hosts are the lets, POPs and nodes, and where a process may be meant, the processes of the nodes.
func (r *reader) hosts(processes bool) []string {
	var names []string
	for _, l := range r.d.Lets {
		names = append(names, l.Name)
	}
	for _, p := range r.d.topo.POPs {
		names = append(names, p.Name)
	}
	for _, n := range r.d.topo.Nodes() {
		names = append(names, n.Name)
		for _, process := range []string{"hub", "dnsd", "popd", "bgpd"} {
			if processes {
				names = append(names, n.Name+"/"+process)
			}
		}
	}
	return names
}
