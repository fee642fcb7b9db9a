package popd

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/catchment-net/catchment/popd/flight"
	"github.com/catchment-net/catchment/popd/fresh"
	"github.com/catchment-net/catchment/popd/key"
	"github.com/catchment-net/catchment/popd/store/mem"
	"github.com/catchment-net/catchment/popd/upstream"
)

// passReason is the fwd parameter of Cache-Status for a request that no store may answer.
func passReason(r *http.Request) string {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return "method"
	}
	return "bypass"
}

// pass sends the client's own request upstream and its answer back; nothing is stored. After an unsafe method that
// succeeded, what we hold for its URL goes (RFC 9111 §4.4).
func (s *Server) pass(w http.ResponseWriter, r *http.Request, a *ask, fwd string) {
	noted(w, resultPass)
	resp := s.forward(w, r, a, fwd, a.header, target(r))
	if resp == nil {
		return
	}
	defer resp.Body.Close()
	if !fresh.Safe(r.Method) && resp.StatusCode >= 200 && resp.StatusCode < 400 {
		s.invalidate(a, resp.Header)
	}
	s.writePassed(w, r, resp, fwd, false)
}

// writePassed hands an answer on that is its asker's alone.
func (s *Server) writePassed(w http.ResponseWriter, r *http.Request, resp *upstream.Answer, fwd string, conditional bool) {
	h := cleaned(resp.Header)
	fresh.StripConnection(h)
	s.writeHeader(w, r, h, outcome{
		status: resp.StatusCode, length: resp.ContentLength, conditional: conditional,
		member: s.member(detailed(r, "", "fwd="+fwd, "fwd-status="+strconv.Itoa(resp.StatusCode))...),
	}, func() { s.writeBody(w, r, flight.Streamed(resp.Body)) })
}

// target is path and query as the client wrote them.
func target(r *http.Request) string {
	t := r.URL.EscapedPath()
	if !strings.HasPrefix(t, "/") {
		t = "/" + t
	}
	if r.URL.RawQuery != "" {
		t += "?" + r.URL.RawQuery
	}
	return t
}

// forward sends the client's own request upstream, with the given header and target. It returns nil if there is no
// answer to hand on, and has told the client why then. The answer's body must be closed.
func (s *Server) forward(w http.ResponseWriter, r *http.Request, a *ask, fwd string, header http.Header, target string) *upstream.Answer {
	req := s.request(a, r.Method, header)
	req.Target = target
	if !fresh.Safe(r.Method) { // who keeps the key hears that its answer is outdated
		peer, _, done := s.peer(a)
		defer done()
		req.Peer = peer
	}
	var body *clientBody
	if r.ContentLength != 0 {
		body = &clientBody{body: r.Body, rc: http.NewResponseController(w), deadline: s.deadline, http2: r.ProtoMajor == 2}
		req.Body, req.Length = body, r.ContentLength
	}
	var resp *upstream.Answer
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		resp, err = s.countUpstream(s.up.Do(r.Context(), req))
	}()
	gone := !await(w, r, a, done)
	<-done // soon after the client has gone, since Do heeds the request's context
	switch {
	case err == nil:
		notedUpstream(w, resp.Tier, tookOf(resp))
		if body != nil {
			resp.Body = &untilClosed{resp.Body, body.leave}
		}
		return resp
	case body != nil && body.late.Load(): // the server takes this for a client who has gone
		s.refuse(w, http.StatusRequestTimeout, "client; fwd="+fwd, "the body of the request stood still")
	case !gone:
		s.fail(w, a, fwd, err)
	}
	if body != nil {
		body.leave()
	}
	return nil
}

