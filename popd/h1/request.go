package h1

import (
	"net/http"
	"net/url"
	"strings"
)

// request makes what a Handler gets, as net/http makes it.
func (c *conn) request() (*http.Request, *body, error) {
	h := &c.head
	target := string(h.Target)
	u, err := parseTarget(string(h.Method), target)
	if err != nil {
		return nil, nil, errURL
	}
	c.client = &client{Context: c.l.base, c: c}
	r := &http.Request{
		Method: string(h.Method), URL: u, RequestURI: target, Host: string(h.Host), RemoteAddr: h.Remote, TLS: c.tls,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: h.Minor,
		Header: c.header(), Body: http.NoBody, ContentLength: h.length, Close: h.close,
	}
	if h.Minor == 0 {
		r.Proto = "HTTP/1.0"
	}
	r = r.WithContext(c.client)
	if h.length == 0 {
		c.client.atEnd = true
		return r, nil, nil
	}
	b := &body{c: c, req: r, left: h.length, waits: h.waits}
	if h.length < 0 {
		r.TransferEncoding, b.left, b.chunked, b.first = []string{"chunked"}, 0, true, true
		announceTrailer(r)
	}
	r.Body = b
	return r, b, nil
}

// parseTarget reads the target of a request. That of CONNECT is an authority alone (RFC 9112 §3.2.3).
func parseTarget(method, target string) (*url.URL, error) {
	if method == http.MethodConnect {
		u, err := url.ParseRequestURI("http://" + target)
		if err != nil {
			return nil, err
		}
		u.Scheme = ""
		return u, nil
	}
	return url.ParseRequestURI(target)
}

// header is the request's header without what has been used to read it.
func (c *conn) header() http.Header {
	m := make(http.Header, len(c.head.Fields))
	values := make([]string, len(c.head.Fields)) // one piece of memory for most lists of one
	for i := range c.head.Fields {
		f := &c.head.Fields[i]
		if f.Known == Host || f.Known == TransferEncoding {
			continue
		}
		name := http.CanonicalHeaderKey(string(f.Name))
		if have, ok := m[name]; ok {
			m[name] = append(have, string(f.Value))
			continue
		}
		values[i] = string(f.Value)
		m[name] = values[i : i+1 : i+1]
	}
	// Pragma: no-cache stands for Cache-Control where that is missing (RFC 9111 §5.4).
	if p := m["Pragma"]; len(p) > 0 && p[0] == "no-cache" && m["Cache-Control"] == nil {
		m["Cache-Control"] = []string{"no-cache"}
	}
	return m
}

// announceTrailer moves the names in Trailer to where their values will come.
func announceTrailer(r *http.Request) {
	for _, line := range r.Header["Trailer"] {
		for name := range strings.SplitSeq(line, ",") {
			if name = http.CanonicalHeaderKey(strings.TrimSpace(name)); name != "" && known([]byte(name)) == Other {
				if r.Trailer == nil {
					r.Trailer = http.Header{}
				}
				r.Trailer[name] = nil
			}
		}
	}
	delete(r.Header, "Trailer")
}
