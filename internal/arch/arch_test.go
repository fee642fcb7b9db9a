package arch

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func table(t *testing.T) *Arrows {
	t.Helper()
	f, err := os.Open("arrows.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	a, err := Parse(f)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// The whole module keeps its own rules.
func TestModule(t *testing.T) {
	module, packages, err := List(t.Context(), filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	if len(packages) < 10 {
		t.Fatalf("go list found %d packages; this cannot be the whole module", len(packages))
	}
	for _, wrong := range Check(table(t), module, packages) {
		t.Error(wrong)
	}
}

const ours = "github.com/catchment-net/catchment"

// A wrong import planted into a copy of our layout is found, and named with its line and its rule.
func TestPlantedImport(t *testing.T) {
	dir := t.TempDir()
	files := map[string]string{
		"go.mod":               "module " + ours + "\n\ngo 1.26.0\n",
		"popd/popd.go":         "// Package popd caches.\npackage popd\n",
		"gossip/gossip.go":     "// Package gossip carries bytes.\npackage gossip\n",
		"health/health.go":     "// Package health judges.\npackage health\n\nimport _ \"" + ours + "/topology\"\n",
		"topology/topology.go": "// Package topology is the network.\npackage topology\n",
		"dnsd/dnsd.go": "// Package dnsd answers.\npackage dnsd\n\nimport (\n" +
			"\t_ \"" + ours + "/health\"\n\n\t_ \"" + ours + "/popd\"\n)\n",
		"dnsd/dnsd_test.go":         "package dnsd\n\nimport _ \"" + ours + "/gossip\"\n",
		"internal/event/e.go":       "package event\n\nimport _ \"" + ours + "/health\"\n",
		"internal/event/e_other.go": "//go:build plan9\n\npackage event\n\nimport _ \"github.com/osrg/gobgp/v3/pkg/server\"\n",
		"newcomer/n.go":             "// Package newcomer is new.\npackage newcomer\n\nimport _ \"" + ours + "/health\"\n",
		"health/long.go":            "package health\n" + strings.Repeat("\n", maxLines),
	}
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	module, packages, err := List(context.WithoutCancel(t.Context()), dir)
	if err != nil {
		t.Fatal(err)
	}
	a, err := Parse(strings.NewReader(`
dnsd -> health
health -> topology
popd ->
gossip ->
topology ->
internal/event ->
test * -> topology
github.com/osrg/gobgp <- bgpd/speaker
`))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"dnsd/dnsd.go:7: dnsd must not import " + ours + "/popd; arrows.txt:2: dnsd -> health",
		"dnsd/dnsd_test.go:3: a test of dnsd must not import " + ours + "/gossip; arrows.txt:2: dnsd -> health, and no `test` row allows it",
		"health/long.go: 601 lines; split it before 600",
		"internal/event/e.go:3: internal/event must not import " + ours + "/health; arrows.txt:7: internal/event -> (internal imports nothing above it)",
		"internal/event/e_other.go:5: internal/event must not import github.com/osrg/gobgp/v3/pkg/server; arrows.txt:9: github.com/osrg/gobgp <- bgpd/speaker",
		"internal/event: no package comment; say in one sentence what it is for",
		"newcomer: it has no row in internal/arch/arrows.txt; add one",
	}
	if diff := cmp.Diff(want, Check(a, module, packages)); diff != "" {
		t.Errorf("breaches (-want +got):\n%s", diff)
	}
}

// The arrows that the design rests on, asked of the real table.
func TestTable(t *testing.T) {
	a := table(t)
	tests := []struct {
		pkg, path string
		test      bool
		want      bool
	}{
		{"node", "dnsd", false, true},
		{"node", "gossip", false, true},
		{"cmd/catchment", "labs/local", false, true},
		{"popd", "popd/store/mem", false, true},
		{"popd/flight", "popd/key", false, true},
		{"popd", "internal/event", false, true},
		{"internal/daemon", "internal/conf", false, true},
		{"labs/router", "bgpd/speaker", false, true},
		{"popd", "control", true, true},
		{"popd/key", "popd/store/mem", true, true},
		{"node", "labs/local", true, true},

		{"dnsd", "popd", false, false},
		{"popd", "dnsd", false, false},
		{"bgpd", "dnsd", false, false},
		{"dnsd/steer", "bgpd", false, false},
		{"bgpd/announce", "bgpd/speaker", false, false},
		{"gossip", "health", false, false},
		{"health", "gossip", false, false},
		{"health", "health/probe", false, true}, // a sub-package; its own row keeps it from being a cycle
		{"topology", "site", false, false},
		{"labs/local", "node", false, false},
		{"labs", "labs/local", false, true},
		{"internal/event", "topology", false, false},
		{"internal/underlay", "internal/event", false, false},
		{"dnsd", "popd", true, false},
		{"gossip", "bgpd", true, false},
		{"internal/event", "topology", true, false},

		{"bgpd/speaker", "github.com/osrg/gobgp/v3/pkg/server", false, true},
		{"bgpd", "github.com/osrg/gobgp/v3/api", false, false},
		{"labs/router", "github.com/osrg/gobgp/v3/api", true, false},
		{"gossip", "github.com/hashicorp/memberlist", false, true},
		{"node", "github.com/hashicorp/memberlist", false, false},
		{"dnsd/zone", "github.com/miekg/dns", false, true},
		{"popd", "github.com/miekg/dns", false, false},
		{"popd", "github.com/miekg/dns", true, true},
		{"control", "go.yaml.in/yaml/v3", false, false},
		{"health", "pgregory.net/rapid", true, true},
		{"health", "pgregory.net/rapid", false, false},
		{"popd", "testing/synctest", false, false},
		{"popd", "github.com/prometheus/client_golang/prometheus", false, true},
		{"popd", "net/http", false, true},
	}
	for _, tt := range tests {
		path := tt.path
		if _, known := rowOf(a.imports, path); known {
			path = ours + "/" + path
		}
		wrong := breach(a, ours, tt.pkg, Import{File: "x.go:1", Path: path, Test: tt.test})
		if got := len(wrong) == 0; got != tt.want {
			t.Errorf("%s -> %s (test: %v): got allowed %v, want %v; %s", tt.pkg, tt.path, tt.test, got, tt.want, strings.Join(wrong, ""))
		}
	}
}

func TestParseRefuses(t *testing.T) {
	tests := []struct{ name, text, err string }{
		{"no arrow", "\ndnsd health\n", `arrows.txt:2: "dnsd health"; want PACKAGE -> IMPORT … or LIBRARY <- PACKAGE …`},
		{"one word", "dnsd", `arrows.txt:1: "dnsd"; want PACKAGE -> IMPORT … or LIBRARY <- PACKAGE …`},
		{"twice", "dnsd ->\n# x\ndnsd -> health", "arrows.txt:3: dnsd has a row already, at line 1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := Parse(strings.NewReader(tt.text)); err == nil || err.Error() != tt.err {
				t.Errorf("got %v, want %s", err, tt.err)
			}
		})
	}
}