// head answers a HEAD that the store cannot answer. What upstream says of the answer that we hold, stale as it may be,
// updates or ends it (RFC 9111 §4.3.5): so it is asked for as for all clients, and the client's own conditions are ours
// to answer.
func (s *Server) head(w http.ResponseWriter, r *http.Request, a *ask, fwd string, stale mem.View) {
	noted(w, resultPass)
	header, target, stamp := a.header, target(r), s.o.Purges.Head()
	mine := !stale.OK() || unkeyed(a.shareable(), stale.Vary())
	if !mine {
		header, target = a.shareable(), a.url.RequestURI()
	}
	resp := s.forward(w, r, a, fwd, header, target)
	if resp == nil {
		return
	}
	defer resp.Body.Close()
	if !mine && resp.StatusCode == http.StatusOK {
		s.update(a, stale, stamp, resp)
	}
	s.writePassed(w, r, resp, fwd, !mine)
}

// update takes the header of a HEAD's answer over into the stored answer, or drops that if it is outdated.
func (s *Server) update(a *ask, stale mem.View, stamp uint64, resp *upstream.Answer) {
	x := s.exchange(a, resp)
	ok, _ := s.storable(a, x, resp)
	stored := stale.Fields()
	if !ok || !fresh.Updates(resp.Header, stored, stale.Length()) {
		s.forget(a.primary)
		return
	}
	x.Response = fresh.Merge(stored, cleaned(resp.Header.Clone()))
	shared := fresh.Shared(x.Response)
	if age, ok := resp.Header["Age"]; ok {
		x.Response["Age"] = age
	}
	s.store.Update(stale, mem.Entry{
		Primary: a.primary, Status: stale.Status(), Header: shared, Policy: fresh.NewPolicy(x, a.rule),
		Tags: purgeTags(a, shared), Stamp: stamp,
	})
}

// clientBody is the body of a client's request, which must not stand still: it holds an upstream connection.
type clientBody struct {
	body     io.Reader
	rc       *http.ResponseController
	deadline func() time.Time
	http2    bool
	mu       sync.Mutex // guards left; held while a deadline is set, never while waiting
	left     bool       // the handler has returned: the connection is another request's
	late     atomic.Bool
}

// patience sets how long a read may take. Not every reader has deadlines; those of a server do.
func (b *clientBody) patience(until time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.left {
		_ = b.rc.SetReadDeadline(until)
	}
}

// leave says that the handler returns. An upstream that has answered early may have us read on in its own goroutine.
func (b *clientBody) leave() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.left = true
}

// Read is io.Reader's.
func (b *clientBody) Read(p []byte) (int, error) {
	b.patience(b.deadline())
	n, err := b.body.Read(p)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		b.late.Store(true)
	}
	// At the body's end the server goes on reading the connection to learn when the client leaves: that has no limit.
	// An HTTP/2 stream is ended by its deadline even while nobody reads. Else it stays, for what the server itself reads
	// of a body that we have not.
	if err == io.EOF || b.http2 && err == nil {
		b.patience(time.Time{})
	}
	return n, err
}

// invalidate drops what is stored, or on its way into the store, for the URL of an unsafe request and for those that its
// answer names of the same origin: scheme, host and port (RFC 9111 §4.4). Its Cache-Group-Invalidation ends groups of that
// origin (RFC 9875 §3).
func (s *Server) invalidate(a *ask, h http.Header) {
	s.forget(a.primary)
	if groups := fresh.Groups(h["Cache-Group-Invalidation"]); len(groups) > 0 {
		s.o.Purges.Purge(false, a.groupTags(groups)...)
	}
	base, err := url.Parse(a.url.String())
	if err != nil {
		return // a canonical URL can be read
	}
	for _, name := range []string{"Location", "Content-Location"} {
		u, err := base.Parse(h.Get(name))
		if err != nil || h.Get(name) == "" {
			continue
		}
		if named := key.Canonical(u.Scheme, u.Host, u.EscapedPath(), u.RawQuery, keyRules(a.c, a.site)); named.Scheme == a.url.Scheme && named.Host == a.url.Host {
			s.forget(named.Key())
		}
	}
}

func (s *Server) forget(k key.Key) {
	s.flights.Forget(k)
	s.store.Remove(k)
}
