package unbound

import (
	"flag"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/catchment-net/catchment/topology"
)

var update = flag.Bool("update", false, "write the golden files anew")

func options(name string, hints ...string) Options {
	o := Options{
		Dir: "/tmp/lab/unbound/" + name,
		Topology: &topology.Topology{Internet: topology.Internet{Networks: []*topology.Network{
			{Name: "berlin", Prefixes: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/27"), netip.MustParsePrefix("2001:db8:c1::/48")}},
		}}},
		Hints: map[string][]netip.AddrPort{},
	}
	o.Resolver = map[string]*topology.Resolver{
		"ecs":   {Name: "res-de", ECS: true, Addrs: []netip.Addr{netip.MustParseAddr("198.51.100.2"), netip.MustParseAddr("2001:db8:c1::2")}},
		"least": {Name: "res-pt", MinTTL: 10 * time.Second, Addrs: []netip.Addr{netip.MustParseAddr("198.51.100.34")}},
	}[name]
	for _, zone := range hints {
		o.Hints[zone] = []netip.AddrPort{netip.MustParseAddrPort("203.0.113.145:53"), netip.MustParseAddrPort("[2001:db8:e2::1]:53")}
	}
	return o
}

func TestConfIsGolden(t *testing.T) {
	for file, text := range map[string]string{
		"ecs.conf":   Conf(options("ecs", "example.")),
		"least.conf": Conf(options("least", ".")),
		"root.hints": RootHints(options("least", ".").Hints),
	} {
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
			t.Errorf("%s (-want +got); go test ./labs/unbound -update writes it anew:\n%s", file, diff)
		}
	}
}

// unbound itself reads what we write.
func TestUnboundReadsTheConf(t *testing.T) {
	if _, err := exec.LookPath("unbound-checkconf"); err != nil {
		t.Skip("needs unbound-checkconf, of Debian's unbound")
	}
	for _, o := range []Options{options("ecs", "example."), options("least", ".")} {
		o.Dir = t.TempDir()
		file := filepath.Join(o.Dir, "unbound.conf")
		for name, text := range map[string]string{file: Conf(o), filepath.Join(o.Dir, RootFile): RootHints(o.Hints)} {
			if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if out, err := exec.CommandContext(t.Context(), "unbound-checkconf", file).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", o.Resolver.Name, err, out)
		}
	}
}
