package popd

import (
	"io"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/catchment-net/catchment/popd/flight"
	"github.com/catchment-net/catchment/popd/fresh"
	"github.com/catchment-net/catchment/popd/ranges"
	"github.com/catchment-net/catchment/popd/store/mem"
	"github.com/catchment-net/catchment/popd/upstream"
)

// serveStored answers from a stored entry.
func (s *Server) serveStored(w http.ResponseWriter, r *http.Request, e mem.View, open opener, now fresh.Instant) {
	policy := e.Policy()
	s.writeHeader(w, r, e.Fields(), outcome{
		status: e.Status(), length: e.Length(), age: policy.Age(now), aged: true, conditional: true, open: open, random: true,
		member: s.member(detailed(r, "", "hit", "ttl="+seconds(policy.TTL(now)))...),
	}, func() {
		body := open(ranges.Range{Length: e.Length()})
		defer body.Close()
		s.writeBody(w, r, body)
	})
}

// serveFlight answers from a flight and reports whether the client wanted the whole body, rather than a part or a 304.
// Where open is set, it opens parts of the body in any order; else they come from body, in one pass.
func (s *Server) serveFlight(w http.ResponseWriter, r *http.Request, ans *answer, body flight.Body, open opener, fwd string, asker bool) (wanted bool) {
	now := s.now()
	if ans.tier != "" {
		notedUpstream(w, ans.tier, ans.took)
	}
	params := []string{"fwd=" + fwd}
	if ans.fwdStatus != 0 {
		params = append(params, "fwd-status="+strconv.Itoa(ans.fwdStatus))
	}
	if ans.storable && ans.stored {
		params = append(params, "stored", "ttl="+seconds(ans.policy.TTL(now)))
	}
	if !asker {
		params = append(params, "collapsed")
	}
	age := ans.policy.Age(now)
	header := ans.shared
	if asker {
		header = ans.header
	}
	random := open != nil
	if random {
		body = open(ranges.Range{Length: ans.length})
		defer body.Close()
	} else {
		open = onePass(body)
	}
	s.writeHeader(w, r, header, outcome{
		status: ans.status, length: ans.length, age: age, aged: age >= time.Second || internal(r), conditional: ans.storable,
		open: open, random: random, member: s.member(detailed(r, ans.detail, params...)...),
	}, func() {
		wanted = true
		s.writeBody(w, r, body)
	})
	return wanted
}

// outcome is what one answer needs beyond its stored header.
type outcome struct {
	status      int
	length      int64 // bytes of the body, -1 if unknown
	age         time.Duration
	aged        bool   // send Age
	conditional bool   // answer 304 if the client's conditions say so
	member      string // of Cache-Status
	open        opener // of a body of known length that ranges may be asked of
	random      bool   // it opens parts in any order, not only in theirs
}

// writeHeader sends the header, and calls body if a body follows.
func (s *Server) writeHeader(w http.ResponseWriter, r *http.Request, stored http.Header, o outcome, body func()) {
	hasBody := r.Method != http.MethodHead && o.status != http.StatusNoContent && o.status != http.StatusNotModified
	if o.conditional && o.status == http.StatusOK && fresh.NotModified(r.Header, stored) {
		stored, o.status, hasBody = fresh.NotModifiedHeader(stored, internal(r)), http.StatusNotModified, false
	}
	parts, partial := partsOf(r, stored, o)
	h := w.Header()
	maps.Copy(h, stored)
	if o.aged {
		h["Age"] = []string{seconds(o.age)}
		if internal(r) {
			h[upstream.AgeField] = []string{strconv.FormatInt(o.age.Milliseconds(), 10)}
		}
	}
	h["Via"] = appended(stored["Via"], viaMember(1, 1, s.o.Node))
	h["Cache-Status"] = appended(stored["Cache-Status"], o.member)
	if o.length >= 0 && o.status != http.StatusNotModified && o.status != http.StatusNoContent {
		h["Content-Length"] = []string{strconv.FormatInt(o.length, 10)}
	}
	if _, set := h["Content-Type"]; !set {
		h["Content-Type"] = nil // keeps net/http from guessing one
	}
	switch {
	case !hasBody:
		w.WriteHeader(o.status)
	case partial:
		s.writeParts(w, r, parts, o)
	default:
		w.WriteHeader(o.status)
		body()
	}
}

// writeBody copies the body to the client. One that breaks off must not look whole: the connection is cut.
func (s *Server) writeBody(w http.ResponseWriter, r *http.Request, body flight.Body) {
	rc := http.NewResponseController(w)
	for {
		p, err := body.Next(r.Context())
		if err == io.EOF { //nolint:errorlint // what broke a body may wrap io.EOF; only the bare one ends a whole body
			return
		}
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		// Not every writer has deadlines; those of a server do.
		_ = rc.SetWriteDeadline(s.deadline())
		if _, err := w.Write(p); err != nil {
			return // the client has gone
		}
		if body.Live() {
			if err := rc.Flush(); err != nil {
				return
			}
		}
	}
}

// deadline bounds one write to a client that reads nothing.
func (s *Server) deadline() time.Time { return time.Now().Add(s.o.Stall) }

// member is our member of Cache-Status (RFC 9211 §2).
func (s *Server) member(params ...string) string {
	return sfItem(s.o.Node) + "; " + strings.Join(params, "; ")
}

// detailed adds the detail parameter: why an answer is as it is, or, in an answer to another node, which tier this is.
func detailed(r *http.Request, detail string, params ...string) []string {
	if internal(r) {
		detail = upstream.Shield
		if from, _ := upstream.ParseTier(r.Header.Get(upstream.TierField)); from.Peer {
			detail = upstream.Peer
		}
	}
	if detail == "" {
		return params
	}
	return append(params, "detail="+detail)
}

// internal reports whether another node asks.
func internal(r *http.Request) bool { return r.Context().Value(internalKey{}) != nil }

// sfItem writes a name as a structured field's token where it is one, else as its string (RFC 8941 §3.3).
func sfItem(name string) string {
	first := name[0] | 0x20
	token := first >= 'a' && first <= 'z'
	for i := 0; token && i < len(name); i++ {
		c := name[i]
		token = c == '-' || c == '.' || c == '_' || '0' <= c && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z'
	}
	if token {
		return name
	}
	return strconv.QuoteToASCII(name)
}

func viaMember(major, minor int, node string) string {
	return strconv.Itoa(major) + "." + strconv.Itoa(minor) + " " + node
}

func appended(have []string, member string) []string {
	return []string{strings.Join(append(append([]string(nil), have...), member), ", ")}
}

// seconds rounds down, as Age and ttl do.
func seconds(d time.Duration) string {
	n := int64(d / time.Second)
	if d < 0 && d%time.Second != 0 {
		n--
	}
	return strconv.FormatInt(n, 10)
}
