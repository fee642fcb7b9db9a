//go:build linux

package netns

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/catchment-net/catchment/labs"
)

func TestRootJoinsTheGroupOfVtysh(t *testing.T) {
	for in, want := range map[string]string{
		"root:x:0:\nfrrvty:x:108:frr\nfrr:x:109:\n": "root:x:0:\nfrrvty:x:108:frr,root\nfrr:x:109:\n",
		"frrvty:x:108:": "frrvty:x:108:root",
		"frrvty\n":      "frrvty\n",
		"":              "",
	} {
		if got := string(withRoot([]byte(in))); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func TestFindFRR(t *testing.T) {
	empty, half, whole := t.TempDir(), t.TempDir(), t.TempDir()
	for _, file := range []string{filepath.Join(half, "bgpd"), filepath.Join(whole, "bgpd"), filepath.Join(whole, "zebra")} {
		if err := os.WriteFile(file, nil, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := findFRR([]string{empty, half, whole}); err != nil || got != whole {
		t.Errorf("got %q, %v, want %q", got, err, whole)
	}
	_, err := findFRR([]string{empty, half})
	cannot, ok := errors.AsType[*labs.CannotError](err)
	if !ok || cannot.Fix != "run `apt-get install -y frr`, or use --router ours" {
		t.Errorf("without FRR: %v", err)
	}
}
