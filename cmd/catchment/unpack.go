package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/catchment-net/catchment/labs/catalog"
)

// unpackedPrefix begins the name of each temporary folder that holds a shipped lab.
const unpackedPrefix = "catchment-lab-"

// openLab finds the lab's folder: a folder as it is, or a shipped lab unpacked below a new temporary folder, which
// cleanup removes.
func openLab(name string) (dir, label string, cleanup func(), err error) {
	if info, statErr := os.Stat(name); statErr == nil && info.IsDir() {
		abs, err := filepath.Abs(name)
		if err != nil {
			return "", "", nil, err
		}
		return abs, filepath.Base(abs), func() {}, nil
	}
	if !slices.Contains(catalog.List(), name) {
		return "", "", nil, fmt.Errorf("lab %q is neither a folder nor shipped; shipped are %s", name, strings.Join(catalog.List(), ", "))
	}
	sweepUnpacked(os.TempDir(), time.Now())
	tmp, err := os.MkdirTemp("", unpackedPrefix)
	if err != nil {
		return "", "", nil, fmt.Errorf("make a folder for lab %q: %w", name, err)
	}
	lock, err := lockFolder(tmp)
	if err != nil {
		os.RemoveAll(tmp)
		return "", "", nil, fmt.Errorf("lock the folder of lab %q: %w", name, err)
	}
	cleanup = func() {
		os.RemoveAll(tmp)
		lock.Close()
	}
	dir = filepath.Join(tmp, name)
	if err := catalog.Extract(name, dir); err != nil {
		cleanup()
		return "", "", nil, err
	}
	return dir, name, cleanup, nil
}

// lockFolder locks a folder for as long as this process lives or until the file is closed.
func lockFolder(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// sweepUnpacked removes the folders of processes that were killed: those that nobody locks. One that is younger than a
// minute may be about to be locked and stays.
func sweepUnpacked(tmp string, now time.Time) {
	left, err := filepath.Glob(filepath.Join(tmp, unpackedPrefix+"*"))
	if err != nil {
		return
	}
	for _, dir := range left {
		info, err := os.Lstat(dir)
		if err != nil || !info.IsDir() || now.Sub(info.ModTime()) < time.Minute {
			continue
		}
		lock, err := lockFolder(dir)
		if err != nil {
			continue // in use, or another user's
		}
		os.RemoveAll(dir)
		lock.Close()
	}
}
