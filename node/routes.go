package node

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/catchment-net/catchment/admin"
	"github.com/catchment-net/catchment/bgpd"
	"github.com/catchment-net/catchment/health"
	"github.com/catchment-net/catchment/internal/obs"
)

// Status is what `catchment status` prints of one node: itself, and the fleet as it sees it.
type Status struct {
	Node    string                    `json:"node"`
	POP     string                    `json:"pop"`
	Config  string                    `json:"config"` // the topology's name
	Digest  string                    `json:"digest"`
	Since   time.Time                 `json:"since"`
	Now     time.Time                 `json:"now"`
	Links   map[health.Service]string `json:"links"` // attached daemons: starting, ready, draining
	View    *health.View              `json:"view"`
	Intents []health.Intent           `json:"intents"`
	BGP     []bgpd.NeighborStatus     `json:"bgp"`
	Members []string                  `json:"members"` // of the fleet's gossip pool
}

// IntentRequest is what `catchment drain` and `undrain` ask for.
type IntentRequest struct {
	Target string        `json:"target"` // a POP or a node
	Drain  bool          `json:"drain"`  // false lifts a drain
	Why    string        `json:"why,omitempty"`
	By     string        `json:"by,omitempty"`
	For    time.Duration `json:"for,omitempty"` // 0 means until lifted
}

// routes hangs the hub's API on the admin socket.
func (h *hub) routes() {
	h.admin.Handle("GET /v1/status", func(w http.ResponseWriter, _ *http.Request) { admin.Reply(w, h.status()) })
	h.admin.Handle("GET /v1/events", admin.Events(h.o.Events).ServeHTTP)
	h.admin.Handle("POST /v1/intents", h.serveIntent)
	bgpRoutes(h.admin, h.bgp)
	h.admin.Handle("GET /metrics", obs.Handler(h.o.Registry, h.o.Logger).ServeHTTP)
}

func (h *hub) status() Status {
	snap := h.snap.Load()
	st := Status{
		Node: h.self.Name, POP: h.self.POP.Name, Config: snap.Topology.Name, Digest: snap.Digest, Since: h.since, Now: h.o.now(),
		Links: map[health.Service]string{}, View: h.judge.seen.Load(), BGP: h.bgp.Neighbors(), Members: h.pools.fleet.Members(),
	}
	h.judge.mu.Lock()
	st.Intents = h.judge.fleet.Intents()
	h.judge.mu.Unlock()
	h.mu.Lock()
	defer h.mu.Unlock()
	for s, p := range h.ports {
		switch {
		case p.said.Draining:
			st.Links[s] = "draining"
		case p.said.Ready:
			st.Links[s] = "ready"
		default:
			st.Links[s] = "starting"
		}
	}
	return st
}

func (h *hub) serveIntent(w http.ResponseWriter, r *http.Request) {
	var req IntentRequest
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10)).Decode(&req); err != nil {
		admin.Refuse(w, http.StatusBadRequest, fmt.Errorf("decode intent: %w", err), `send {"target": "ams", "drain": true}`)
		return
	}
	topo := h.snap.Load().Topology
	if topo.POP(req.Target) == nil && topo.Node(req.Target) == nil {
		admin.Refuse(w, http.StatusNotFound, fmt.Errorf("no POP or node is called %q", req.Target), "`catchment status` lists them")
		return
	}
	intent := h.judge.wish(req)
	payload, err := json.Marshal([]health.Intent{intent})
	if err != nil {
		admin.Refuse(w, http.StatusInternalServerError, err, "")
		return
	}
	h.pools.send(intentKey, payload)
	admin.Reply(w, intent)
}
