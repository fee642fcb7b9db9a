package catalog

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/catchment-net/catchment/site"
	"github.com/catchment-net/catchment/topology"
)

// Every shipped lab unpacks into a folder whose topology, sites and zones can all be read, and that has drills.
func TestShippedLabsAreSound(t *testing.T) {
	if !slices.Contains(List(), "quickstart") {
		t.Fatalf("shipped labs %q: quickstart is missing", List())
	}
	for _, name := range List() {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "lab")
			if err := Extract(name, dir); err != nil {
				t.Fatal(err)
			}
			documented(t, dir)
			topo, err := topology.Parse("topology.yaml", read(t, dir, "topology.yaml"))
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range glob(t, dir, "sites/*.yaml") {
				if _, err := site.Parse(f, read(t, dir, f), topo); err != nil {
					t.Error(err)
				}
			}
			glob(t, dir, "drills/*.yaml") // labs/drill reads them in its own tests
			for _, f := range glob(t, dir, "zones/*") {
				zone(t, topo, filepath.Base(f), read(t, dir, f))
			}
		})
	}
}

// documented checks that the lab's README shows a picture, and names every drill with how to run it.
func documented(t *testing.T, dir string) {
	t.Helper()
	text := string(read(t, dir, "README.md"))
	for _, want := range []string{"```mermaid", "catchment lab up ", "catchment lab down"} {
		if !strings.Contains(text, want) {
			t.Errorf("README.md lacks %q", want)
		}
	}
	for _, f := range glob(t, dir, "drills/*.yaml") {
		if name := strings.TrimSuffix(filepath.Base(f), ".yaml"); !strings.Contains(text, "`"+name+"`") {
			t.Errorf("README.md does not name the drill %q", name)
		}
	}
}

// zone checks that the master file can be read, that each node of a POP is named as a name server by its own address,
// and that origins have the addresses of the topology.
func zone(t *testing.T, topo *topology.Topology, origin string, text []byte) {
	t.Helper()
	z := dns.NewZoneParser(bytes.NewReader(text), dns.Fqdn(origin), origin)
	have := map[string]bool{}
	soa := 0
	for rr, ok := z.Next(); ok; rr, ok = z.Next() {
		switch rr := rr.(type) {
		case *dns.SOA:
			soa++
		case *dns.A:
			have[rr.Hdr.Name+rr.A.String()] = true
			have[rr.A.String()] = true
		case *dns.AAAA:
			have[rr.Hdr.Name+rr.AAAA.String()] = true
			have[rr.AAAA.String()] = true
		}
	}
	if err := z.Err(); err != nil || soa != 1 {
		t.Fatalf("zone %q: %d SOA records, error %v", origin, soa, err)
	}
	for _, p := range topo.POPs {
		for _, a := range p.Nodes[0].Addrs {
			if !have[a.String()] {
				t.Errorf("zone %q does not name %s, the address of %s", origin, a, p.Nodes[0].Name)
			}
		}
	}
	for _, a := range topo.Anycast.DNS {
		if !have[a.String()] {
			t.Errorf("zone %q does not name the anycast address %s", origin, a)
		}
	}
	for _, o := range topo.Internet.Origins {
		for _, a := range o.Addrs {
			if !have[dns.Fqdn(o.Host)+a.String()] {
				t.Errorf("zone %q does not give %s the address %s", origin, o.Host, a)
			}
		}
	}
}

func read(t *testing.T, dir, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func glob(t *testing.T, dir, pattern string) []string {
	t.Helper()
	names, err := fs.Glob(os.DirFS(dir), pattern)
	if err != nil || len(names) == 0 {
		t.Fatalf("%s: %q, error %v; want at least one", pattern, names, err)
	}
	return names
}

func TestExtractOverwritesNothing(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "topology.yaml"), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Extract("quickstart", dir); err == nil {
		t.Error("a file that was there has been overwritten")
	}
	if got := string(read(t, dir, "topology.yaml")); got != "mine" {
		t.Errorf("topology.yaml is %q now", got)
	}
}

func TestUnknownLabNamesTheOthers(t *testing.T) {
	if _, err := Open("quickstrat"); err == nil || !strings.Contains(err.Error(), "quickstart") {
		t.Errorf("got %v, want an error that names quickstart", err)
	}
}
