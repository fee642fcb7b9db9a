package frr

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
  networks:
    arc:    {asn: 64496, at: FRA}
    arc2:   {asn: 64496, at: NYC}
    berlin: {asn: 64501, at: BER, users: 30, prefixes: [198.51.100.0/27, 2001:db8:c1::/48]}
  origins:
    origin.example: {in: arc, at: FRA, prefixes: [203.0.113.128/28]}
  links:
    ams -> arc: {delay: 3ms, prepend: 2, bfd: 50ms}
    nyc -> arc: {delay: 40ms}
    arc -- arc2: {delay: 40ms}
    berlin -- nyc: {delay: 5ms}
    berlin -> arc: {delay: 5ms, prepend: 1, bfd: 10ms}
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

func TestConfIsGolden(t *testing.T) {
	p := plan(t)
	for _, name := range []string{"arc", "berlin"} {
		o := Options{Machine: p.Machine(name), Collector: netip.MustParseAddr("169.254.255.252")}
		for file, text := range map[string]string{name + ".frr.conf": Conf(o), name + ".bgpd.conf": BGPConf(o), name + ".zebra.conf": ZebraConf(o), name + ".bfdd.conf": BFDConf(o)} {
			path := filepath.Join("testdata", file)
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
				t.Errorf("%s (-want +got); go test ./labs/frr -update writes it anew:\n%s", file, diff)
			}
		}
	}
}

func TestCollectorMayDial(t *testing.T) {
	o := Options{Machine: plan(t).Machine("berlin"), Collector: netip.MustParseAddr("172.20.20.1")}
	if text := Conf(o); strings.Contains(text, "passive") {
		t.Errorf("the router waits for a collector that does not dial:\n%s", text)
	}
	o.CollectorDials = true
	if text := Conf(o); !strings.Contains(text, " neighbor 172.20.20.1 passive\n") {
		t.Errorf("the router does not wait for the collector:\n%s", text)
	}
}

// FRR itself reads what we write.
func TestFRRReadsTheConf(t *testing.T) {
	const daemons = "/usr/lib/frr/"
	if _, err := os.Stat(daemons + "bgpd"); err != nil || os.Geteuid() != 0 {
		t.Skip("needs root and Debian's frr")
	}
	p := plan(t)
	for _, name := range []string{"arc", "berlin"} {
		o := Options{Machine: p.Machine(name), Collector: netip.MustParseAddr("169.254.255.252")}
		readsConf(t, daemons+"bgpd", name, BGPConf(o), "-n", "-S")
		readsConf(t, daemons+"bfdd", name, BFDConf(o), "--bfdctl", filepath.Join(t.TempDir(), "bfdd.sock"))
	}
}

func readsConf(t *testing.T, daemon, name, text string, more ...string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "a.conf")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	args := []string{"--mount", "sh", "-c", `mount -t tmpfs none /var/tmp && exec "$@"`, "sh", daemon} // where FRR leaves files
	args = append(args, "-C", "-f", file, "-i", file+".pid", "--vty_socket", t.TempDir())
	out, err := exec.CommandContext(t.Context(), "unshare", append(args, more...)...).CombinedOutput()
	if err != nil || strings.Contains(string(out), "No such command") {
		t.Errorf("%s of %s: %v\n%s", daemon, name, err, out)
	}
}
