package popd_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestMissThenHitWithAge(t *testing.T) {
	w := newWorld(t, answer("hello", "Cache-Control: max-age=60", "Cache-Status: origin-cache; hit"))
	w.shield()
	miss := w.get("/a?utm_source=x&b=1&a=2")
	if got, want := strings.Join(miss.header["Cache-Status"], ", "), "origin-cache; hit, ams1; fwd=uri-miss; fwd-status=200; stored; ttl="; !strings.HasPrefix(got, want) {
		t.Errorf("Cache-Status %q, want %q…", got, want)
	}
	w.clock.forward(32 * time.Second)
	hit := w.get("/a?a=2&b=1")
	if hit.body != "hello" || hit.header.Get("Age") != "32" && hit.header.Get("Age") != "33" {
		t.Errorf("hit: body %q, Age %q; want hello at 32 s", hit.body, hit.header.Get("Age"))
	}
	if !strings.HasPrefix(hit.last(), "ams1; hit; ttl=2") {
		t.Errorf("Cache-Status ends with %q, want ams1; hit; ttl=2…", hit.last())
	}
	if via := hit.header.Get("Via"); via != "1.1 ams1" {
		t.Errorf("Via %q", via)
	}
	w.wantAsked(1)
}

func TestConditionIsAnsweredFromTheStore(t *testing.T) {
	w := newWorld(t, answer("hello", "Cache-Control: max-age=60", `ETag: "v1"`, "Last-Modified: Mon, 02 Jan 2006 15:04:05 GMT"))
	w.shield()
	for _, tt := range []struct {
		line string
		want int
	}{
		{`If-None-Match: W/"v1"`, 304},
		{`If-None-Match: "v0", "v1"`, 304},
		{`If-None-Match: "v0"`, 200},
		{"If-Modified-Since: Mon, 02 Jan 2006 15:04:05 GMT", 304},
		{"If-Modified-Since: Mon, 02 Jan 2006 15:04:04 GMT", 200},
	} {
		if r := w.get("/", tt.line); r.status != tt.want || (r.status == 304) != (r.body == "") {
			t.Errorf("%s: status %d, body %q; want %d", tt.line, r.status, r.body, tt.want)
		}
	}
	w.wantAsked(1)
}

func TestStaleIsValidatedAndTheHeaderUpdated(t *testing.T) {
	w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Cache-Control", "max-age=10")
		rw.Header().Set("Etag", `"v1"`)
		if r.Header.Get("If-None-Match") == `"v1"` {
			rw.Header().Set("X-Seen", "again")
			rw.WriteHeader(http.StatusNotModified)
			return
		}
		_, _ = io.WriteString(rw, "body")
	})
	w.shield()
	w.get("/")
	w.clock.forward(11 * time.Second)
	r := w.get("/")
	if r.status != 200 || r.body != "body" || r.header.Get("X-Seen") != "again" || !strings.HasPrefix(r.last(), "ams1; fwd=stale; fwd-status=304; stored") {
		t.Errorf("validated: %d %q, X-Seen %q, %q", r.status, r.body, r.header.Get("X-Seen"), r.last())
	}
	if r = w.get("/"); !strings.HasPrefix(r.last(), "ams1; hit") {
		t.Errorf("after validation: %q, want a hit", r.last())
	}
	w.wantAsked(2)
}

func TestStaleWhileRevalidate(t *testing.T) {
	version := make(chan string, 1)
	version <- "one"
	w := newWorld(t, func(rw http.ResponseWriter, _ *http.Request) {
		select {
		case v := <-version:
			answer(v, "Cache-Control: max-age=10, stale-while-revalidate=30")(rw, nil)
		case <-t.Context().Done():
		}
	})
	w.shield()
	w.get("/")
	w.clock.forward(15 * time.Second)
	// The origin hangs: clients get the stale answer at once all the same.
	for range 3 {
		if r := w.get("/"); r.body != "one" || !strings.HasPrefix(r.last(), "ams1; hit; ttl=-") {
			t.Fatalf("while validating: %q, %q", r.body, r.last())
		}
	}
	version <- "two"
	eventually(t, "the new answer is served", func() bool { return w.get("/").body == "two" })
	w.wantAsked(2)
}

