package popd_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// ours are the request fields that a cache writes or normalises itself; echo leaves them out.
var ours = []string{"Via", "Cdn-Loop", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "User-Agent", "Accept-Encoding"}

// echo is the worst of origins: all that a request says is in its answer, and the answer is for everybody.
func echo(rw http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body) // what came of a broken one
	rw.Header().Set("Cache-Control", "public, max-age=60")
	var fields []string
	for name, values := range r.Header {
		if !slices.Contains(ours, name) {
			fields = append(fields, name+"="+strings.Join(values, ","))
		}
	}
	slices.Sort(fields)
	fwd := r.Header.Get("X-Forwarded-Proto") + "://" + r.Header.Get("X-Forwarded-Host")
	_, _ = fmt.Fprintf(rw, "%s %s %s %q %s %q", r.Method, r.Host, r.RequestURI, fields, fwd, body)
}

// clean is what echo says to a request for target without anything strange.
func clean(target string) string {
	return fmt.Sprintf("GET www.shop.example %s [] http://www.shop.example \"\"", target)
}

// raw sends bytes on a connection of their own and reads what comes, however broken.
func (w *world) raw(text string) string {
	w.t.Helper()
	real, _ := w.net.find(web)
	c, err := net.Dial("tcp", real)
	if err != nil {
		w.t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(limit)); err != nil {
		w.t.Fatal(err)
	}
	_, _ = io.WriteString(c, text) // the server may have closed already
	var all bytes.Buffer
	_, _ = io.Copy(&all, c)
	return all.String()
}

// TestUnkeyedFieldsDoNotPoison: one attacker's field must not be in what the next client gets.
func TestUnkeyedFieldsDoNotPoison(t *testing.T) {
	w := newWorld(t, echo)
	w.shield()
	unkeyedFieldsDoNotPoison(t, w)
}

// The same behind a shield, where what a client says in fields of ours is said to another node.
func TestUnkeyedFieldsDoNotPoisonTiers(t *testing.T) {
	w := newWorld(t, echo)
	w.shield()
	w.node("nyc1", nil)
	unkeyedFieldsDoNotPoison(t, w)
}

func unkeyedFieldsDoNotPoison(t *testing.T, w *world) {
	t.Helper()
	for i, line := range []string{
		"X-Forwarded-Host: evil.example", "X-Forwarded-Server: evil.example", "X-Forwarded-Scheme: evil", "X-Forwarded-Proto: https",
		"X-Forwarded-Port: 666", "X-Forwarded-Prefix: /evil", "X-Forwarded-Path: /evil", "X-Forwarded-For: 6.6.6.6", "X-Forwarded-SSL: on",
		"X-Forwarded: evil", "Forwarded: host=evil.example", "X-Host: evil.example", "X-Original-URL: /evil", "X-Rewrite-URL: /evil",
		"X-Original-Host: evil.example", "X-HTTP-Host-Override: evil.example", "X-Backend-Host: evil.example", "Proxy: http://evil.example",
		"X-HTTP-Method-Override: DELETE", "X-HTTP-Method: DELETE", "X-Method-Override: DELETE", "X-Real-IP: 6.6.6.6",
		"True-Client-IP: 6.6.6.6", "Client-IP: 6.6.6.6", "X-Client-IP: 6.6.6.6", "X-Cluster-Client-IP: 6.6.6.6", "CF-Connecting-IP: 6.6.6.6",
		"Fastly-Client-IP: 6.6.6.6", "X-ProxyUser-Ip: 6.6.6.6", "Front-End-Https: on", "X-URL-Scheme: evil", "X-WAP-Profile: http://evil.example",
		"X-Accel-Redirect: /etc/passwd", "X-Sendfile: /etc/passwd", "X-Arbitrary: evil", "X-Requested-With: evil", "X-Wp-Nonce: evil",
		"X-Timer: evil", "Akamai-Origin-Hop: evil", "Fastly-SSL: 1", "Content-Type: text/evil", "Content-MD5: evil", "Content-Language: evil",
		"Pragma: evil", "Cache-Control: evil", "Range: bytes=0-0", "Range: evil=1", "If-Range: \"evil\"",
		"If-None-Match: \"evil\"", "If-Modified-Since: evil", "Expect: evil", "Max-Forwards: 0", "From: evil", "Referer: http://evil.example",
		"Date: evil", "TE: evil", "Trailer: evil", "Upgrade: evil", "Connection: evil", "Connection: host", "Connection: cookie, x-forwarded-for, via",
		"Keep-Alive: evil", "Proxy-Connection: evil", "Proxy-Authorization: evil", "Catchment-Tier: edge=evil", "Catchment-Scheme: evil", "Catchment-Age: 0",
		"Early-Data: 1", "Last-Event-ID: evil", "X-Cache-Hash: evil", "x_forwarded_host: evil.example", "X-Forwarded_Host: evil.example",
		"Transfer-Encoding: evil", "Accept-Encoding: evil", "Surrogate-Capability: evil", "Destination: /evil", "Depth: 1", "Translate: f",
	} {
		target := fmt.Sprintf("/u%d", i)
		w.raw("GET " + target + " HTTP/1.1\r\nHost: www.shop.example\r\n" + line + "\r\nConnection: close\r\n\r\n")
		if r := w.get(target); r.status != 200 || r.body != clean(target) {
			t.Errorf("after %q the next client got %d %q, want %q", line, r.status, r.body, clean(target))
		}
	}
}

