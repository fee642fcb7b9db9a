package control

import (
	"bytes"
	"errors"
	"flag"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/catchment-net/catchment/internal/conf"
)

var update = flag.Bool("update", false, "write the golden messages of testdata/bad anew")

// folderFiles reads a folder of testdata.
func folderFiles(tb testing.TB, dir string) map[string][]byte {
	tb.Helper()
	files := map[string][]byte{}
	err := filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, p)
		if err != nil {
			return err
		}
		files[filepath.ToSlash(name)], err = os.ReadFile(p)
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	return files
}

// Each folder of testdata/bad replaces files of testdata/good; what `check` prints for the whole is in its want.txt.
func TestBadConfigurationsSayWhatIsWrongAndWhatWouldBeRight(t *testing.T) {
	cases, err := os.ReadDir("testdata/bad")
	if err != nil {
		t.Fatal(err)
	}
	if len(cases) < 30 {
		t.Fatalf("only %d broken sets", len(cases))
	}
	for _, c := range cases {
		t.Run(c.Name(), func(t *testing.T) {
			dir := filepath.Join("testdata/bad", c.Name())
			files := folderFiles(t, "testdata/good")
			maps.Copy(files, folderFiles(t, dir))
			s, err := Parse("good", files)
			var problems *conf.Problems
			if s != nil || !errors.As(err, &problems) {
				t.Fatalf("got snapshot %v and error %v, want *conf.Problems", s, err)
			}
			var got bytes.Buffer
			if err := problems.Render(&got); err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join(dir, "want.txt")
			if *update {
				if err := os.WriteFile(golden, got.Bytes(), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got.String()); diff != "" {
				t.Errorf("messages (-want +got):\n%s", diff)
			}
			for _, p := range problems.List {
				if p.Fix == "" {
					t.Errorf("%s: no remedy", p)
				}
			}
		})
	}
}
