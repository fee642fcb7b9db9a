package drill

import (
	"fmt"
	"slices"
	"strings"
)

// valueType is the type of a term.
type valueType string

const (
	popType      valueType = "a POP"
	durationType valueType = "a duration"
	countType    valueType = "a number"
	shareType    valueType = "a share"
)

// signature says what a function takes and gives.
type signature struct {
	result valueType
	args   []string // kinds, see known; a leading "*" allows the star, a trailing "?" leaves it out
}

func functions() map[string]signature {
	of := []string{"*client", "load?"}
	return map[string]signature{
		"catchment":       {popType, []string{"client", "load"}},
		"dns":             {popType, []string{"client", "load"}},
		"lost":            {countType, of},
		"wrong_bodies":    {countType, of},
		"empty_answers":   {countType, of},
		"outage":          {durationType, of},
		"p50":             {durationType, of},
		"p99":             {durationType, of},
		"hit_ratio":       {shareType, of},
		"share":           {shareType, []string{"pop", "load?"}},
		"through":         {shareType, []string{"pop", "load?"}},
		"disagreement":    {durationType, []string{"*client", "dns load"}},
		"routes":          {countType, []string{"router", "anycast"}},
		"updates":         {countType, []string{"*router"}},
		"flaps":           {countType, []string{"pop"}},
		"withdrawal":      {durationType, []string{"pop"}},
		"seen":            {durationType, []string{"pop", "state"}},
		"attracts":        {durationType, []string{"pop", "down"}},
		"origin_requests": {countType, []string{"origin"}},
	}
}

