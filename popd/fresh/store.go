package fresh

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// Rule is what the site's configuration says for a path. The zero value leaves all to the origin.
type Rule struct {
	Never bool          // store nothing
	TTL   time.Duration // freshness lifetime of successful answers, whatever their header says; 0: not set
	// How long a stale answer may be used where the origin says nothing of it (RFC 5861).
	IfError, WhileRevalidate time.Duration
}

// Exchange is a request that went upstream and what came back.
type Exchange struct {
	Method                    string
	Request, Response         http.Header
	Status                    int
	RequestTime, ResponseTime time.Time     // when the request was sent and the answer's header was received
	Received                  Instant       // ResponseTime
	TierAge                   time.Duration // the answer's age as another cache of ours has counted it; negative: none has
}

// Storable reports whether a shared cache may store the answer and give it to others, and if not, why (a constant
// text for Cache-Status and tests). RFC 9111 §3 and §3.5; where the RFC leaves room we are stricter: an answer that
// sets cookies is one client's, unless a TTL rule claims the path (Header then strips the cookies).
func Storable(x Exchange, r Rule) (ok bool, why string) {
	cc := Governing(x.Response)
	byRule := r.applies(x.Status)
	explicit := cc.Has("public") || cc.Has("max-age") || cc.Has("s-maxage") || !cc.Targeted && x.Response.Get("Expires") != ""
	switch {
	case r.Never:
		return false, "site-rule"
	case x.Method != http.MethodGet:
		return false, "method"
	case !final(x.Status) || aboutRequest[x.Status]:
		return false, "status"
	case cc.Has("must-understand") && !understood[x.Status]:
		return false, "must-understand" // RFC 9111 §5.2.2.3
	case x.Request.Get("Authorization") != "" && !cc.Has("public") && !cc.Has("s-maxage") && !cc.Has("must-revalidate"):
		return false, "authorization" // RFC 9111 §3.5; a rule cannot know whose answer it is
	case byRule:
		return true, ""
	case cc.Has("private"):
		return false, "private"
	case cc.Has("no-store") && !cc.Has("must-understand"):
		return false, "no-store"
	case len(x.Response["Set-Cookie"]) > 0 && !slices.Contains(cc.Fields(), "Set-Cookie"):
		return false, "set-cookie"
	case !explicit && x.Request.Get("Cookie") != "":
		return false, "cookie" // heuristics are no ground to share what a cookie may have shaped
	case !explicit && !heuristic[x.Status]:
		return false, "status"
	case !explicit && x.Response.Get("Last-Modified") == "" && x.Response.Get("Etag") == "":
		return false, "no-freshness" // it would be stale at once and could not be validated
	}
	return true, ""
}

// applies: a TTL rule is for content. An error page or a redirect to a log-in keeps the lifetime that the origin gives.
func (r Rule) applies(status int) bool {
	return r.TTL > 0 && !r.Never && (status == http.StatusOK || status == http.StatusNonAuthoritativeInfo || status == http.StatusNoContent)
}

// final reports whether an answer is complete and not about a part or a condition of another one.
func final(status int) bool {
	return status >= 200 && status <= 599 && status != http.StatusPartialContent && status != http.StatusNotModified
}

// aboutRequest lists statuses that say something of one request or its client rather than of a resource. 428, 429, 431
// and 511 must not be stored (RFC 6585); with the others we are stricter than RFC 9111 §3: whoever can make an origin
// call one request bad could make it bad for all.
var aboutRequest = map[int]bool{
	400: true, 406: true, 407: true, 408: true, 411: true, 412: true, 413: true, 415: true, 416: true, 417: true, 421: true,
	425: true, 426: true, 428: true, 429: true, 431: true, 511: true,
}

// Blames reports whether a status says something of one request, so that it tells nothing of the resource.
func Blames(status int) bool { return aboutRequest[status] }

// heuristic lists the statuses that may be stored without explicit freshness (RFC 9110 §15.1), 206 excepted.
var heuristic = map[int]bool{200: true, 203: true, 204: true, 300: true, 301: true, 308: true, 404: true, 405: true, 410: true, 414: true, 501: true}

// understood lists the statuses whose caching requirements this package implements (RFC 9111 §5.2.2.3).
var understood = map[int]bool{
	200: true, 203: true, 204: true, 300: true, 301: true, 302: true, 303: true, 307: true, 308: true,
	401: true, 403: true, 404: true, 405: true, 410: true, 414: true,
	500: true, 501: true, 502: true, 503: true, 504: true,
}

// ImpliedVary names the request fields that an answer differs by though its Vary may be silent: it is in a coding that a
// client must take, or allows the pages of one origin.
func ImpliedVary(h http.Header) []string {
	var names []string
	if coding := h.Get("Content-Encoding"); coding != "" && coding != "identity" {
		names = append(names, "accept-encoding")
	}
	if allowed := h.Get("Access-Control-Allow-Origin"); allowed != "" && allowed != "*" {
		names = append(names, "origin")
	}
	return names
}

// notStored are the fields that are about a connection or a proxy (RFC 9111 §3.1).
var notStored = []string{
	"Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Proxy-Authentication-Info", "Proxy-Authorization",
	"Te", "Trailer", "Transfer-Encoding", "Upgrade",
}

// Header returns the fields of an upstream answer that may be passed on: all but those of the connection, those that
// Connection names, and Age, which is computed anew. Under a TTL rule cookies are stripped, too. The result shares its
// values with h.
func Header(h http.Header, status int, r Rule) http.Header {
	out := make(http.Header, len(h))
	skip := append(connectionNames(h), notStored...)
	for name, values := range h {
		if name == "Age" || slices.Contains(skip, name) {
			continue
		}
		out[name] = values
	}
	if r.applies(status) {
		delete(out, "Set-Cookie")
	}
	return out
}

// Shared is what others than its asker may get of a header as Header returned it: without the fields that a qualified
// private or no-cache names (RFC 9111 §5.2.2.4 and §5.2.2.7). It is h itself if there are none.
func Shared(h http.Header) http.Header {
	fields := Governing(h).Fields()
	if len(fields) == 0 {
		return h
	}
	out := maps.Clone(h)
	for _, name := range fields {
		delete(out, name)
	}
	return out
}

// notMerged are the fields of a 304 that do not replace stored ones: they describe the stored bytes, or are one
// client's.
var notMerged = []string{"Age", "Content-Length", "Content-Encoding", "Content-Range", "Content-Md5", "Set-Cookie"}

// Merge is the stored header after a 304, or after a HEAD that Updates it (RFC 9111 §3.2, §4.3.4 and §4.3.5): the new
// fields replace the stored ones, except those that describe the stored bytes.
func Merge(stored, update http.Header) http.Header {
	out := make(http.Header, len(stored))
	maps.Copy(out, stored)
	keep := append(connectionNames(update), notStored...)
	for name, values := range update {
		if !slices.Contains(keep, name) && !slices.Contains(notMerged, name) {
			out[name] = values
		}
	}
	return out
}

// Updates reports whether a successful HEAD is about the stored answer, so that its header may be merged: of length and
// validators it has at least one, and each that it has is the stored one (RFC 9111 §4.3.5). Otherwise what is stored is
// outdated.
func Updates(head, stored http.Header, length int64) bool {
	agrees := false
	for _, name := range []string{"Content-Length", "Etag", "Last-Modified"} {
		has, want := head.Get(name), stored.Get(name)
		if name == "Content-Length" {
			want = strconv.FormatInt(length, 10)
		}
		if has != "" && has != want {
			return false
		}
		agrees = agrees || has != ""
	}
	return agrees
}
