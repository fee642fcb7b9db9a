package runner

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
	"time"

	"github.com/catchment-net/catchment/admin"
)

// StateRoot is the folder below which every lab of this user keeps its run-time files, one folder a lab.
func StateRoot() string {
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		if info, err := os.Stat(dir); err == nil && info.IsDir() {
			return filepath.Join(dir, "catchment")
		}
	}
	return filepath.Join(os.TempDir(), fmt.Sprintf("catchment-%d", os.Getuid()))
}

// socketName is the runner's API below a lab's state folder.
const socketName = "lab.sock"

// maxSocketPath is what sun_path holds, less its final zero.
const maxSocketPath = 107

// State is one lab's folder of run-time files, held by a lock for as long as its runner lives.
type State struct {
	Path string
	lock *os.File
}

// Claim makes and locks the lab's state folder. A folder whose runner is gone is emptied and taken over.
func Claim(root, name string) (*State, error) {
	if name == "" || strings.ContainsAny(name, "/\x00") || name[0] == '.' {
		return nil, fmt.Errorf("lab name %q: want a plain name, such as quickstart", name)
	}
	path := filepath.Join(root, name)
	if longest := filepath.Join(path, "nodes", strings.Repeat("x", 16), "admin.sock"); len(longest) > maxSocketPath {
		return nil, fmt.Errorf("state folder %q is too long for unix sockets (%d bytes, at most %d); set XDG_RUNTIME_DIR to a shorter one", path, len(longest), maxSocketPath)
	}
	if err := os.MkdirAll(root, 0o700); err != nil {
		return nil, fmt.Errorf("make state folder: %w", err)
	}
	// The lock file lies beside the folder, not in it, so that emptying the folder never removes a held lock.
	lock, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock of lab %q: %w", name, err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		lock.Close()
		return nil, fmt.Errorf("lab %q is already up (or coming up); see `catchment lab status`, end it with `catchment lab down --lab %s`, or give this one another --name", name, name)
	}
	if err := os.RemoveAll(path); err != nil {
		lock.Close()
		return nil, fmt.Errorf("empty the left-over state folder %q: %w", path, err)
	}
	if err := os.MkdirAll(filepath.Join(path, "nodes"), 0o700); err != nil {
		lock.Close()
		return nil, fmt.Errorf("make state folder: %w", err)
	}
	return &State{Path: path, lock: lock}, nil
}

// Socket is where the runner offers its API.
func (s *State) Socket() string { return filepath.Join(s.Path, socketName) }

// Node is the folder of a node.
func (s *State) Node(name string) string { return filepath.Join(s.Path, "nodes", name) }

// File is a file of the lab.
func (s *State) File(name ...string) string {
	return filepath.Join(append([]string{s.Path}, name...)...)
}

// Release removes the folder and gives up the lock. Safe to call twice.
func (s *State) Release() error {
	if s.lock == nil {
		return nil
	}
	err := errors.Join(os.RemoveAll(s.Path), os.Remove(s.Path+".lock"), s.lock.Close())
	s.lock = nil
	_ = os.Remove(filepath.Dir(s.Path)) // the last lab takes the root with it; it stays while another lab is in it
	return err
}

// Running lists the labs of this user that are up, by name.
func Running(root string) []string {
	sockets, _ := filepath.Glob(filepath.Join(root, "*", socketName))
	var names []string
	for _, s := range sockets {
		if admin.Answers(s, time.Second) {
			names = append(names, filepath.Base(filepath.Dir(s)))
		}
	}
	sort.Strings(names)
	return names
}
