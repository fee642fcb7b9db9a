package node

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/catchment-net/catchment/admin"
	"github.com/catchment-net/catchment/control"
	"github.com/catchment-net/catchment/internal/event"
)

// A change of the configuration that would withdraw prefixes from more POPs than may lose them at once is held: what is
// in force stays so, and everybody is told, until somebody applies it by force or the folder holds another.
//
//	folder ──► refused (mistakes, or no running node can take it)
//	       ──► held    (it takes routes from too many POPs) ── apply --force ──► applied
//	       ──► applied
//
// Each node holds for itself. Forced on one node after the other, the change reaches one POP at a time.

// Held is a configuration that is not taken.
type Held struct {
	Digest string    `json:"digest"`
	Why    string    `json:"why"`
	Since  time.Time `json:"since"`
}

// ApplyRequest is what `catchment apply` asks for.
type ApplyRequest struct {
	Force bool `json:"force,omitempty"` // although it withdraws prefixes from too many POPs
}

// Applied is what came of it.
type Applied struct {
	Node   string         `json:"node"`
	State  string         `json:"state"` // applied, unchanged, held
	Digest string         `json:"digest"`
	Why    string         `json:"why,omitempty"` // it is held
	Change control.Change `json:"change"`        // to what was in force

	BadZones []control.BadZone `json:"bad_zones,omitempty"` // of this configuration
}

// forcedFile holds, in the state folder, the digest of the configuration that was forced last: where a running node
// cannot take it up, its next start does.
const forcedFile = "forced"

// take puts a Snapshot in force, holds it, or says why it can do neither. It is called by the watcher and by apply.
func (h *hub) take(snap *control.Snapshot, force bool) (Applied, error) {
	h.adopting.Lock()
	defer h.adopting.Unlock()
	old := h.snap.Load()
	result := Applied{Node: h.self.Name, State: "unchanged", Digest: snap.Digest, Change: control.Diff(old, snap), BadZones: snap.BadZones}
	if snap.Digest == old.Digest {
		h.release()
		h.snap.Store(snap) // a bad zone of which a copy is served changes no more than what is said of it
		h.reportZones(old.BadZones, snap.BadZones)
		return result, nil
	}
	if why := control.TooMuch(old.Topology, snap.Topology); why != "" && !force {
		h.hold(snap, why)
		result.State, result.Why = "held", why
		return result, nil
	}
	h.release()
	err := h.noteForced(snap, force)
	if err == nil {
		err = h.adopt(snap)
	}
	if err != nil {
		h.refused(err)
		return result, err
	}
	h.o.Events.Add(event.Event{Kind: event.Config, Subject: "snapshot", State: "applied", Detail: map[string]string{"digest": snap.Digest}})
	result.State = "applied"
	return result, nil
}

// hold is called with adopting held.
func (h *hub) hold(snap *control.Snapshot, why string) {
	if was := h.held.Load(); was != nil && was.Digest == snap.Digest {
		return
	}
	h.held.Store(&Held{Digest: snap.Digest, Why: why, Since: h.o.now()})
	h.metrics.held.Set(1)
	h.o.Logger.Error("configuration held; the last one stays in force until this one is applied with --force", "pop", h.self.POP.Name, "digest", snap.Digest, "cause", why)
	h.o.Events.Add(event.Event{Kind: event.Config, Subject: "snapshot", State: "held", Cause: why, Detail: map[string]string{"digest": snap.Digest}})
}

// release forgets a held configuration: the folder has another. It is called with adopting held.
func (h *hub) release() {
	h.held.Store(nil)
	h.metrics.held.Set(0)
}

// refused reports a configuration that cannot be taken at all.
func (h *hub) refused(err error) {
	h.o.Logger.Error("configuration refused; the last one stays in force", "pop", h.self.POP.Name, "error", err)
	h.o.Events.Add(event.Event{Kind: event.Config, Subject: "snapshot", State: "refused", Cause: err.Error()})
}

func (h *hub) noteForced(snap *control.Snapshot, force bool) error {
	if !force || h.o.State == "" {
		return nil
	}
	if err := os.WriteFile(filepath.Join(h.o.State, forcedFile), []byte(snap.Digest), 0o600); err != nil {
		return fmt.Errorf("note that the configuration is forced: %w", err)
	}
	return nil
}

// allowed returns the Snapshot to start with: the folder's, or the one that was in force when the folder's takes routes
// from too many POPs and nobody has forced it. A restart must not be a way round. A daemon that runs apart from its hub
// announces nothing, and takes what is there.
func (o *Options) allowed(snap, last *control.Snapshot) *control.Snapshot {
	if last == nil || o.Hub != "" { // or nothing can be said by the last
		return snap
	}
	forced, _ := os.ReadFile(filepath.Join(o.State, forcedFile)) // not there: nothing is forced
	if control.TooMuch(last.Topology, snap.Topology) == "" || strings.TrimSpace(string(forced)) == snap.Digest {
		return snap
	}
	return last
}

// serveApply reads the folder now.
func (h *hub) serveApply(w http.ResponseWriter, r *http.Request) {
	var req ApplyRequest
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10)).Decode(&req); err != nil {
		admin.Refuse(w, http.StatusBadRequest, fmt.Errorf("decode request: %w", err), `send {"force": false}`)
		return
	}
	snap, err := control.LoadServing(h.o.Dir, h.snap.Load())
	if err == nil {
		var result Applied
		if result, err = h.take(snap, req.Force); err == nil {
			admin.Reply(w, result)
			return
		}
	}
	admin.Refuse(w, http.StatusConflict, err, "what was in force stays so; `catchment check` shows mistakes")
}