// TestOrdinaryFieldsAreKeptApartByVary: fields that browsers send reach the origin, which is held to name them in Vary.
func TestOrdinaryFieldsAreKeptApartByVary(t *testing.T) {
	for _, name := range []string{"User-Agent", "Cookie", "Origin", "Accept", "Accept-Language", "Save-Data", "DPR", "Sec-CH-UA"} {
		w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
			answer(r.Header.Get(name), "Cache-Control: max-age=60", "Vary: "+name)(rw, r)
		})
		w.shield()
		w.get("/", name+": evil")
		if r := w.get("/", name+": good"); r.body != "good" {
			t.Errorf("%s: the next client got %q", name, r.body)
		}
	}
}

// TestOneOriginsPagesAreNotAnothers: an answer that allows one origin is that origin's, though Vary is silent.
func TestOneOriginsPagesAreNotAnothers(t *testing.T) {
	w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		answer("x", "Cache-Control: max-age=60", "Access-Control-Allow-Origin: "+r.Header.Get("Origin"))(rw, r)
	})
	w.shield()
	for _, origin := range []string{"https://evil.example", "https://good.example", "https://good.example"} {
		if r := w.get("/", "Origin: "+origin); r.header.Get("Access-Control-Allow-Origin") != origin {
			t.Errorf("%s got an answer for %q", origin, r.header.Get("Access-Control-Allow-Origin"))
		}
	}
	w.wantAsked(2)
}

// TestACodingIsNotForThoseWhoDoNotTakeIt: an origin compresses for who takes it, and forgets to say so in Vary.
func TestACodingIsNotForThoseWhoDoNotTakeIt(t *testing.T) {
	w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			answer("zipped", "Cache-Control: max-age=60", "Content-Encoding: gzip")(rw, r)
			return
		}
		answer("plain", "Cache-Control: max-age=60")(rw, r)
	})
	w.shield()
	w.get("/", "Accept-Encoding: gzip")
	if r := w.get("/"); r.body != "plain" {
		t.Errorf("a client that takes no coding got %q", r.body)
	}
}

