package control

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/catchment-net/catchment/geodata"
	"github.com/catchment-net/catchment/internal/conf"
	"github.com/catchment-net/catchment/topology"
)

// readRules reads what overlays the geodata. A name must be a POP's or that of some site's target; t is nil where the
// topology is broken and says nothing of names.
func (s *Snapshot) readRules(t *topology.Topology, label func(string) string) []*conf.Doc {
	var docs []*conf.Doc
	for _, of := range []struct {
		file string
		read func(*conf.Doc, []byte) geodata.Rules
	}{{RulesFile, geodata.ReadRules}, {MeasuredFile, geodata.ReadMeasured}} {
		text, ok := s.Files[of.file]
		if !ok {
			continue
		}
		doc := conf.Plain(label(of.file), text)
		docs = append(docs, doc)
		rules := of.read(doc, text)
		if t != nil {
			s.checkNames(doc, t, &rules)
		}
		s.Rules.Prefixes = append(s.Rules.Prefixes, rules.Prefixes...)
		s.Rules.ASNs = append(s.Rules.ASNs, rules.ASNs...)
		s.Rules.Measured = append(s.Rules.Measured, rules.Measured...)
	}
	return docs
}

func (s *Snapshot) checkNames(doc *conf.Doc, t *topology.Topology, rules *geodata.Rules) {
	var known []string
	for _, p := range t.POPs {
		known = append(known, p.Name)
	}
	for _, one := range s.Sites {
		for _, h := range one.Hosts {
			for _, target := range h.Targets {
				known = append(known, target.Name)
			}
		}
	}
	names := rules.Names()
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if slices.Contains(known, name) {
			continue
		}
		fix := "want the name of a POP, or of a site's target"
		if near := conf.Nearest(name, known); near != "" {
			fix = fmt.Sprintf("did you mean %q?", near)
		}
		doc.Fail(names[name].Line, 0, fmt.Sprintf("%q is neither a POP nor a target", name), fix)
	}
}

// clientsText names a rule without what it says.
func clientsText(r *geodata.Rule) string {
	if r.Measured {
		return "measured clients of " + r.Subject()
	}
	return "clients of " + r.Subject()
}

func (d describer) rules(r *geodata.Rules) {
	if n := len(r.Prefixes) + len(r.ASNs); n > 0 {
		d.line(0, "# %s", RulesFile)
	}
	for _, one := range slices.Concat(r.Prefixes, r.ASNs) {
		d.line(0, "%s,%s", one.Subject(), strings.Join(one.To, ","))
	}
	if n := len(r.Measured); n > 0 {
		d.line(0, "# %s: %d networks", MeasuredFile, n)
	}
}