func TestStaleIfError(t *testing.T) {
	good := answer("good", "Cache-Control: max-age=10, stale-if-error=60")
	for name, bad := range map[string]http.HandlerFunc{
		"503":    func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusServiceUnavailable) },
		"closed": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		w := newWorld(t, good)
		w.shield()
		w.get("/")
		w.clock.forward(11 * time.Second)
		w.answers(bad)
		if r := w.get("/"); r.status != 200 || r.body != "good" || !strings.Contains(r.last(), "detail=stale-if-error") {
			t.Errorf("%s: %d %q, %q", name, r.status, r.body, r.last())
		}
		w.clock.forward(60 * time.Second)
		if r := w.get("/"); r.status != 502 && r.status != 503 {
			t.Errorf("%s, too late: status %d", name, r.status)
		}
	}
}

func TestVaryKeepsVariantsApart(t *testing.T) {
	w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Cache-Control", "max-age=60")
		rw.Header().Set("Vary", "Accept-Encoding, X-Device")
		_, _ = io.WriteString(rw, r.Header.Get("Accept-Encoding")+"/"+r.Header.Get("X-Device"))
	})
	w.shield()
	for _, tt := range []struct{ lines, body, status string }{
		{"Accept-Encoding: gzip,  br;q=0.5", "br, gzip/", "fwd=uri-miss"},
		{"Accept-Encoding: br, gzip", "br, gzip/", "hit"},
		{"Accept-Encoding: identity", "/", "fwd=vary-miss"},
		{"X-Device: phone", "/phone", "fwd=vary-miss"},
		{"X-Device: phone", "/phone", "hit"},
		{"Accept-Encoding: gzip;q=0", "/", "hit"},
	} {
		if r := w.get("/", tt.lines); r.body != tt.body || !strings.Contains(r.last(), tt.status) {
			t.Errorf("%s: %q, %q; want %q, %s", tt.lines, r.body, r.last(), tt.body, tt.status)
		}
	}
}

func TestHeadIsAnsweredFromAStoredGet(t *testing.T) {
	w := newWorld(t, answer("hello", "Cache-Control: max-age=60"))
	w.shield()
	w.get("/")
	r, err := w.do("HEAD", web, "/")
	if err != nil || r.status != 200 || r.body != "" || r.header.Get("Content-Length") != "5" || !strings.Contains(r.last(), "hit") {
		t.Errorf("HEAD: %+v, %v", r, err)
	}
	w.wantAsked(1)
}

func TestOnlyIfCached(t *testing.T) {
	w := newWorld(t, answer("hello", "Cache-Control: max-age=60"))
	w.shield()
	if r := w.get("/", "Cache-Control: only-if-cached"); r.status != http.StatusGatewayTimeout {
		t.Errorf("nothing stored: status %d, want 504", r.status)
	}
	w.get("/")
	if r := w.get("/", "Cache-Control: only-if-cached"); r.status != 200 {
		t.Errorf("stored: status %d, want 200", r.status)
	}
	w.wantAsked(1)
}

func TestUnsafeMethodInvalidates(t *testing.T) {
	w := newWorld(t, answer("hello", "Cache-Control: max-age=60", "Location: /b"))
	w.shield()
	for _, u := range []string{"/a", "/b", "/c"} {
		w.get(u)
	}
	if r, err := w.do("POST", web, "/a", "Content-Length: 0"); err != nil || !strings.HasPrefix(r.last(), "ams1; fwd=method") {
		t.Fatalf("POST: %+v, %v", r, err)
	}
	for u, want := range map[string]string{"/a": "fwd=uri-miss", "/b": "fwd=uri-miss", "/c": "hit"} {
		if r := w.get(u); !strings.Contains(r.last(), want) {
			t.Errorf("%s after the POST: %q, want %s", u, r.last(), want)
		}
	}
}

func TestSiteRules(t *testing.T) {
	w := newWorld(t, answer("hello", "Cache-Control: max-age=60", "Set-Cookie: id=1"))
	w.shield()
	for _, tt := range []struct {
		path, second string
		cookie       bool
	}{
		{"/cart/1", "fwd=bypass", true},
		{"/static/../cart/2", "fwd=bypass", true},
		{"/static/a.css", "hit", false},
		{"/plain", "fwd=uri-miss", true},
	} {
		w.get(tt.path)
		r := w.get(tt.path)
		if !strings.Contains(r.last(), tt.second) || (r.header.Get("Set-Cookie") != "") != tt.cookie {
			t.Errorf("%s: %q, Set-Cookie %q", tt.path, r.last(), r.header.Get("Set-Cookie"))
		}
	}
}

