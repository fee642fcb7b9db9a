// Package catalog holds the labs that ship with Catchment: whole lab folders, embedded, ready to be read or unpacked.
package catalog

import (
	"embed"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

//go:embed all:anycast3 all:blackhole all:geodns all:maintenance all:quickstart all:shield
var shipped embed.FS

// List names the shipped labs in alphabetical order.
func List() []string {
	entries, err := shipped.ReadDir(".")
	if err != nil {
		return nil // cannot be: the root of an embedded tree is always there
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// Open returns a shipped lab's folder: README.md, topology.yaml, sites/, zones/ and drills/ at its root. The error names the labs
// that there are.
func Open(name string) (fs.FS, error) {
	if !slices.Contains(List(), name) {
		return nil, fmt.Errorf("no lab %q is shipped; there are: %s", name, strings.Join(List(), ", "))
	}
	return fs.Sub(shipped, name)
}

// Extract unpacks a shipped lab into dir, which is made if it is missing. A file that is there already is an error: a
// lab that somebody has altered is never overwritten.
func Extract(name, dir string) error {
	lab, err := Open(name)
	if err != nil {
		return err
	}
	return fs.WalkDir(lab, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("read lab %q: %w", name, err)
		}
		target := filepath.Join(dir, filepath.FromSlash(path))
		if d.IsDir() {
			if err := os.MkdirAll(target, 0o755); err != nil {
				return fmt.Errorf("unpack lab %q: %w", name, err)
			}
			return nil
		}
		return unpack(lab, path, target)
	})
}

func unpack(lab fs.FS, path, target string) error {
	text, err := fs.ReadFile(lab, path)
	if err != nil {
		return fmt.Errorf("read shipped file %q: %w", path, err)
	}
	f, err := os.OpenFile(target, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return fmt.Errorf("unpack %q: %w", path, err)
	}
	if _, err := f.Write(text); err != nil {
		f.Close()
		return fmt.Errorf("unpack %q: %w", target, err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("unpack %q: %w", target, err)
	}
	return nil
}
