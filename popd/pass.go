package popd

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/catchment-net/catchment/popd/flight"
	"github.com/catchment-net/catchment/popd/fresh"
	"github.com/catchment-net/catchment/popd/key"
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
	s.metrics.requests.WithLabelValues("pass").Inc()
	req := upstream.Request{
		Method: r.Method, URL: a.url, Target: r.URL.EscapedPath(), Header: a.header,
		Shields: s.shields(a), Origins: a.site.Origins, OriginHost: a.site == a.c.any,
	}
	if !strings.HasPrefix(req.Target, "/") {
		req.Target = "/" + req.Target
	}
	if r.URL.RawQuery != "" {
		req.Target += "?" + r.URL.RawQuery
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
	case body != nil && body.late.Load(): // the server takes this for a client who has gone
		s.refuse(w, http.StatusRequestTimeout, "client; fwd="+fwd, "the body of the request stood still")
		return
	case gone:
		return
	default:
		s.fail(w, a, fwd, err)
		return
	}
	defer resp.Body.Close()
	if !fresh.Safe(r.Method) && resp.StatusCode >= 200 && resp.StatusCode < 400 {
		s.invalidate(a, resp.Header)
	}
	h := cleaned(resp.Header)
	fresh.StripConnection(h)
	s.writeHeader(w, r, h, outcome{
		status: resp.StatusCode, length: resp.ContentLength,
		member: s.member(detailed(r, "", "fwd="+fwd, "fwd-status="+strconv.Itoa(resp.StatusCode))...),
	}, func() { s.writeBody(w, r, flight.Streamed(resp.Body)) })
}

// clientBody is the body of a client's request, which must not stand still: it holds an upstream connection.
type clientBody struct {
	body     io.Reader
	rc       *http.ResponseController
	deadline func() time.Time
	http2    bool
	late     atomic.Bool
}

// Read is io.Reader's.
func (b *clientBody) Read(p []byte) (int, error) {
	_ = b.rc.SetReadDeadline(b.deadline()) // not every reader has deadlines; those of a server do
	n, err := b.body.Read(p)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		b.late.Store(true)
	}
	// At the body's end the server goes on reading the connection to learn when the client leaves: that has no limit.
	// An HTTP/2 stream is ended by its deadline even while nobody reads. Else it stays, for what the server itself reads
	// of a body that we have not.
	if err == io.EOF || b.http2 && err == nil {
		_ = b.rc.SetReadDeadline(time.Time{})
	}
	return n, err
}

// invalidate drops what is stored, or on its way into the store, for the URL of an unsafe request and for those that its
// answer names on the same host.
func (s *Server) invalidate(a *ask, h http.Header) {
	s.forget(a.primary)
	for _, name := range []string{"Location", "Content-Location"} {
		u, err := url.Parse(h.Get(name))
		if err != nil || h.Get(name) == "" || u.Host != "" && !strings.EqualFold(u.Host, a.url.Host) {
			continue
		}
		base := &url.URL{Scheme: a.url.Scheme, Host: a.url.Host, Path: "/"}
		if at, err := base.Parse(a.url.RequestURI()); err == nil {
			base = at
		}
		u = base.ResolveReference(u)
		s.forget(key.Canonical(u.Scheme, u.Host, u.EscapedPath(), u.RawQuery, keyRules(a.c, a.site)).Key())
	}
}

func (s *Server) forget(k key.Key) {
	s.flights.Forget(k)
	s.store.Remove(k)
}
