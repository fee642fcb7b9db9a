package daemon

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// ReadyFile is what a ready file says, as JSON: it exists exactly while the process serves.
type ReadyFile struct {
	Status      string    `json:"status"` // always "ok"
	Node        string    `json:"node,omitempty"`
	PID         int       `json:"pid"`
	Addrs       []string  `json:"addrs"` // the real ones, where port 0 was asked for
	State       string    `json:"state,omitempty"`
	Incarnation uint64    `json:"incarnation,omitempty"`
	Since       time.Time `json:"since"`
}

// ReadReady reads a ready file. fs.ErrNotExist means: not ready yet.
func ReadReady(path string) (ReadyFile, error) {
	var f ReadyFile
	text, err := os.ReadFile(path)
	if err != nil {
		return f, fmt.Errorf("read ready file: %w", err)
	}
	if err := json.Unmarshal(text, &f); err != nil {
		return f, fmt.Errorf("read ready file %q: %w", path, err)
	}
	return f, nil
}

func writeReady(path string, f ReadyFile) error {
	text, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return err
	}
	return writeDurably(path, append(text, '\n'), 0o644)
}

// removeReady removes the file unless another process has written its own there meanwhile.
func removeReady(path string, pid int) error {
	f, err := ReadReady(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && f.PID != pid {
		return nil
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove ready file: %w", err)
	}
	return nil
}

// writeDurably puts text at path in one step, so that a reader sees the old file or the new one, and after a power cut
// one of the two: write a file beside it, fsync, rename, fsync the folder.
func writeDurably(path string, text []byte, mode os.FileMode) (err error) {
	dir := filepath.Dir(path)
	tmp, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, err = tmp.Write(text)
	err = errors.Join(err, tmp.Chmod(mode), tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		_ = os.Remove(tmp.Name())
		return err
	}
	return syncFolder(dir)
}

func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
