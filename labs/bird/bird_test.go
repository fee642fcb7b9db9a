package bird

import (
	"flag"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/catchment-net/catchment/labs/layout"
	"github.com/catchment-net/catchment/topology"
)

var update = flag.Bool("update", false, "write the golden files anew")

// small has what makes a difference: a POP of two nodes and another beside it at one transit, a prepend, BFD, a peering, a
// POP that buys transit and one that does not, two routers of one AS, both families.
const small = `
asn: 64500
anycast: {prefixes: [192.0.2.0/24, 2001:db8:53::/48], dns: [192.0.2.53], web: [192.0.2.80, 2001:db8:53::80]}
pops:
  ams: {at: AMS, unicast: [203.0.113.0/28, 2001:db8:a1::/48], nodes: 2}
  nyc: {at: NYC, unicast: [203.0.113.16/28, 2001:db8:a2::/48]}
internet:
  router: bird
  networks:
    arc:    {asn: 64496, at: FRA}
    arc2:   {asn: 64496, at: NYC}
    berlin: {asn: 64501, at: BER, users: 30, prefixes: [198.51.100.0/27, 2001:db8:c1::/48]}
  origins:
    origin.example: {in: arc, at: FRA, prefixes: [203.0.113.128/28]}
  links:
    ams -> arc: {delay: 3ms, prepend: 2}
    nyc -> arc: {delay: 40ms}
    arc -- arc2: {delay: 40ms}
    berlin -- nyc: {delay: 5ms, bfd: 50ms}
    berlin -> arc: {delay: 5ms, prepend: 1}
`

func plan(t *testing.T) *layout.Plan {
	t.Helper()
	topo, err := topology.Parse("topology.yaml", []byte(small))
	if err != nil {
		t.Fatal(err)
	}
	p, err := layout.New(topo)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// confs are the configurations of the routers, one of them with BFD.
func confs(t *testing.T) map[string]string {
	t.Helper()
	p, all := plan(t), map[string]string{}
	for _, name := range []string{"arc", "arc2", "berlin"} {
		m := p.Machine(name)
		o := Options{Machine: m, Collector: netip.MustParseAddr("169.254.255.252")}
		all[name] = Conf(o)
	}
	return all
}

func TestConfIsGolden(t *testing.T) {
	for name, text := range confs(t) {
		path := filepath.Join("testdata", name+".bird.conf")
		if *update {
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), text); diff != "" {
			t.Errorf("%s (-want +got); go test ./labs/bird -update writes it anew:\n%s", path, diff)
		}
	}
}

// BIRD itself reads what we write.
func TestBIRDReadsTheConf(t *testing.T) {
	bird, err := exec.LookPath("bird")
	if err != nil {
		t.Skip("needs BIRD 2 (apt-get install -y bird2)")
	}
	for name, text := range confs(t) {
		file := filepath.Join(t.TempDir(), "bird.conf")
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.CommandContext(t.Context(), bird, "-p", "-c", file).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}

func TestNodesOfAPOPShareARank(t *testing.T) {
	p := plan(t)
	got := map[string]int{}
	for m, r := range rank(p.Machine("arc")) {
		got[m.Name] = r
	}
	// By router id: 10.0.0.2, 10.0.0.3, 203.0.113.1 and .2, 203.0.113.17.
	if diff := cmp.Diff(map[string]int{"arc2": 1, "berlin": 2, "ams1": 3, "ams2": 3, "nyc1": 5}, got); diff != "" {
		t.Errorf("ranks (-want +got):\n%s", diff)
	}
}

func TestWithoutACollectorNobodyListens(t *testing.T) {
	if text := Conf(Options{Machine: plan(t).Machine("berlin")}); strings.Contains(text, "collector") {
		t.Errorf("a collector is in\n%s", text)
	}
}
