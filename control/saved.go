package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// savedFile is the last good Snapshot in a state directory.
const savedFile = "snapshot.json"

// saved is the form on disk: one file, so that it is whole or not there.
type saved struct {
	Name   string            `json:"name"`
	Digest string            `json:"digest"`
	Files  map[string][]byte `json:"files"`
}

// Save keeps the Snapshot in the state directory, in place of an older one. It is on disk when Save returns: written
// beside the old one, flushed, renamed over it, and the directory flushed. One process at a time may save there.
func Save(stateDir string, s *Snapshot) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("save snapshot in %q: %w", stateDir, err)
		}
	}()
	text, err := json.Marshal(saved{Name: s.Topology.Name, Digest: s.Digest, Files: s.Files})
	if err != nil {
		return err
	}
	next := filepath.Join(stateDir, savedFile+".new")
	if err := writeFlushed(next, text); err != nil {
		return errors.Join(err, ignoreMissing(os.Remove(next)))
	}
	if err := os.Rename(next, filepath.Join(stateDir, savedFile)); err != nil {
		return err
	}
	dir, err := os.Open(stateDir)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func writeFlushed(name string, text []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func ignoreMissing(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// LoadSaved returns the Snapshot kept last. An error that is os.ErrNotExist says that none was ever kept; any other
// that the copy is damaged.
func LoadSaved(stateDir string) (*Snapshot, error) {
	name := filepath.Join(stateDir, savedFile)
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("load saved snapshot: %w", err)
	}
	var c saved
	if err := json.Unmarshal(text, &c); err != nil {
		return nil, fmt.Errorf("load saved snapshot %q: %w", name, err)
	}
	if got := digest(relevant(c.Files)); got != c.Digest {
		return nil, fmt.Errorf("load saved snapshot %q: digest %q instead of %q: the file is damaged", name, got, c.Digest)
	}
	s, err := ParseServing(c.Name, c.Files, nil)
	if err != nil {
		return nil, fmt.Errorf("load saved snapshot %q: %w", name, err)
	}
	return s, nil
}