// TestRequestTricksDoNotPoison: whatever the attacker sends, the victim's answer is that of its own, clean request.
func TestRequestTricksDoNotPoison(t *testing.T) {
	const host = "Host: www.shop.example\r\n"
	for _, tt := range []struct {
		name, attack, victim string
		body                 string // of the victim; "": clean(victim)
	}{
		{"fat GET", "GET /v?a=1 HTTP/1.1\r\n" + host + "Content-Length: 5\r\n\r\nevil1", "/v?a=1", ""},
		{"fat GET in chunks", "GET /v HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n", "/v", ""},
		{"fat HEAD", "HEAD /v HTTP/1.1\r\n" + host + "Content-Length: 4\r\n\r\nevil", "/v", ""},
		{"a form in a GET", "GET /v HTTP/1.1\r\n" + host + "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 6\r\n\r\na=evil", "/v", ""},
		{"two Content-Length", "GET /v HTTP/1.1\r\n" + host + "Content-Length: 0\r\nContent-Length: 4\r\n\r\nevil", "/v", ""},

		{"path: dot segments", "GET /v/../evil HTTP/1.1\r\n" + host + "\r\n", "/v", ""},
		{"path: encoded dot segments", "GET /evil/%2e%2e/v HTTP/1.1\r\n" + host + "\r\n", "/v", ""},
		{"path: encoded slashes", "GET /v%2f..%2fevil HTTP/1.1\r\n" + host + "\r\n", "/v", ""},
		{"path: backslashes", "GET /v\\..\\evil HTTP/1.1\r\n" + host + "\r\n", "/v", ""},
		{"path: encoded backslashes", "GET /v%5c..%5cevil HTTP/1.1\r\n" + host + "\r\n", "/v", ""},
		{"path: parameters", "GET /v;evil=1 HTTP/1.1\r\n" + host + "\r\n", "/v", ""},
		{"path: a double slash", "GET //v HTTP/1.1\r\n" + host + "\r\n", "/v", ""},
		{"path: the case", "GET /V HTTP/1.1\r\n" + host + "\r\n", "/v", ""},
		{"path: encoded twice", "GET /%2576 HTTP/1.1\r\n" + host + "\r\n", "/v", ""},
		{"path: an encoded end", "GET /v%3Fevil HTTP/1.1\r\n" + host + "\r\n", "/v", ""},
		{"path: an encoded fragment", "GET /v%23evil HTTP/1.1\r\n" + host + "\r\n", "/v", ""},
		{"path: a fragment", "GET /v#evil HTTP/1.1\r\n" + host + "\r\n", "/v", ""},
		{"path: a zero byte", "GET /v%00evil HTTP/1.1\r\n" + host + "\r\n", "/v", ""},
		{"path: no UTF-8", "GET /v%ff HTTP/1.1\r\n" + host + "\r\n", "/v", ""},
		{"path: an overlong slash", "GET /v%c0%af..%c0%afevil HTTP/1.1\r\n" + host + "\r\n", "/v", ""},

		{"splitting: in the path", "GET /v%0d%0aSet-Cookie:%20evil=1 HTTP/1.1\r\n" + host + "\r\n", "/v", ""},
		{"splitting: in the query", "GET /v?a=%0d%0a%0d%0aevil HTTP/1.1\r\n" + host + "\r\n", "/v", ""},
		{"splitting: bare", "GET /v\revil HTTP/1.1\r\n" + host + "\r\n", "/v", ""},
		{"splitting: in a field", "GET /v HTTP/1.1\r\n" + host + "X-A: 1\rX-Evil: 1\r\n\r\n", "/v", ""},

		{"host: a port", "GET /v HTTP/1.1\r\nHost: www.shop.example:666\r\n\r\n", "/v", ""},
		{"host: a port that is none", "GET /v HTTP/1.1\r\nHost: www.shop.example:evil\r\n\r\n", "/v", ""},
		{"host: a final dot and case", "GET /v HTTP/1.1\r\nHost: WWW.shop.example.\r\n\r\n", "/v", ""},
		{"host: user information", "GET /v HTTP/1.1\r\nHost: evil@www.shop.example\r\n\r\n", "/v", ""},
		{"host: another one's", "GET /v HTTP/1.1\r\nHost: evil.example\r\n\r\n", "/v", ""},
		{"host: two fields", "GET /v HTTP/1.1\r\n" + host + "Host: evil.example\r\n\r\n", "/v", ""},
		{"host: two names", "GET /v HTTP/1.1\r\nHost: www.shop.example, evil.example\r\n\r\n", "/v", ""},
		{"host: a letter that becomes another", "GET /v HTTP/1.1\r\nHost: www.shop.example\u212a\r\n\r\n", "/v", ""},
		{"host: absolute-form", "GET http://www.shop.example/v HTTP/1.1\r\nHost: evil.example\r\n\r\n", "/v", ""},
		{"host: absolute-form of another", "GET http://evil.example/v HTTP/1.1\r\n" + host + "\r\n", "/v", ""},
		{"host: absolute-form with user information", "GET http://evil@www.shop.example/v HTTP/1.1\r\n" + host + "\r\n", "/v", ""},
		{"host: a space before the colon", "GET /v HTTP/1.1\r\nHost : evil.example\r\n" + host + "\r\n", "/v", ""},
		{"host: folded", "GET /v HTTP/1.1\r\n" + host + " evil.example\r\n\r\n", "/v", ""},

		{"query: a parameter that does not count", "GET /v?utm_source=evil HTTP/1.1\r\n" + host + "\r\n", "/v", ""},
		{"query: cloaked by ;", "GET /v?a=1&utm_x=1;a=evil HTTP/1.1\r\n" + host + "\r\n", "/v?a=1", ""},
		{"query: cloaked by &amp;", "GET /v?a=1&amp;utm_x=1&amp;a=evil HTTP/1.1\r\n" + host + "\r\n", "/v?a=1", ""},
		{"query: cloaked by an encoded &", "GET /v?a=1&utm_x=1%26a=evil HTTP/1.1\r\n" + host + "\r\n", "/v?a=1", ""},
		{"query: a name encoded", "GET /v?a=1&%75tm_x=evil HTTP/1.1\r\n" + host + "\r\n", "/v?a=1", ""},
		{"query: twice, the last wins elsewhere", "GET /v?a=1&a=evil HTTP/1.1\r\n" + host + "\r\n", "/v?a=1", ""},
		{"query: twice, the first wins elsewhere", "GET /v?a=evil&a=1 HTTP/1.1\r\n" + host + "\r\n", "/v?a=1", ""},
		{"query: brackets", "GET /v?a[]=evil&a=1 HTTP/1.1\r\n" + host + "\r\n", "/v?a=1", ""},
		{"query: the order", "GET /v?b=2&a=1 HTTP/1.1\r\n" + host + "\r\n", "/v?a=1&b=2", ""},
		{"query: another question mark", "GET /v?a=1?utm_x=evil HTTP/1.1\r\n" + host + "\r\n", "/v?a=1", ""},
		{"query: _method", "GET /v?a=1&_method=DELETE HTTP/1.1\r\n" + host + "\r\n", "/v?a=1", ""},
		{"query: no UTF-8", "GET /v?a=1&utm_\xff=evil HTTP/1.1\r\n" + host + "\r\n", "/v?a=1", ""},
		{"query: a plus in a name", "GET /v?a=1&utm+x=evil HTTP/1.1\r\n" + host + "\r\n", "/v?a=1", ""},

		{"method: in lower case", "get /v HTTP/1.1\r\n" + host + "\r\n", "/v", ""},
		{"method: unknown", "EVIL /v HTTP/1.1\r\n" + host + "\r\n", "/v", ""},
		{"method: HEAD with a field", "HEAD /v HTTP/1.1\r\n" + host + "X-Evil: 1\r\n\r\n", "/v", ""},
		{"version: 1.0 with a field", "GET /v HTTP/1.0\r\n" + host + "X-Evil: 1\r\n\r\n", "/v", ""},
		{"two requests in one", "GET /v HTTP/1.1\r\n" + host + "Content-Length: 46\r\n\r\nGET /evil HTTP/1.1\r\nHost: www.shop.example\r\n\r\n", "/v", ""},
	} {
		w := newWorld(t, echo)
		w.shield()
		w.node("nyc1", nil)
		attack := tt.attack
		if i := strings.Index(attack, "\r\n"); i > 0 {
			attack = attack[:i+2] + "Connection: close\r\n" + attack[i+2:]
		}
		got := w.raw(attack)
		for range 2 {
			if r := w.get(tt.victim); r.status != 200 || r.body != clean(tt.victim) {
				t.Errorf("%s: the victim got %d %q, want %q; the attacker had got %q", tt.name, r.status, r.body, clean(tt.victim), got)
			}
		}
	}
}

