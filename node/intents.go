package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/catchment-net/catchment/health"
)

// intentsFile keeps, in the state folder, what operators want: a node that is drained for a new kernel must not announce
// when it comes back with that, even before it hears the others.
const intentsFile = "intents.json"

// loadIntents takes the intents that were known when this node ended. That they cannot be read must not keep it from
// starting: the others know them, too.
func (h *hub) loadIntents() {
	all, err := readIntents(h.o.State)
	if err != nil {
		h.o.Logger.Error("intents of the last run not taken up", "pop", h.self.POP.Name, "error", err)
	}
	h.judge.mergeIntents(all)
}

func readIntents(state string) ([]health.Intent, error) {
	if state == "" {
		return nil, nil
	}
	path := filepath.Join(state, intentsFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read intents: %w", err)
	}
	var all []health.Intent
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, fmt.Errorf("read intents %q: %w", path, err)
	}
	return all, nil
}

// keepIntents writes the intents down whenever one has changed.
func (h *hub) keepIntents(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-h.judge.intended:
			if err := h.writeIntents(); err != nil {
				h.o.Logger.Error("intents not kept", "pop", h.self.POP.Name, "error", err)
			}
		}
	}
}

func (h *hub) writeIntents() error {
	if h.o.State == "" {
		return nil
	}
	path := filepath.Join(h.o.State, intentsFile)
	next, err := os.CreateTemp(h.o.State, intentsFile+".*")
	if err != nil {
		return fmt.Errorf("write intents: %w", err)
	}
	_, err = next.Write(encodeIntents(h.judge.intents()))
	err = errors.Join(err, next.Sync(), next.Close())
	if err == nil {
		err = os.Rename(next.Name(), path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write intents %q: %w", path, err), os.Remove(next.Name()))
	}
	return nil
}
