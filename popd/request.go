package popd

import (
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/catchment-net/catchment/popd/fresh"
	"github.com/catchment-net/catchment/popd/key"
	"github.com/catchment-net/catchment/popd/upstream"
	"github.com/catchment-net/catchment/site"
)

// ask is one client request made ready: whose it is, under which key, and what goes upstream.
type ask struct {
	c       *config
	site    *site.Site
	url     key.URL
	primary key.Key
	rule    fresh.Rule
	wish    fresh.Wish
	seek    int64       // the slice to begin with, if nothing of the answer is stored; 0 asks for the whole
	header  http.Header // for upstream: normalised, signed, without what only we may say
	early   chan upstream.Early
	from    upstream.Asker // the node that asks, on the internal side; without a name: a client
}

// newAsk reads a request for a host of ours. c's site has been found already.
func (s *Server) newAsk(c *config, st *site.Site, host string, r *http.Request, internal bool) *ask {
	a := &ask{c: c, site: st, early: make(chan upstream.Early, maxEarly)}
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	h := r.Header.Clone()
	client := clientAddr(r)
	if internal {
		scheme = h.Get(upstream.SchemeField)
		a.from, _ = upstream.ParseTier(h.Get(upstream.TierField)) // internal has looked
		client = h.Get("X-Forwarded-For")
	}
	fresh.StripConnection(h)
	stripUntrusted(h)
	key.Normalise(h)
	a.wish = fresh.ReadWish(r.Header, st.Cache.ObeyClients)
	a.url = key.Canonical(scheme, host, r.URL.EscapedPath(), r.URL.RawQuery, keyRules(c, st))
	a.primary = a.url.Key()
	a.rule = ruleFor(st.Cache, a.url)
	h.Set("X-Forwarded-Proto", a.url.Scheme)
	h.Set("X-Forwarded-Host", a.url.Host)
	h.Set("X-Forwarded-For", client)
	h["Via"] = []string{strings.Join(append(h["Via"], viaMember(r.ProtoMajor, r.ProtoMinor, s.o.Node)), ", ")}
	upstream.Sign(h, c.loopID, s.o.Node)
	if _, set := h["User-Agent"]; !set {
		h["User-Agent"] = []string{""} // keeps net/http from adding its own
	}
	a.header = h
	return a
}

func clientAddr(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// ruleFor is what the site's rules say of a path, with the site's allowance for stale answers. A path that an origin may
// read as another one (`/static/..%2Fcart`, `/cart;/x`) is never stored if either reading says so, and has a rule's ttl
// only if both say the same.
func ruleFor(c site.Cache, u key.URL) fresh.Rule {
	r := fresh.Rule{IfError: c.Stale.IfError, WhileRevalidate: c.Stale.WhileRevalidate}
	first, second := firstRule(c.Rules, u.Path), -1
	if len(c.Rules) > 0 {
		if loose := u.LoosePath(); loose != u.Path {
			second = firstRule(c.Rules, loose)
		} else {
			second = first
		}
	}
	for _, i := range []int{first, second} {
		if i >= 0 && c.Rules[i].Never {
			r.Never = true
		}
	}
	if first >= 0 && first == second {
		r.TTL = c.Rules[first].TTL
	}
	return r
}

// firstRule is the index of the first rule that matches, or -1.
func firstRule(rules []site.Rule, path string) int {
	return slices.IndexFunc(rules, func(r site.Rule) bool { return site.Match(r.Path, path) })
}

// perRequest are fields that concern one request and its client, not the answer that others may get.
var perRequest = []string{
	"Range", "If-Range", "If-None-Match", "If-Modified-Since", "If-Match", "If-Unmodified-Since",
	"Cache-Control", "Pragma", "X-Forwarded-For", "Expect", "Content-Length", "Content-Type",
	"Referer", "From", "Date", "Max-Forwards",
}

// shareable is a's header for a request whose answer may be stored: without what concerns this client alone.
func (a *ask) shareable() http.Header {
	h := a.header.Clone()
	for _, name := range perRequest {
		delete(h, name)
	}
	if a.rule.TTL > 0 {
		delete(h, "Cookie") // the site says that the path is the same for all
	}
	return h
}

// mustPass reports whether the request cannot be answered from a store.
func mustPass(r *http.Request, a *ask) bool {
	if r.Method != http.MethodGet && r.Method != http.MethodHead || a.rule.Never || a.wish.NoStore {
		return true
	}
	return r.Header.Get("If-Match") != "" || r.Header.Get("If-Unmodified-Since") != "" || r.ContentLength != 0
}

// selects is the key of the answer to this request among those that differ by the named fields (RFC 9111 §4.1).
func (a *ask) selects(names []byte) key.Key {
	return key.Variant(a.primary, strings.Split(string(names), ","), a.header)
}

// untrusted are fields by which origins let themselves be told another URL, host or client than the request's own: the
// classic way to poison a cache. No client may set them.
var untrusted = []string{
	"Forwarded", "X-Forwarded", "X-Host", "X-Original-Url", "X-Original-Host", "X-Rewrite-Url", "X-Http-Host-Override",
	"X-Http-Method", "X-Http-Method-Override", "X-Method-Override", "X-Real-Ip", "X-Client-Ip", "X-Cluster-Client-Ip",
	"True-Client-Ip", "Client-Ip", "X-Url-Scheme", "Front-End-Https", "X-Proxyuser-Ip", "Proxy", "X-Backend-Host",
	"X-Accel-Redirect", "X-Sendfile",
}

func stripUntrusted(h http.Header) {
	for name := range h {
		if strings.HasPrefix(name, "X-Forwarded-") || strings.HasPrefix(name, "Catchment-") || slices.Contains(untrusted, name) {
			delete(h, name)
		}
	}
}

// ordinary are the fields that browsers and tools send of themselves and that may go to an origin whose answer is
// stored: it is held to name in Vary those that it heeds. Any other field makes the answer its client's own, unless
// Vary names it: a field that we do not know may shape the answer in a way that nobody meant to share.
var ordinary = map[string]bool{
	"Accept": true, "Accept-Charset": true, "Accept-Encoding": true, "Accept-Language": true, "Authorization": true,
	"Cookie": true, "User-Agent": true, "Origin": true, "Dnt": true,
	"Upgrade-Insecure-Requests": true, "Priority": true, "Purpose": true, "Save-Data": true, "Device-Memory": true,
	"Downlink": true, "Ect": true, "Rtt": true, "Width": true, "Viewport-Width": true, "Dpr": true, //nolint:misspell // ECT is a field: effective connection type
	"Traceparent": true, "Tracestate": true,
	"Via": true, "Cdn-Loop": true, "X-Forwarded-Proto": true, "X-Forwarded-Host": true, // ours
}

// unkeyed reports whether the header holds a field that is neither ordinary nor part of the key by Vary.
func unkeyed(h http.Header, vary []string) bool {
	for name := range h {
		if !ordinary[name] && !strings.HasPrefix(name, "Sec-") && !slices.Contains(vary, strings.ToLower(name)) {
			return true
		}
	}
	return false
}
