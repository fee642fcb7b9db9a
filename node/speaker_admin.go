package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/catchment-net/catchment/admin"
	"github.com/catchment-net/catchment/bgpd"
	"github.com/catchment-net/catchment/health"
	"github.com/catchment-net/catchment/internal/event"
)

// routes hangs the speaker's API on its admin socket: what a node of a fleet offers, for one that has none.
func (s *Speaker) routes(ring *event.Ring) {
	s.admin.Handle("GET /v1/events", admin.Events(ring).ServeHTTP)
	s.admin.Handle("GET /v1/status", func(w http.ResponseWriter, _ *http.Request) { admin.Reply(w, s.status()) })
	s.admin.Handle("POST /v1/intents", s.serveIntent)
	s.admin.Handle("GET /v1/explain/client", func(w http.ResponseWriter, _ *http.Request) {
		admin.Refuse(w, http.StatusNotImplemented, errors.New("this speaker steers no clients by DNS"), "want a prefix, as 192.0.2.0/24")
	})
	bgpRoutes(s.admin, s.bgp)
}

func (s *Speaker) status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := Status{Node: bgpd.StandaloneNode, POP: bgpd.StandalonePOP, Config: "flags", Since: s.since, Now: time.Now(), View: s.view, BGP: s.bgp.Neighbors()}
	if st.View == nil {
		st.View = bgpd.StandaloneView(0, st.Now, s.tracker.View(), s.wishes.now())
	}
	st.View = withProgress(st.View, s.bgp.Progress())
	if i := s.wishes.now(); i.InForce(st.Now) {
		st.Intents = []health.Intent{i}
	}
	return st
}

func (s *Speaker) serveIntent(w http.ResponseWriter, r *http.Request) {
	var req IntentRequest
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10)).Decode(&req); err != nil {
		admin.Refuse(w, http.StatusBadRequest, fmt.Errorf("decode intent: %w", err), `send {"target": "self", "drain": true}`)
		return
	}
	if req.Target != bgpd.StandaloneNode && req.Target != bgpd.StandalonePOP {
		admin.Refuse(w, http.StatusNotFound, fmt.Errorf("no POP or node is called %q", req.Target), fmt.Sprintf("a speaker without a fleet is called %s", bgpd.StandaloneNode))
		return
	}
	if req.For < 0 {
		admin.Refuse(w, http.StatusBadRequest, fmt.Errorf("drain for %v", req.For), "want a time to come, or none: until lifted")
		return
	}
	intent := health.Intent{Target: req.Target, Kind: health.IntentDrain, Why: req.Why, By: req.By, Lifted: !req.Drain, Set: time.Now()}
	if req.For > 0 {
		intent.Expires = intent.Set.Add(req.For)
	}
	if err := s.wishes.set(intent); err != nil {
		admin.Refuse(w, http.StatusInternalServerError, err, "is there room in the folder that --state names?")
		return
	}
	s.refresh()
	admin.Reply(w, intent)
}

// refresh lets the server know what is wanted now.
func (s *Speaker) refresh() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.publish(time.Now())
}

// followWishes lifts an intent when its time has come, until ctx is done.
func (s *Speaker) followWishes(ctx context.Context) error {
	s.refresh()
	expiry := time.NewTimer(time.Hour)
	defer expiry.Stop()
	for {
		if in, ok := s.wishes.expires(time.Now()); ok {
			expiry.Reset(in)
		} else {
			expiry.Stop()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.wishes.news:
		case <-expiry.C:
			s.refresh()
		}
	}
}
