// Package origin is the web server that a lab runs for each origin of its topology. Its bodies are a function of the
// request, so that a client can tell a right answer from a wrong one by every byte (Verify).
//
//	GET /, any other path        2 KiB, Cache-Control: max-age=5, ETag, Last-Modified
//	GET /static/…                16 KiB, max-age=86400
//	GET /account…, /cart…        private: names its asker (Cookie: client=ID) and sets the same cookie again
//	?size=N                      N bytes instead, at most 16 MiB
//	?delay=300ms                 answer after that time, at most 10 s
//
// A body depends on path, size and, when private, on the asker; never on Host, on other parameters or on the time, so
// that caches may normalise those.
package origin

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Limits and defaults of a request.
const (
	MaxSize     = 16 << 20         // bytes of a body
	MaxDelay    = 10 * time.Second // of ?delay=
	defaultSize = 2 << 10
	staticSize  = 16 << 10
	cookieName  = "client"
	nobody      = "nobody" // the asker without a cookie
)

// Options configures a Server. The zero value of each field is its default.
type Options struct {
	Host  string           // the origin's name, for people: the Server header
	Limit float64          // requests per second it can bear, with bursts of half a second; 0 means unlimited
	Now   func() time.Time // nil means time.Now
}

// Counts is how many requests a Server has answered, by class. They only grow.
type Counts struct {
	Shared      int64 `json:"shared"`       // cacheable for a short time
	Static      int64 `json:"static"`       // cacheable for long
	Private     int64 `json:"private"`      // for their asker only
	Conditional int64 `json:"conditional"`  // of these, with If-None-Match or If-Modified-Since
	Limited     int64 `json:"limited"`      // refused with 503: beyond Limit
	Bad         int64 `json:"bad_requests"` // refused with 400 or 405
}

// Requests is how many there were in all, refused ones included.
func (c Counts) Requests() int64 { return c.Shared + c.Static + c.Private + c.Limited + c.Bad }

// Server is one origin. It is safe for concurrent use.
type Server struct {
	o Options

	shared, static, private, conditional, limited, bad atomic.Int64

	mu     sync.Mutex // guards the token bucket
	tokens float64
	filled time.Time
}

var _ http.Handler = (*Server)(nil)

// New makes a Server; it has nothing to start or to stop.
func New(o Options) (*Server, error) {
	if o.Limit < 0 || math.IsNaN(o.Limit) || math.IsInf(o.Limit, 0) {
		return nil, fmt.Errorf("origin %q: limit %v: want 0 (unlimited) or requests per second", o.Host, o.Limit)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Host == "" {
		o.Host = "origin"
	}
	return &Server{o: o, tokens: burst(o.Limit), filled: o.Now()}, nil
}

// Counts returns what has been answered so far.
func (s *Server) Counts() Counts {
	return Counts{
		Shared: s.shared.Load(), Static: s.static.Load(), Private: s.private.Load(),
		Conditional: s.conditional.Load(), Limited: s.limited.Load(), Bad: s.bad.Load(),
	}
}

func burst(limit float64) float64 { return max(1, limit/2) }

// admit takes one token; it reports false if the origin has more than it can bear.
func (s *Server) admit() bool {
	if s.o.Limit == 0 {
		return true
	}
	now := s.o.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if gone := now.Sub(s.filled); gone > 0 {
		s.tokens = min(burst(s.o.Limit), s.tokens+gone.Seconds()*s.o.Limit)
		s.filled = now
	}
	if s.tokens < 1 {
		return false
	}
	s.tokens--
	return true
}

// ServeHTTP answers GET and HEAD, conditional and range requests included (RFC 9110 §13, §14).
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Server", s.o.Host)
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		s.bad.Add(1)
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "only GET and HEAD", http.StatusMethodNotAllowed)
		return
	}
	want, err := parse(r.URL, askerOf(r))
	if err != nil {
		s.bad.Add(1)
		w.Header().Set("Cache-Control", "no-store")
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if !s.admit() {
		s.limited.Add(1)
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Retry-After", "1")
		http.Error(w, "more requests than this origin can bear", http.StatusServiceUnavailable)
		return
	}
	if want.delay > 0 && !wait(r, want.delay) {
		return
	}
	s.count(r, want)
	s.answer(w, r, want)
}

// wait reports false if the client left before.
func wait(r *http.Request, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-r.Context().Done():
		return false
	case <-t.C:
		return true
	}
}

func (s *Server) count(r *http.Request, want wanted) {
	switch {
	case want.owner != "":
		s.private.Add(1)
	case want.static:
		s.static.Add(1)
	default:
		s.shared.Add(1)
	}
	if r.Header.Get("If-None-Match") != "" || r.Header.Get("If-Modified-Since") != "" {
		s.conditional.Add(1)
	}
}

func (s *Server) answer(w http.ResponseWriter, r *http.Request, want wanted) {
	h := w.Header()
	body := newBody(want.path, want.size, want.owner)
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Etag", fmt.Sprintf(`"%016x"`, body.seed))
	var modified time.Time
	switch {
	case want.owner != "":
		h.Set("Cache-Control", "private")
		http.SetCookie(w, &http.Cookie{Name: cookieName, Value: want.owner, Path: "/"})
	case want.static:
		h.Set("Cache-Control", "max-age=86400")
		modified = lastModified()
	default:
		h.Set("Cache-Control", "max-age=5")
		modified = lastModified()
	}
	http.ServeContent(w, r, "", modified, body)
}

// lastModified is when all content was written last: it never changes, so neither does its date.
func lastModified() time.Time { return time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC) }

// askerOf is the client that a request's cookie names.
func askerOf(r *http.Request) string {
	if c, err := r.Cookie(cookieName); err == nil {
		return c.Value
	}
	return ""
}

// wanted is the identity of an answer.
type wanted struct {
	path   string
	size   int64
	owner  string // the asker of a private path; empty for what all may see
	static bool
	delay  time.Duration
}

// parse reads what a URL asks for; asker is the client's cookie.
func parse(u *url.URL, asker string) (wanted, error) {
	w := wanted{path: u.Path, size: defaultSize}
	if w.path == "" {
		w.path = "/"
	}
	if strings.HasPrefix(w.path, "/static/") {
		w.static, w.size = true, staticSize
	}
	if strings.HasPrefix(w.path, "/account") || strings.HasPrefix(w.path, "/cart") {
		w.owner = asker
		if asker == "" {
			w.owner = nobody
		}
	}
	query := u.Query()
	if text := query.Get("size"); text != "" {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < 0 || n > MaxSize {
			return w, fmt.Errorf("size %q: want 0 to %d bytes", text, MaxSize)
		}
		w.size = n
	}
	if text := query.Get("delay"); text != "" {
		d, err := time.ParseDuration(text)
		if err != nil || d < 0 || d > MaxDelay {
			return w, errors.New("delay " + strconv.Quote(text) + ": want 0s to " + MaxDelay.String())
		}
		w.delay = d
	}
	return w, nil
}
