package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A lab whose runner was killed leaves its unpacked folder; the next command removes it, and no other.
func TestSweepUnpacked(t *testing.T) {
	tmp, now := t.TempDir(), time.Now()
	for _, tt := range []struct {
		name   string
		age    time.Duration
		locked bool
		want   bool // still there
	}{
		{"catchment-lab-orphan", time.Hour, false, false},
		{"catchment-lab-in-use", time.Hour, true, true},
		{"catchment-lab-new", time.Second, false, true},
		{"another-folder", time.Hour, false, true},
	} {
		dir := filepath.Join(tmp, tt.name)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(dir, now.Add(-tt.age), now.Add(-tt.age)); err != nil {
			t.Fatal(err)
		}
		if tt.locked {
			lock, err := lockFolder(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer lock.Close()
		}
		sweepUnpacked(tmp, now)
		if _, err := os.Stat(dir); (err == nil) != tt.want {
			t.Errorf("%s: is there: %v, want %v", tt.name, err == nil, tt.want)
		}
	}
}