// TestUnkeyedInputIsNeverStored: an origin that echoes what is outside the key must not poison what others get.
func TestUnkeyedInputIsNeverStored(t *testing.T) {
	w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Cache-Control", "max-age=60")
		_, _ = io.WriteString(rw, r.Host+" "+r.URL.String())
		for _, name := range []string{"X-Forwarded-Host", "X-Forwarded-Scheme", "X-Original-Url", "Forwarded", "X-Strange", "Catchment-Tier"} {
			_, _ = io.WriteString(rw, " "+r.Header.Get(name))
		}
	})
	w.shield()
	for i, lines := range [][]string{
		{"X-Forwarded-Host: evil.example"},
		{"X-Forwarded-Scheme: evil"},
		{"X-Original-URL: /evil"},
		{"Forwarded: host=evil"},
		{"X-Strange: evil"},
		{"Catchment-Tier: edge=evil"},
		{"Host: www.shop.example:666"},
		{"Host: WWW.shop.example."},
	} {
		path := "/" + strings.Repeat("x", i)
		w.get(path+"?utm_source=evil", lines...)
		if r := w.get(path); r.body != "www.shop.example "+path+" www.shop.example     " {
			t.Errorf("after %q the next client got %q", lines, r.body)
		}
	}
}

func TestRefusals(t *testing.T) {
	w := newWorld(t, answer("hello"))
	w.shield()
	for _, tt := range []struct {
		name, method string
		lines        []string
		want         int
	}{
		{"host of no site", "GET", []string{"Host: other.example"}, 421},
		{"our own CDN-Loop", "GET", []string{"CDN-Loop: cdn.example, catchment-as64500; node=fra1"}, 508},
		{"another's CDN-Loop", "GET", []string{"CDN-Loop: cdn.example"}, 200},
		{"upgrade", "GET", []string{"Upgrade: websocket"}, 501},
		{"trace", "TRACE", nil, 501},
	} {
		r, err := w.do(tt.method, web, "/", tt.lines...)
		if err != nil || r.status != tt.want {
			t.Errorf("%s: status %d, %v; want %d", tt.name, r.status, err, tt.want)
		}
		if !strings.HasPrefix(r.last(), "ams1; ") {
			t.Errorf("%s: Cache-Status %q names no node", tt.name, r.last())
		}
	}
}

func TestBrokenTransferIsNotStoredAndLooksBroken(t *testing.T) {
	for name, origin := range map[string]http.HandlerFunc{
		"short of its Content-Length": func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Cache-Control", "max-age=60")
			rw.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(rw, "half")
		},
		"chunked without end": func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Cache-Control", "max-age=60")
			_, _ = io.WriteString(rw, "half")
			_ = http.NewResponseController(rw).Flush()
			panic(http.ErrAbortHandler)
		},
	} {
		w := newWorld(t, origin)
		w.shield()
		// The connection may be cut before or after the header: both look broken.
		if r, err := w.do("GET", web, "/"); err == nil && r.err == nil {
			t.Errorf("%s: the client saw a whole answer %q", name, r.body)
		}
		w.answers(answer("whole", "Cache-Control: max-age=60"))
		if r := w.get("/"); r.body != "whole" || r.err != nil {
			t.Errorf("%s: the next client got %q, %v", name, r.body, r.err)
		}
	}
}

func TestLargeAnswerStreamsThroughUnstored(t *testing.T) {
	const size = 3 << 20 // memory is 8 MiB, so the largest object is 1 MiB
	for _, chunked := range []bool{false, true} {
		w := newWorld(t, func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Cache-Control", "max-age=60")
			if !chunked {
				rw.Header().Set("Content-Length", "3145728")
			}
			for range size / 4096 {
				_, _ = io.WriteString(rw, strings.Repeat("x", 4096))
			}
		})
		w.shield()
		for range 2 {
			if r := w.get("/"); len(r.body) != size || r.err != nil {
				t.Errorf("chunked %v: got %d bytes, %v", chunked, len(r.body), r.err)
			}
		}
		w.wantAsked(2)
	}
}

// TestConditionalMissIsStored: the client has its 304 with the header of the answer, long before the body is there; the
// body is fetched for the next one all the same.
func TestConditionalMissIsStored(t *testing.T) {
	rest := make(chan struct{})
	w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		answer("half ", "Cache-Control: max-age=60", `ETag: "v1"`)(rw, r)
		_ = http.NewResponseController(rw).Flush()
		<-rest
		_, _ = io.WriteString(rw, "whole")
	})
	w.shield()
	if r := w.get("/", `If-None-Match: "v1"`); r.status != http.StatusNotModified {
		t.Fatalf("status %d, want 304", r.status)
	}
	close(rest)
	if r := w.get("/"); r.body != "half whole" {
		t.Errorf("body %q", r.body)
	}
	w.wantAsked(1)
}
