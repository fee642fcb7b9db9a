//go:build linux

package conformance

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// shown is how many differences are printed in full.
const shown = 20

// Where Knot, NSD and BIND agree, we agree with them in every field.
func TestWeAnswerAsKnotNSDAndBIND(t *testing.T) {
	for _, p := range peers() {
		if _, err := exec.LookPath(p.command); err != nil {
			t.Skipf("needs %s (Debian: knot, nsd, bind9)", p.command)
		}
	}
	zones, cases := written(t)
	cases = append(cases, malformed()...)
	for n := range generatedZones {
		z, more := generated(t, n, len(cases))
		zones, cases = append(zones, z), append(cases, more...)
	}
	answers := map[string][][]byte{}
	us := ours(t, zones)
	servers := []server{us}
	for _, p := range peers() {
		servers = append(servers, p.start(t, zones))
	}
	loaded(t, servers, zones)
	for _, s := range servers {
		answers[s.name] = askAll(t, s, cases)
	}
	report(t, servers, cases, answers)
}

// loaded fails for a zone that one server has and another has not: it would compare nothing.
func loaded(t *testing.T, servers []server, zones []zoneFile) {
	t.Helper()
	var cases []queryCase
	for i, z := range zones {
		packet, err := query(z.origin, dns.TypeSOA, i).Pack()
		if err != nil {
			t.Fatal(err)
		}
		cases = append(cases, queryCase{packet: packet})
	}
	for _, s := range servers {
		for i, a := range askAll(t, s, cases) {
			if f := describe(a); f["rcode"] != "NOERROR" || f["aa"] != "1" {
				t.Errorf("%s does not serve %s: %v\n%s", s.name, zones[i].origin, f, zones[i].text)
			}
		}
	}
}

// tally counts the cases of one group.
type tally struct {
	cases, whole int // whole: the peers agree in every field
	core, strict int // right in what they agree on
}

func report(t *testing.T, servers []server, cases []queryCase, answers map[string][][]byte) {
	t.Helper()
	counts := map[string]*tally{}
	var groups []string
	wrong := 0
	for i, c := range cases {
		our := describe(answers["ours"][i])
		var theirs []fields
		for _, s := range servers[1:] {
			theirs = append(theirs, describe(answers[s.name][i]))
		}
		v := judge(our, theirs)
		n := counts[c.group]
		if n == nil {
			n = &tally{}
			counts[c.group] = n
			groups = append(groups, c.group)
		}
		n.cases++
		if v.agreed == len(core)+len(extra) {
			n.whole++
		}
		if !v.core() {
			n.core++
		}
		if len(v.wrong) == 0 {
			n.strict++
			continue
		}
		if wrong++; wrong <= shown {
			var b strings.Builder
			for _, name := range v.wrong {
				b.WriteString("\n  " + name + "\n    ours:  " + strings.ReplaceAll(our[name], "\n", "\n           ") + "\n    peers: " + strings.ReplaceAll(theirs[0][name], "\n", "\n           "))
			}
			t.Errorf("%s: %s:%s", c.group, c.what, b.String())
		}
	}
	var sum tally
	for _, g := range groups {
		n := counts[g]
		t.Logf("%-12s %6d cases, %6d where the peers agree on all fields; ours right: %6d strict, %6d core", g, n.cases, n.whole, n.strict, n.core)
		sum.cases, sum.whole, sum.core, sum.strict = sum.cases+n.cases, sum.whole+n.whole, sum.core+n.core, sum.strict+n.strict
	}
	t.Logf("%-12s %6d cases, %6d where the peers agree on all fields; ours right: %6d strict (%.2f %%), %6d core (%.2f %%)", "all", sum.cases, sum.whole,
		sum.strict, 100*float64(sum.strict)/float64(sum.cases), sum.core, 100*float64(sum.core)/float64(sum.cases))
}

// The cases that are written down are read, whether or not there are peers.
func TestWrittenCasesAreRead(t *testing.T) {
	zones, cases := written(t)
	if len(zones) < 5 || len(cases) < 100 {
		t.Errorf("%d zones and %d cases in %s", len(zones), len(cases), filepath.Join("testdata", "*.txtar"))
	}
}