// TestDenialByPoison: an attacker makes the origin refuse (CPDoS), by a header that is too large for it (HHO), a
// character that it does not like (HMC), a method (HMO) or a range; nobody else is refused.
func TestDenialByPoison(t *testing.T) {
	for _, tt := range []struct {
		name, line string
		status     int
	}{
		{"HHO in an unknown field", "X-Big: " + strings.Repeat("x", 20<<10), 400},
		{"HHO in a cookie", "Cookie: " + strings.Repeat("x", 20<<10), 431},
		{"HHO in a browser's name", "User-Agent: " + strings.Repeat("x", 20<<10), 413},
		{"HHO by many fields", strings.Repeat("X-Many: 1\r\n", 300) + "X-Many: 1", 400},
		{"HMC", "X-Meta: \x01", 400},
		{"HMC in a browser's name", "User-Agent: evil\x08", 400},
		{"HMO", "X-HTTP-Method-Override: POST", 405},
		{"a range", "Range: bytes=cow", 416},
		{"a language", "Accept: evil/evil", 406},
		{"a blocked browser", "User-Agent: evil", 400},
		{"a condition", "If-Match: \"evil\"", 412},
		{"an expectation", "Expect: evil", 417},
	} {
		w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
			for name, values := range r.Header {
				v := strings.Join(values, "")
				odd := !slices.Contains(ours, name) && name != "Cookie" && name != "Accept"
				if odd || len(v) > 8<<10 || strings.Contains(v, "evil") {
					rw.Header().Set("Cache-Control", "public, max-age=60")
					rw.WriteHeader(tt.status)
					return
				}
			}
			answer("good", "Cache-Control: max-age=60")(rw, r)
		})
		w.shield()
		w.raw("GET / HTTP/1.1\r\nHost: www.shop.example\r\n" + tt.line + "\r\nConnection: close\r\n\r\n")
		if r := w.get("/"); r.status != 200 || r.body != "good" {
			t.Errorf("%s: the next client got %d %q", tt.name, r.status, r.body)
		}
	}
}

