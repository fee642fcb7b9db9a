package popd

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/catchment-net/catchment/health"
	"github.com/catchment-net/catchment/popd/flight"
	"github.com/catchment-net/catchment/popd/key"
	"github.com/catchment-net/catchment/popd/upstream"
	"github.com/catchment-net/catchment/site"
	"github.com/catchment-net/catchment/topology"
)

// public answers clients.
func (s *Server) public(w http.ResponseWriter, r *http.Request) {
	if s.draining.Load() {
		w.Header().Set("Connection", "close") // for HTTP/2; the loop says it by itself
	}
	if r.URL.Path == topology.HealthPath {
		s.health(w, r)
		return
	}
	if s.dropsDrained() {
		s.refuse(w, http.StatusServiceUnavailable, "drained", "this node is drained")
		return
	}
	defer s.count()()
	rec := s.record(w, r)
	defer rec.done(r)
	if anycast, _ := r.Context().Value(anycastKey{}).(bool); anycast {
		s.lastAny.Store(s.o.Now().UnixNano())
		s.clients.Add(1)
	}
	c := s.config.Load()
	if upstream.Looped(r.Header, c.loopID, "") {
		s.refuse(rec, http.StatusLoopDetected, "loop", "the request has been through this CDN before")
		return
	}
	s.answer(rec, r, c, false)
}

// internal answers other nodes. What an edge asks for goes to the origin at most, never to another shield; what a peer
// asks for to the shields, never to another peer.
func (s *Server) internal(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == topology.HealthPath {
		s.health(w, r)
		return
	}
	defer s.count()()
	rec := s.record(w, r)
	defer rec.done(r)
	c := s.config.Load()
	from, told := upstream.ParseTier(r.Header.Get(upstream.TierField))
	switch {
	case !told || r.Header.Get(upstream.SchemeField) == "":
		s.refuse(rec, http.StatusBadRequest, "tier", "a request between nodes says its "+upstream.TierField+" and "+upstream.SchemeField)
	case upstream.Looped(r.Header, c.loopID, s.o.Node):
		s.refuse(rec, http.StatusLoopDetected, "loop", "the request has been through this node before")
	default:
		rec.from = askerOf(from)
		s.answer(rec, r, c, true)
	}
}

// count notes a request for Drain; the returned function notes its end.
func (s *Server) count() func() {
	s.last.Store(s.o.Now().UnixNano())
	s.busy.Add(1)
	return func() {
		s.last.Store(s.o.Now().UnixNano())
		s.busy.Add(-1)
	}
}

func (s *Server) answer(w *recorder, r *http.Request, c *config, internal bool) {
	st, host := c.site(r.Host)
	switch {
	case st == nil, !internal && r.TLS != nil && !c.isNamed(r.TLS.ServerName, st):
		s.refuse(w, http.StatusMisdirectedRequest, "misdirected", fmt.Sprintf("no site here has the host %q", r.Host))
		return
	case r.Method == http.MethodConnect, r.Method == http.MethodTrace, r.URL.Path == "*":
		s.refuse(w, http.StatusNotImplemented, "method", r.Method+" is not passed on")
		return
	case r.Header.Get("Upgrade") != "":
		s.refuse(w, http.StatusNotImplemented, "upgrade", "connections are not upgraded here")
		return
	}
	w.site = st
	a := s.newAsk(c, st, host, r, internal)
	if internal {
		w.Header()[upstream.RulesField] = []string{c.digests[st]}
		if r.Header.Get(upstream.RulesField) != c.digests[st] { // what is stored here may be another answer there
			s.pass(w, r, a, "bypass; detail=rules")
			return
		}
	}
	if mustPass(r, a) {
		s.pass(w, r, a, passReason(r))
		return
	}
	s.cached(w, r, a)
}

// refuse answers with one line of text of our own.
func (s *Server) refuse(w http.ResponseWriter, status int, detail, text string) {
	noted(w, resultError)
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	h.Add("Cache-Status", s.member("detail="+detail))
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, "%s: %s\n", s.o.Node, text) // the client is gone if this fails
}

// fail answers for an upstream that gave no answer.
func (s *Server) fail(w http.ResponseWriter, a *ask, fwd string, err error) {
	s.o.Logger.Debug("upstream gave no answer", "pop", a.c.pop, "site", a.site.Name, "error", err)
	status, text := http.StatusBadGateway, "the origin cannot be reached"
	var e *upstream.Error
	switch {
	case errors.Is(err, flight.ErrFull):
		status, text = http.StatusServiceUnavailable, "too many requests wait for the origin"
	case errors.As(err, &e) && e.Timeout:
		status, text = http.StatusGatewayTimeout, "the origin did not answer in time"
	}
	s.refuse(w, status, "upstream; fwd="+fwd, text)
}

// Health is the body of the answer at topology.HealthPath.
type Health struct {
	Node  string `json:"node"`
	POP   string `json:"pop"`
	State string `json:"state"` // up, draining, down
}

// health answers a probe. It takes the path of a request (configuration, key, store), so that what would hang a
// request hangs the probe, too.
func (s *Server) health(w http.ResponseWriter, r *http.Request) {
	h := Health{Node: s.o.Node, POP: s.o.POP, State: health.Down.String()}
	if c := s.config.Load(); c != nil {
		h.POP, h.State = c.pop, health.Up.String()
	}
	if s.draining.Load() {
		h.State = health.Draining.String()
	}
	u := key.Canonical("http", r.Host, r.URL.EscapedPath(), "", site.Key{})
	v, _ := s.store.Get(u.Key(), nil)
	v.Release()
	body, err := json.Marshal(h)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if h.State == health.Down.String() {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_, _ = w.Write(append(body, '\n')) // the prober is gone if this fails
}
