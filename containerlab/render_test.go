package containerlab

import (
	"flag"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/catchment-net/catchment/labs/catalog"
	"github.com/catchment-net/catchment/topology"
)

func shipped(t *testing.T) []string {
	t.Helper()
	all := catalog.List()
	if len(all) == 0 {
		t.Fatal("no lab is shipped")
	}
	return all
}

// options are those of a shipped lab.
func options(t *testing.T, lab, router string) Options {
	t.Helper()
	folder, err := catalog.Open(lab)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	if err := fs.WalkDir(folder, ".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files[path], err = fs.ReadFile(folder, path)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	topo, err := topology.Parse("topology.yaml", files["topology.yaml"])
	if err != nil {
		t.Fatal(err)
	}
	return Options{Name: lab, Topology: topo, Lab: files, Router: router, Version: "v1.0.0"}
}

func render(t *testing.T, lab, router string) *Folder {
	t.Helper()
	f, err := Render(options(t, lab, router))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

var update = flag.Bool("update", false, "write the golden files anew")

// One lab, whole, as it is rendered: a change of the renderer shows here.
func TestGolden(t *testing.T) {
	for _, router := range []string{Ours, FRR} {
		t.Run(router, func(t *testing.T) {
			dir := filepath.Join("testdata", "quickstart-"+router)
			f := render(t, "quickstart", router)
			maps.DeleteFunc(f.Files, func(name string, _ []byte) bool { // the lab's own files, copied; and folders to be
				return strings.HasPrefix(name, "lab/") || strings.HasPrefix(name, "run/")
			})
			if *update {
				if err := os.RemoveAll(dir); err != nil {
					t.Fatal(err)
				}
				if err := f.Write(dir); err != nil {
					t.Fatal(err)
				}
			}
			for _, name := range slices.Sorted(maps.Keys(f.Files)) {
				want, err := os.ReadFile(filepath.Join(dir, name))
				if err != nil {
					t.Errorf("%v; run `go test ./containerlab -update`", err)
					continue
				}
				if diff := cmp.Diff(string(want), string(f.Files[name])); diff != "" {
					t.Errorf("%s (-want +got):\n%s", name, diff)
				}
			}
		})
	}
}

// The same lab gives the same bytes, whatever the order of maps.
func TestRenderIsDeterministic(t *testing.T) {
	first := render(t, "quickstart", FRR)
	for range 5 {
		if diff := cmp.Diff(first.Files, render(t, "quickstart", FRR).Files); diff != "" {
			t.Fatal(diff)
		}
	}
}

// FRR itself takes every router's configuration, where it is installed.
func TestFRRTakesItsConfiguration(t *testing.T) {
	vtysh, err := exec.LookPath("vtysh")
	if err != nil {
		t.Skip("vtysh is not installed (Debian: frr)")
	}
	for _, lab := range shipped(t) {
		f := render(t, lab, FRR)
		for _, c := range f.nodes {
			if !c.frr {
				continue
			}
			dir := t.TempDir()
			file := filepath.Join(dir, "frr.conf")
			if err := os.WriteFile(file, f.Files[c.name+"/frr.conf"], 0o644); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.CommandContext(t.Context(), vtysh, "-C", "-f", file).CombinedOutput(); err != nil {
				t.Errorf("%s of %s: %v\n%s", c.name, lab, err, out)
			}
		}
	}
}

func TestRenderRefuses(t *testing.T) {
	for _, tt := range []struct {
		name   string
		spoil  func(*Options)
		expect string
	}{
		{"a name that containers cannot have", func(o *Options) { o.Name = "my lab" }, `lab name "my lab"`},
		{"an unknown router", func(o *Options) { o.Router = "quagga" }, `router "quagga": want ours or frr`},
		{"BIRD", func(o *Options) { o.Router = "bird" }, "cannot run BIRD in a container"},
		{"a management network of another size", func(o *Options) { o.Mgmt.UnmarshalText([]byte("10.0.0.0/16")) }, "want an IPv4 /24"}, //nolint:errcheck // it parses
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := options(t, "quickstart", FRR)
			tt.spoil(&o)
			if _, err := Render(o); err == nil || !strings.Contains(err.Error(), tt.expect) {
				t.Errorf("got %v, want %q", err, tt.expect)
			}
		})
	}
}

func TestScalars(t *testing.T) {
	for in, want := range map[string]string{
		"linux": "linux", "no": `"no"`, "5": `"5"`, "/catchment": "/catchment", "a: b": `"a: b"`, "${X:=y}": `"${X:=y}"`, "": `""`, "True": `"True"`,
	} {
		if got := scalar(in); got != want {
			t.Errorf("%q is written %s, want %s", in, got, want)
		}
	}
}
