package control

import (
	"bytes"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func good(tb testing.TB) *Snapshot {
	tb.Helper()
	s, err := Load("testdata/good")
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func TestLoadReadsTheWholeFolder(t *testing.T) {
	s := good(t)
	if s.Topology.Name != "good" || len(s.Topology.POPs) != 2 {
		t.Errorf("got topology %q with %d POPs", s.Topology.Name, len(s.Topology.POPs))
	}
	if len(s.Sites) != 1 || s.Sites[0].Name != "shop" {
		t.Errorf("got sites %v", s.Sites)
	}
	if len(s.Zones) != 1 || s.Zones[0].Origin != "shop.example." || s.Zones[0].File != "testdata/good/zones/shop.example" {
		t.Errorf("got zones %+v", s.Zones)
	}
	if _, h := s.Site("img.shop.example"); h == nil || h.Name != "img.shop.example" {
		t.Errorf("got host %v", h)
	}
	if z := s.ZoneOf("a.b.shop.example"); z == nil || z.Origin != "shop.example." {
		t.Errorf("got zone %v", z)
	}
	if z := s.ZoneOf("xshop.example"); z != nil {
		t.Errorf("got zone %v for a name outside all zones", z.Origin)
	}
	if len(s.Files) != 3 {
		t.Errorf("got files %v", s.Files)
	}
}

func TestMessagesNameTheFolder(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, TopologyFile, "asn: x\n")
	_, err := Load(dir)
	if err == nil || !strings.HasPrefix(err.Error(), filepath.ToSlash(dir)+"/topology.yaml:1:1: ") {
		t.Errorf("got %v", err)
	}
}

func TestLoadOfWhatIsNoConfiguration(t *testing.T) {
	if _, err := Load(filepath.Join(t.TempDir(), "absent")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("absent folder: got %v", err)
	}
	empty := t.TempDir()
	if _, err := Load(empty); err == nil || !strings.Contains(err.Error(), "topology.yaml: file is missing; a configuration is a folder with") {
		t.Errorf("empty folder: got %v", err)
	}
	nested := t.TempDir()
	write(t, nested, "sites/eu/shop.yaml", "x: 1\n")
	if _, err := Load(nested); err == nil || !strings.Contains(err.Error(), `"sites/eu" is a folder`) {
		t.Errorf("nested folder: got %v", err)
	}
}

func TestEditorsLeftoversAreIgnored(t *testing.T) {
	files := fstest.MapFS{}
	for name, text := range folderFiles(t, "testdata/good") {
		files[name] = &fstest.MapFile{Data: text}
	}
	plain, err := LoadFS("good", files)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"sites/.shop.yaml.swp", "sites/shop.yaml~", "zones/#shop.example#", "zones/shop.example.orig", "drills/kill.yaml", "README.md"} {
		files[name] = &fstest.MapFile{Data: []byte("\tnot ours")}
	}
	s, err := LoadFS("good", files)
	if err != nil {
		t.Fatal(err)
	}
	if s.Digest != plain.Digest {
		t.Errorf("leftovers change the digest")
	}
}

// The digest tells sets apart that differ in any name or byte, and only those.
func TestDigestProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		set := rapid.MapOf(rapid.StringMatching(`zones/[ab]{1,3}`), rapid.SliceOf(rapid.Byte()))
		a, b := set.Draw(t, "a"), set.Draw(t, "b")
		same := maps.EqualFunc(a, b, bytes.Equal)
		if got := digest(a) == digest(b); got != same {
			t.Fatalf("digests equal: %v, sets equal: %v", got, same)
		}
		if digest(a) != digest(maps.Clone(a)) {
			t.Fatalf("a copy has another digest")
		}
	})
}

func TestSavedSnapshotComesBack(t *testing.T) {
	dir := t.TempDir()
	if _, err := LoadSaved(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("nothing saved: got %v", err)
	}
	s := good(t)
	for range 2 { // the second one replaces the first
		if err := Save(dir, s); err != nil {
			t.Fatal(err)
		}
	}
	got, err := LoadSaved(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got.Digest != s.Digest || got.Topology.Name != "good" || len(got.Sites) != 1 || len(got.Zones) != 1 {
		t.Errorf("got %+v", got)
	}
	if diff := cmp.Diff(describe(t, s), strings.ReplaceAll(describe(t, got), "of zones/", "of testdata/good/zones/")); diff != "" {
		t.Errorf("what came back differs (-saved +loaded):\n%s", diff)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("got %v, %v; want one file and nothing left over", entries, err)
	}
}

func TestDamagedCopyIsRefused(t *testing.T) {
	dir := t.TempDir()
	if err := Save(dir, good(t)); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, savedFile)
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for what, damaged := range map[string][]byte{
		"torn":    text[:len(text)/2],
		"empty":   nil,
		"altered": bytes.Replace(text, []byte(`"topology.yaml":"YXNu`), []byte(`"topology.yaml":"YXNv`), 1),
	} {
		if bytes.Equal(damaged, text) {
			t.Fatalf("%s: nothing was altered", what)
		}
		if err := os.WriteFile(name, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		if s, err := LoadSaved(dir); err == nil || errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: got %v, %v; want an error that is not os.ErrNotExist", what, s, err)
		}
	}
}

func TestSaveIntoNowhere(t *testing.T) {
	err := Save(filepath.Join(t.TempDir(), "absent"), good(t))
	if err == nil || !strings.Contains(err.Error(), "save snapshot in") {
		t.Errorf("got %v", err)
	}
}

func write(tb testing.TB, dir, name, text string) {
	tb.Helper()
	p := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(p), 0o700); err != nil {
		tb.Fatal(err)
	}
	if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
}

func describe(tb testing.TB, s *Snapshot) string {
	tb.Helper()
	var out bytes.Buffer
	if err := Describe(&out, s); err != nil {
		tb.Fatal(err)
	}
	return out.String()
}

func TestDescribeSaysEveryValueInForce(t *testing.T) {
	golden := "testdata/describe.txt"
	s, err := Parse("good", folderFiles(t, "testdata/good"))
	if err != nil {
		t.Fatal(err)
	}
	got := describe(t, s)
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("description (-want +got):\n%s", diff)
	}
}
