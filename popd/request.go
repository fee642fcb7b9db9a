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
	a.rule = ruleFor(st.Cache, a.url.Path)
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

// ruleFor is the first rule that matches the path, with the site's allowance for stale answers.
func ruleFor(c site.Cache, path string) fresh.Rule {
	r := fresh.Rule{IfError: c.Stale.IfError, WhileRevalidate: c.Stale.WhileRevalidate}
	for _, rule := range c.Rules {
		if site.Match(rule.Path, path) {
			r.Never, r.TTL = rule.Never, rule.TTL
			break
		}
	}
	return r
}

// perRequest are fields that concern one request and its client, not the answer that others may get.
var perRequest = []string{
	"Range", "If-Range", "If-None-Match", "If-Modified-Since", "If-Match", "If-Unmodified-Since",
	"Cache-Control", "Pragma", "X-Forwarded-For", "Expect", "Content-Length", "Content-Type",
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
	"Cookie": true, "User-Agent": true, "Referer": true, "Origin": true, "Dnt": true, "Te": true, "From": true,
	"Upgrade-Insecure-Requests": true, "Priority": true, "Purpose": true, "Save-Data": true, "Device-Memory": true,
	"Downlink": true, "Ect": true, "Rtt": true, "Width": true, "Viewport-Width": true, "Dpr": true, //nolint:misspell // ECT is a field: effective connection type
	"Traceparent": true, "Tracestate": true, "Date": true, "Max-Forwards": true,
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
