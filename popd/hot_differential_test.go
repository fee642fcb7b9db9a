package popd_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/catchment-net/catchment/popd"
)

// stored answers in all the ways that a hit can look, by path.
func stored(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "max-age=60")
	h.Set("X-Path", r.URL.Path)
	path := r.URL.Path
	has := func(s string) bool { return strings.Contains(path, s) }
	if has("tag") {
		h.Set("Etag", `"v1"`)
	}
	if has("weak") {
		h.Set("Etag", `W/"v1"`)
	}
	if has("dated") {
		h.Set("Last-Modified", "Mon, 02 Nov 2026 10:00:00 GMT")
	}
	if has("odd-date") {
		h.Set("Last-Modified", "yesterday")
	}
	if has("encoding") {
		h.Set("Vary", "Accept-Encoding")
		h.Set("X-Encoding", r.Header.Get("Accept-Encoding"))
	}
	if has("language") {
		h.Set("Vary", "accept-language, Accept")
		h.Set("X-Language", r.Header.Get("Accept-Language")+r.Header.Get("Accept"))
	}
	if has("agent") {
		h.Set("Vary", "User-Agent")
		h.Set("X-Agent", r.Header.Get("User-Agent"))
	}
	if has("tiers") {
		h["Cache-Status"], h["Via"] = []string{"origin; hit", "front; fwd=miss"}, []string{"1.1 front"}
		h["Link"] = []string{"</a>; rel=preload", "</b>; rel=preload"}
		h.Set("Expires", "Mon, 30 Nov 2037 10:00:00 GMT")
	}
	if has("private") {
		h.Set("Cache-Control", "private")
	}
	if has("untyped") {
		h["Content-Type"] = nil
	}
	switch {
	case has("missing"):
		w.WriteHeader(http.StatusNotFound)
	case has("moved"):
		h.Set("Location", "/else")
		w.WriteHeader(http.StatusMovedPermanently)
	case has("none"):
		w.WriteHeader(http.StatusNoContent)
		return
	}
	size := 20
	if has("big") {
		size = 100_000
	}
	if !has("empty") {
		_, _ = fmt.Fprintf(w, "%s %s", r.URL.RequestURI(), strings.Repeat("x", size))
	}
}

// TestLoopAnswersAsTheHandlerDoes: every request is sent twice, the second time with a field that the loop leaves to the
// handler and that changes no answer.
func TestLoopAnswersAsTheHandlerDoes(t *testing.T) {
	var now atomic.Pointer[time.Time] // of caches and origin alike, so that only the loop and the handler can differ
	start := time.Now().Truncate(time.Second)
	now.Store(&start)
	w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Date", now.Load().UTC().Format(http.TimeFormat))
		stored(rw, r)
	})
	w.node("ams1", func(o *popd.Options) { o.Now = func() time.Time { return *now.Load() } })
	r := rand.New(rand.NewPCG(3, 4))
	one := func(all ...string) string { return all[r.IntN(len(all))] }
	maybe := func(n int, all ...string) string {
		if r.IntN(n) > 0 {
			return ""
		}
		return one(all...)
	}
	const n = 1500
	hits := 0
	for i := range n {
		if i%100 == 99 {
			later := now.Load().Add(7 * time.Second)
			now.Store(&later)
		}
		method := one("GET", "GET", "GET", "HEAD")
		target := "/" + one("", "tag", "weak", "dated", "tag-dated", "odd-date", "encoding-tag", "language", "agent", "tiers-tag", "private", "untyped", "missing", "moved", "none", "big", "empty",
			"cart/x", "static/tag", "%74ag", "a/../tag", "a//tag", ".tag") + maybe(3, "?", "?a=1", "?b=2&a=1", "?a=1&b=2", "?utm_x=1", "?a=1&utm_x=2", "?a=%41", "?a=1&&b=2", "?a+b=1")
		version := " HTTP/1.1\r\nHost: " + one("www.shop.example", "www.shop.example", "www.shop.example", "WWW.shop.example", "www.shop.example:80", "www.shop.example:8080", "www.shop.example.") + "\r\n"
		if r.IntN(10) == 0 {
			version = strings.Replace(version, "HTTP/1.1", "HTTP/1.0", 1)
		}
		fields := maybe(3, "If-None-Match: \"v1\"\r\n", "If-None-Match: W/\"v1\"\r\n", "If-None-Match: \"v2\"\r\n", "If-None-Match: \"v2\", \"v1\"\r\n", "If-None-Match: *\r\n",
			"If-None-Match: v1\r\n", "If-None-Match: \"v1\r\n", "If-None-Match: \"v2\"\r\nIf-None-Match: \"v1\"\r\n", "If-None-Match:\r\n") +
			maybe(4, "If-Modified-Since: Mon, 02 Nov 2026 10:00:00 GMT\r\n", "If-Modified-Since: Mon, 02 Nov 2026 10:00:01 GMT\r\n", "If-Modified-Since: Mon, 02 Nov 2026 09:59:59 GMT\r\n", "If-Modified-Since: yesterday\r\n") +
			maybe(2, "Accept-Encoding: gzip, br\r\n", "Accept-Encoding: br;q=1, gzip\r\n", "Accept-Encoding: identity\r\n", "accept-encoding: gzip\r\nAccept-Encoding: br\r\n") +
			maybe(3, "Accept-Language: en, de;q=0.5\r\n", "Accept-Language: de\r\nAccept: text/html\r\n", "Accept: */*\r\n") +
			maybe(3, "User-Agent: a\r\n", "Cookie: a=b\r\n", "X-Forwarded-Host: evil\r\n", "Cache-Control: no-cache\r\n", "Cache-Control: only-if-cached\r\n", "Pragma: no-cache\r\n", "Authorization: Basic x\r\n") +
			maybe(8, "Range: bytes=0-3\r\n", "If-Match: \"v1\"\r\n", "If-Range: \"v1\"\r\n", "Connection: accept-encoding\r\n", "Connection: close\r\n", "Max-Forwards: 0\r\n")
		text := method + " " + target + version + fields
		ask := func(more string) string {
			t.Helper()
			resp, body := w.exchange(t, method, text+more+"\r\n") //nolint:bodyclose // read and closed there
			return describeAnswer(resp, body)
		}
		// What can be stored is stored now; a 304 may come before the body has.
		for range 100 {
			if !strings.Contains(ask("CDN-Loop: other\r\n"), "; stored") {
				break
			}
		}
		loop, handler := ask(""), ask("CDN-Loop: other\r\n")
		if diff := cmp.Diff(handler, loop); diff != "" {
			t.Fatalf("%q (- handler, + loop):\n%s", text, diff)
		}
		if strings.Contains(loop, "; hit; ") {
			hits++
		}
	}
	if hits < n/2 {
		t.Errorf("%d of %d were hits: too few to show anything", hits, n)
	}
}

// describeAnswer writes down all of an answer; lines of one list field count as one line of all (RFC 9110 §5.3).
func describeAnswer(resp *http.Response, body string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s length=%d te=%v close=%v\n", resp.Proto, resp.Status, resp.ContentLength, resp.TransferEncoding, resp.Close)
	names := make([]string, 0, len(resp.Header))
	for name := range resp.Header {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		fmt.Fprintf(&b, "%s: %s\n", name, strings.Join(resp.Header[name], ", "))
	}
	return b.String() + "\n" + body
}