// TestCacheDeception: a victim is lured to a URL that looks like a file and is answered with its own account; nobody
// else may get that.
func TestCacheDeception(t *testing.T) {
	account := func(lines ...string) http.HandlerFunc {
		return func(rw http.ResponseWriter, r *http.Request) {
			body := "please log in"
			if c := r.Header.Get("Cookie"); c != "" {
				body = "account of " + c
			}
			answer(body, lines...)(rw, r)
		}
	}
	for _, tt := range []struct {
		name, path string
		lines      []string
	}{
		{"no freshness", "/account/x.css", nil},
		{"heuristics", "/account/x.css", []string{"Last-Modified: Mon, 02 Jan 2006 15:04:05 GMT"}},
		{"a validator", "/account/x.css", []string{`ETag: "a"`}},
		{"a cookie set", "/account/x.css", []string{"Cache-Control: max-age=60", "Set-Cookie: a=b"}},
		{"private", "/account/x.css", []string{"Cache-Control: private, max-age=60"}},
		{"below a rule's path: the cookie does not go", "/static/x.css", nil},
		{"into a rule's path by an encoded slash", "/static/..%2Faccount", nil},
		{"by an encoded backslash", "/static/..%5Caccount", nil},
		{"by encodings of encodings", "/static/%252e%252e%252faccount", nil},
		{"by a parameter", "/static/..;/account", nil},
		{"beside a rule that forbids: a parameter", "/static/..%2fcart/1", []string{"Cache-Control: max-age=60"}},
		{"a parameter after a path that is never stored", "/cart;x.css/1", []string{"Cache-Control: max-age=60"}},
		{"a double slash before it", "//cart/1", []string{"Cache-Control: max-age=60"}},
		{"an encoded letter of it", "/%63art/1", []string{"Cache-Control: max-age=60"}},
	} {
		w := newWorld(t, account(tt.lines...))
		w.shield()
		w.get(tt.path, "Cookie: victim")
		if r := w.get(tt.path); strings.Contains(r.body, "victim") {
			t.Errorf("%s: the attacker got %q", tt.name, r.body)
		}
	}
}