func functionNames() []string {
	var names []string
	for name := range functions() {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// check finds the first mistake of meaning in a comparison for a window, or nil.
func (d *Drill) check(n *node, w Window) *mistake {
	var types [2]valueType
	for i, side := range n.args {
		t, m := d.typeOf(side, w)
		if m != nil {
			return m
		}
		types[i] = t
	}
	left, right := n.args[0], n.args[1]
	switch {
	case types[0] == durationType && right.kind == numberNode:
		return &mistake{right.col, fmt.Sprintf("%s has no unit", right.text), fmt.Sprintf("write %[1]sms or %[1]ss", right.text)}
	case types[1] == durationType && left.kind == numberNode:
		return &mistake{left.col, fmt.Sprintf("%s has no unit", left.text), fmt.Sprintf("write %[1]sms or %[1]ss", left.text)}
	case types[0] == shareType && right.kind == numberNode:
		return &mistake{right.col, fmt.Sprintf("%s is no share", right.text), "write a percentage such as 60%"}
	case types[1] == shareType && left.kind == numberNode:
		return &mistake{left.col, fmt.Sprintf("%s is no share", left.text), "write a percentage such as 60%"}
	case types[0] != types[1]:
		return &mistake{right.col, fmt.Sprintf("%s is %s, %s is %s", left.text, types[0], right.text, types[1]), "compare two of one kind"}
	case types[0] == popType && n.text != "==" && n.text != "!=":
		return &mistake{n.col, fmt.Sprintf("%q does not compare POPs", n.text), "write == or !="}
	case constant(left) && constant(right):
		return &mistake{left.col, "this comparison measures nothing", "name a function or a count, such as lost == 0"}
	}
	return nil
}

// constant reports whether a term is the same in every run, a let's POP included: it was measured before the clock.
func constant(n *node) bool {
	return n.kind != callNode && (n.kind != nameNode || !slices.Contains(reserved(), n.text))
}

func (d *Drill) typeOf(n *node, w Window) (valueType, *mistake) {
	switch n.kind {
	case numberNode:
		return countType, nil
	case durationNode:
		return durationType, nil
	case shareNode:
		return shareType, nil
	case callNode:
		if m := d.checkCall(n, w); m != nil {
			return "", m
		}
		return functions()[n.text].result, nil
	}
	switch {
	case slices.Contains(reserved(), n.text):
		return countType, nil
	case d.let(n.text), d.topo.POP(n.text) != nil:
		return popType, nil
	}
	if _, is := functions()[n.text]; is {
		return "", &mistake{n.col, fmt.Sprintf("function %q without arguments", n.text), "write " + usage(n.text)}
	}
	known := append(reserved(), d.pops()...)
	fix := suggest(n.text, "name", known)
	return "", &mistake{n.col, fmt.Sprintf("unknown name %q", n.text), fix}
}

// pops are the names that mean a POP.
func (d *Drill) pops() []string {
	var names []string
	for _, l := range d.Lets {
		names = append(names, l.Name)
	}
	for _, p := range d.topo.POPs {
		names = append(names, p.Name)
	}
	return names
}

// usage is how a function is written.
func usage(name string) string {
	var args []string
	for _, a := range functions()[name].args {
		word := strings.Trim(a, "*?")
		if fixed(word) == nil {
			word = strings.ToUpper(word)
		} else {
			word = strings.Join(fixed(word), " or ")
		}
		switch {
		case strings.HasPrefix(a, "*"):
			word += " or *"
		case strings.HasSuffix(a, "?"):
			word = "[" + word + "]"
		}
		args = append(args, word)
	}
	return fmt.Sprintf("%s(%s)", name, strings.Join(args, ", "))
}

func (d *Drill) checkCall(n *node, w Window) *mistake {
	sig, known := functions()[n.text]
	if !known {
		return &mistake{n.col, fmt.Sprintf("unknown function %q", n.text), suggest(n.text, "function", functionNames())}
	}
	need := len(sig.args)
	for _, a := range sig.args {
		if strings.HasSuffix(a, "?") {
			need--
		}
	}
	if len(n.args) < need || len(n.args) > len(sig.args) {
		return &mistake{n.col, fmt.Sprintf("%s with %d arguments", n.text, len(n.args)), "write " + usage(n.text)}
	}
	for i, arg := range n.args {
		if m := d.checkArg(arg, sig.args[i]); m != nil {
			return m
		}
	}
	return d.checkUse(n, w)
}

func (d *Drill) checkArg(arg *node, kind string) *mistake {
	if strings.HasPrefix(kind, "*") && arg.text == "*" {
		return nil
	}
	kind = strings.Trim(kind, "*?")
	known := d.known(kind)
	if !slices.Contains(known, arg.text) {
		if kind == "pop" {
			kind = "POP"
		}
		return &mistake{arg.col, fmt.Sprintf("unknown %s %q", kind, arg.text), suggest(arg.text, kind, known)}
	}
	return nil
}

// fixed are the words that an argument of this kind may be, or nil for names of the topology and the drill.
func fixed(kind string) []string {
	switch kind {
	case "anycast", "down":
		return []string{kind}
	case "state":
		return []string{"down", "draining"}
	}
	return nil
}

// known are all arguments of a kind.
func (d *Drill) known(kind string) []string {
	var names []string
	switch kind {
	case "client":
		return clients(d.topo)
	case "pop":
		return d.pops()
	case "load", "dns load":
		for _, l := range d.Loads {
			if (l.DNS != "") == (kind == "dns load") {
				names = append(names, l.Name)
			}
		}
	case "router":
		for _, n := range d.topo.Internet.Networks {
			names = append(names, n.Name)
		}
	case "origin":
		for _, o := range d.topo.Internet.Origins {
			names = append(names, o.Host)
		}
	default:
		return fixed(kind)
	}
	return names
}

// checkUse finds calls whose evidence can never exist: a client that does not send the load, a withdrawal without a
// fault in the window.
func (d *Drill) checkUse(n *node, w Window) *mistake {
	switch n.text {
	case "withdrawal", "seen":
		if _, ok := d.faultOn(n.args[0].text, w, func(s string) string { return s }); !ok {
			return &mistake{n.col, fmt.Sprintf("nothing is done to %q in this window", n.args[0].text), "choose a window that holds its kill, freeze, drain, or the cut of its link"}
		}
	default:
		if functions()[n.text].args[0] != "client" && functions()[n.text].args[0] != "*client" {
			return nil
		}
		if len(n.args) < 2 || n.args[0].text == "*" {
			return nil
		}
		if l := d.load(n.args[1].text); !sends(l, n.args[0].text) {
			return &mistake{n.args[0].col, fmt.Sprintf("client %q does not send load %q", n.args[0].text, l.Name), "it comes from: " + strings.Join(l.From, ", ")}
		}
	}
	return nil
}

// faultOn is the index of the first step in the window that breaks the POP, one of its nodes or processes, or a link
// of it. resolve maps a let's name to its POP; before the run it is the identity.
func (d *Drill) faultOn(pop string, w Window, resolve func(string) string) (int, bool) {
	pop = resolve(pop)
	for i, s := range d.Steps {
		if s.At < w.From || s.At >= w.To || undoes(s.Fault.Verb) != nil {
			continue
		}
		if d.touches(resolve(s.Fault.Subject), pop) {
			return i, true
		}
	}
	return 0, false
}

// touches reports whether a fault's subject is the POP or a part of it.
func (d *Drill) touches(subject, pop string) bool {
	if subject == pop {
		return true
	}
	for _, l := range d.topo.Internet.Links {
		if l.Name() == subject {
			return l.A == pop || l.B == pop
		}
	}
	name, _, _ := strings.Cut(subject, "/")
	n := d.topo.Node(name)
	return n != nil && n.POP.Name == pop
}
