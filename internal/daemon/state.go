package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// The files that a State keeps in its folder.
const (
	lockFile        = "lock"        // flock'ed; holds the owner's process id, for messages only
	incarnationFile = "incarnation" // one decimal number
)

// StateOptions configures OpenState. Dir is required.
type StateOptions struct {
	Dir    string
	Now    func() time.Time // nil means time.Now
	Logger *slog.Logger     // nil discards
}

// State is a state folder that this process alone uses until Close.
type State struct {
	Dir string
	// Incarnation is larger at each start, so that what others remember of an earlier life of this node counts as older.
	// It goes on from the folder's last one; a folder without one starts at the Unix time in seconds, so a node that
	// has lost its folder still comes after its former self, if its clock is right and it started less than once a
	// second.
	Incarnation uint64

	lock *os.File
}

// OpenState makes the folder (mode 0700) where it is missing, locks it and counts the incarnation up, durably. The lock
// is the kernel's: it ends with the process, however that ends.
func OpenState(o StateOptions) (*State, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make state directory %q: %w; choose another with --state DIR", o.Dir, err)
	}
	lock, err := lockFolder(o.Dir)
	if err != nil {
		return nil, err
	}
	s := &State{Dir: o.Dir, lock: lock}
	if s.Incarnation, err = countUp(filepath.Join(o.Dir, incarnationFile), o); err != nil {
		return nil, errors.Join(fmt.Errorf("count the starts in state directory %q: %w", o.Dir, err), s.Close())
	}
	return s, nil
}

// Close gives up the lock. The lock's file stays: removing it would let two processes lock two files of one name.
func (s *State) Close() error {
	if s.lock == nil {
		return nil
	}
	err := s.lock.Close()
	s.lock = nil
	return err
}

// Path is the path of a file in the folder.
func (s *State) Path(name ...string) string {
	return filepath.Join(append([]string{s.Dir}, name...)...)
}

func lockFolder(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open state directory %q: %w; choose another with --state DIR", dir, err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		defer f.Close()
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock state directory %q: %w", dir, err)
		}
		return nil, fmt.Errorf("state directory %q is in use by %s; stop that or choose another with --state DIR", dir, owner(f))
	}
	if err := errors.Join(f.Truncate(0), writeAt(f, strconv.Itoa(os.Getpid())+"\n")); err != nil {
		f.Close()
		return nil, fmt.Errorf("write to state directory %q: %w", dir, err)
	}
	return f, nil
}

func writeAt(f *os.File, text string) error {
	_, err := f.WriteAt([]byte(text), 0)
	return err
}

// owner names the process that holds the lock.
func owner(f *os.File) string {
	buf := make([]byte, 32)
	n, _ := f.ReadAt(buf, 0)
	if pid, err := strconv.Atoi(strings.TrimSpace(string(buf[:n]))); err == nil {
		return fmt.Sprintf("process %d", pid)
	}
	return "another process"
}

// countUp returns the number after the one in the file, having stored it.
func countUp(path string, o StateOptions) (uint64, error) {
	next := uint64(max(o.Now().Unix(), 1))
	text, err := os.ReadFile(path)
	if err == nil {
		last, perr := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 63)
		if perr == nil {
			next = last + 1
		} else {
			o.Logger.Warn("incarnation counter is damaged; going on from the clock", "file", path, "text", string(text), "incarnation", next)
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return 0, err
	}
	return next, writeDurably(path, []byte(strconv.FormatUint(next, 10)+"\n"), 0o600)
}

// systemState is where the state of all nodes of a host lives when catchment runs as a service.
const systemState = "/var/lib/catchment"

// DefaultState is the state folder of a node that names none: /var/lib/catchment/NODE for root, and for others where
// that may be written (systemd's StateDirectory=catchment); else $XDG_STATE_HOME/catchment/NODE, by default
// ~/.local/state/catchment/NODE. getenv is os.Getenv.
func DefaultState(node string, getenv func(string) string) (string, error) {
	writable := os.Getuid() == 0 || unix.Access(systemState, unix.W_OK) == nil
	return defaultState(node, writable, getenv)
}

func defaultState(node string, writable bool, getenv func(string) string) (string, error) {
	if node == "" || node == "." || node == ".." || strings.ContainsAny(node, "/\x00") {
		return "", fmt.Errorf("state directory of node %q: this cannot be a folder's name", node)
	}
	if writable {
		return filepath.Join(systemState, node), nil
	}
	if home := getenv("XDG_STATE_HOME"); filepath.IsAbs(home) { // a relative one is to be ignored (XDG base directory specification)
		return filepath.Join(home, "catchment", node), nil
	}
	if home := getenv("HOME"); filepath.IsAbs(home) {
		return filepath.Join(home, ".local", "state", "catchment", node), nil
	}
	return "", fmt.Errorf("state directory of node %q: neither %q can be written nor is $HOME set; name one with --state DIR", node, systemState)
}