// TestSharedSchemeDoesNotLeakTheOther: where http and https share their answers, the origin is told one scheme.
func TestSharedSchemeDoesNotLeakTheOther(t *testing.T) {
	w := newWorld(t, echo)
	w.site.Cache.Key.Scheme = "https"
	w.shield()
	if r := w.get("/"); !strings.Contains(r.body, "https://www.shop.example") {
		t.Errorf("the origin was told %q", r.body)
	}
}

// TestVaryOfTheSite: what Vary may name is for the site to say.
func TestVaryOfTheSite(t *testing.T) {
	w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		answer("x", "Cache-Control: max-age=60", "Vary: "+strings.TrimPrefix(r.URL.Path, "/"))(rw, r)
	})
	w.site.Cache.Vary = []string{"accept-language"}
	w.shield()
	for path, want := range map[string]string{"/Accept-Language": "hit", "/User-Agent": "detail=vary"} {
		w.get(path)
		if r := w.get(path); !strings.Contains(r.last(), want) {
			t.Errorf("%s: %q, want %s", path, r.last(), want)
		}
	}
}

// TestVariantsOfOneURLAreBounded: a client that makes variants up pushes out the oldest, and no more than that.
func TestVariantsOfOneURLAreBounded(t *testing.T) {
	w := newWorld(t, answer("x", "Cache-Control: max-age=60", "Vary: X-Any"))
	w.shield()
	w.get("/other")
	for i := range 40 {
		w.get("/", fmt.Sprintf("X-Any: %d", i))
	}
	asked := w.asked.Load()
	w.get("/", "X-Any: 39")
	w.get("/other")
	w.wantAsked(asked)
	w.get("/", "X-Any: 0")
	w.wantAsked(asked + 1)
}

// TestBadRequestsDoNotEndCoalescing: an attacker's refused request must not make a URL look like one that nobody may
// share, after which a herd would reach the origin one by one.
func TestBadRequestsDoNotEndCoalescing(t *testing.T) {
	hold := make(chan struct{})
	w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		if r.Header.Get("User-Agent") == "evil" {
			rw.WriteHeader(http.StatusBadRequest)
			return
		}
		<-hold
		answer("good", "Cache-Control: max-age=60")(rw, r)
	})
	w.shield()
	w.get("/", "User-Agent: evil")
	const herd = 20
	got := make(chan string, herd)
	for range herd {
		go func() {
			r, err := w.do("GET", web, "/")
			got <- fmt.Sprint(r.body, err)
		}()
	}
	eventually(t, "the herd has reached the origin", func() bool { return w.asked.Load() > 1 })
	close(hold)
	for range herd {
		if s := <-got; s != "good<nil>" {
			t.Errorf("got %s", s)
		}
	}
	w.wantAsked(2)
}

// TestConnectionDoesNotStripWhatVaryNames: a field that the attacker has the cache remove is removed before the key is
// made, so that the answer is kept under what the origin saw.
func TestConnectionDoesNotStripWhatVaryNames(t *testing.T) {
	w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		answer("for "+r.Header.Get("Accept-Encoding")+"/"+r.Header.Get("X-Device"), "Cache-Control: max-age=60", "Vary: Accept-Encoding, X-Device")(rw, r)
	})
	w.shield()
	w.get("/", "Connection: Accept-Encoding, X-Device", "Accept-Encoding: gzip", "X-Device: phone")
	if r := w.get("/", "Accept-Encoding: gzip", "X-Device: phone"); r.body != "for gzip/phone" {
		t.Errorf("the next client got %q", r.body)
	}
	if r := w.get("/"); r.body != "for /" {
		t.Errorf("a client without either got %q", r.body)
	}
}
