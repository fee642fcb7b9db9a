package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"time"

	"github.com/catchment-net/catchment/admin"
	"github.com/catchment-net/catchment/bgpd"
	"github.com/catchment-net/catchment/control"
	"github.com/catchment-net/catchment/health"
	"github.com/catchment-net/catchment/internal/event"
	"github.com/catchment-net/catchment/internal/obs"
)

// Status is what `catchment status` prints of one node: itself, and the fleet as it sees it.
type Status struct {
	Node   string `json:"node"`
	POP    string `json:"pop"`
	Config string `json:"config"` // the topology's name
	Digest string `json:"digest"`

	Diverged string `json:"diverged,omitempty"` // the nodes whose configuration is another, for a minute already

	Held *Held `json:"held,omitempty"` // a configuration that waits for `apply --force`

	BadZones []control.BadZone `json:"bad_zones,omitempty"` // those that are not served as their files say

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
	For    time.Duration `json:"for,omitempty"`   // 0 means until lifted
	Force  bool          `json:"force,omitempty"` // although more POPs would be drained than the topology allows
}

// routes hangs the hub's API on the admin socket.
func (h *hub) routes() {
	h.admin.Handle("GET /v1/status", func(w http.ResponseWriter, _ *http.Request) { admin.Reply(w, h.status()) })
	h.admin.Handle("GET /v1/events", admin.Events(h.o.Events).ServeHTTP)
	h.admin.Handle("POST /v1/intents", h.serveIntent)
	h.admin.Handle("POST /v1/apply", h.serveApply)
	h.admin.Handle("POST /v1/restart", h.serveRestart)
	h.admin.Handle("POST "+PurgePath, h.servePurge)
	h.admin.Handle("GET /v1/explain/client", h.serveClient)
	bgpRoutes(h.admin, h.bgp)
	h.admin.Handle("GET /metrics", obs.Handler(h.o.Registry, h.o.Logger).ServeHTTP)
}

func (h *hub) status() Status {
	snap := h.snap.Load()
	st := Status{
		Node: h.self.Name, POP: h.self.POP.Name, Config: snap.Topology.Name, Digest: snap.Digest, Since: h.since, Now: h.o.now(),
		Links: map[health.Service]string{}, View: withProgress(h.judge.seen.Load(), h.bgp.Progress()), BGP: h.bgp.Neighbors(), Members: h.pools.fleet.Members(),
		Intents: h.judge.intents(), Diverged: h.pools.census.reported(), Held: h.held.Load(), BadZones: snap.BadZones,
	}
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

// maxReason bounds Why and By, in bytes: with them an intent must fit one datagram of gossip.
const maxReason = 200

func (h *hub) serveIntent(w http.ResponseWriter, r *http.Request) {
	var req IntentRequest
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10)).Decode(&req); err != nil {
		admin.Refuse(w, http.StatusBadRequest, fmt.Errorf("decode intent: %w", err), `send {"target": "ams", "drain": true}`)
		return
	}
	topo := h.snap.Load().Topology
	switch {
	case topo.POP(req.Target) == nil && topo.Node(req.Target) == nil:
		admin.Refuse(w, http.StatusNotFound, fmt.Errorf("no POP or node is called %q", req.Target), "`catchment status` lists them")
	case len(req.Why) > maxReason || len(req.By) > maxReason:
		admin.Refuse(w, http.StatusBadRequest, fmt.Errorf("reason of %d bytes by an author of %d", len(req.Why), len(req.By)), fmt.Sprintf("say it in %d bytes", maxReason))
	case req.For < 0:
		admin.Refuse(w, http.StatusBadRequest, fmt.Errorf("drain for %v", req.For), "want a time to come, or none: until lifted")
	default:
		if err := tooMany(topo, h.judge.intents(), req.Target, h.o.now()); err != nil && req.Drain && !req.Force {
			admin.Refuse(w, http.StatusConflict, err, "undrain first, or insist with --force")
			return
		}
		intent := h.judge.wish(req)
		h.pools.send(intentKey, encodeIntents([]health.Intent{intent}))
		admin.Reply(w, intent)
	}
}

// serveRestart has every daemon of this node begin anew. Each drains first, as after a signal.
func (h *hub) serveRestart(w http.ResponseWriter, _ *http.Request) {
	if h.o.Restart == nil {
		admin.Refuse(w, http.StatusNotImplemented, fmt.Errorf("node %q cannot restart itself", h.self.Name), "restart its service")
		return
	}
	h.o.Events.Add(event.Event{Kind: event.Process, Subject: h.self.Name, State: "restarting", Cause: "asked for"})
	h.mu.Lock()
	for _, p := range h.ports {
		p.sink(update{Restart: true})
	}
	h.mu.Unlock()
	if err := h.o.Restart(); err != nil {
		admin.Refuse(w, http.StatusNotImplemented, err, "restart its service")
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// bgpRoutes hangs the looking glass of a speaker on an admin socket.
func bgpRoutes(a *admin.Server, b *bgpd.Server) {
	a.Handle("GET /v1/bgp/neighbors", func(w http.ResponseWriter, _ *http.Request) { admin.Reply(w, b.Neighbors()) })
	a.Handle("GET /v1/explain", func(w http.ResponseWriter, r *http.Request) {
		prefix, err := netip.ParsePrefix(r.URL.Query().Get("prefix"))
		if err != nil {
			admin.Refuse(w, http.StatusBadRequest, fmt.Errorf("prefix %q: %w", r.URL.Query().Get("prefix"), err), "give it as 192.0.2.0/24")
			return
		}
		why, err := b.Explain(prefix)
		if err != nil {
			admin.Refuse(w, http.StatusNotFound, err, "")
			return
		}
		admin.Reply(w, why)
	})
	a.Handle("GET /v1/bgp/origins", func(w http.ResponseWriter, _ *http.Request) { admin.Reply(w, b.Origins()) })
	a.Handle("GET /v1/bgp/rib", func(w http.ResponseWriter, r *http.Request) {
		var prefix netip.Prefix
		if text := r.URL.Query().Get("prefix"); text != "" {
			var err error
			if prefix, err = netip.ParsePrefix(text); err != nil {
				admin.Refuse(w, http.StatusBadRequest, fmt.Errorf("prefix %q: %w", text, err), "give it as 192.0.2.0/24")
				return
			}
		}
		in, out := r.URL.Query().Get("in"), r.URL.Query().Get("out")
		var rib []bgpd.RIBEntry
		var err error
		switch {
		case in != "" && out != "":
			err = errors.New("what a neighbour has sent, or what it was sent: want one of the two")
		case in != "":
			rib, err = b.AdjRIB(in, false, prefix)
		case out != "":
			rib, err = b.AdjRIB(out, true, prefix)
		default:
			rib, err = b.RIB(prefix)
		}
		if err != nil {
			admin.Refuse(w, http.StatusBadRequest, err, "")
			return
		}
		admin.Reply(w, rib)
	})
}
