package popd

import (
	"bytes"
	"fmt"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/catchment-net/catchment/popd/fresh"
	"github.com/catchment-net/catchment/popd/h1"
	"github.com/catchment-net/catchment/popd/key"
	"github.com/catchment-net/catchment/popd/store/mem"
	"github.com/catchment-net/catchment/site"
)

// holding is a server that holds one answer for http://www.shop.example/a, fresh for an hour.
func holding(tb testing.TB, size int) *hot {
	tb.Helper()
	s, err := New(Options{Node: "ams1", Public: []string{"127.0.0.1:0"}, Insecure: true})
	if err != nil {
		tb.Fatal(err)
	}
	st := &site.Site{
		Name: "shop", Hosts: []*site.Host{{Name: "www.shop.example"}},
		Origins: []site.Origin{{URL: &url.URL{Scheme: "http", Host: "origin.shop.example"}, Weight: 1}},
		Cache:   site.Cache{Rules: []site.Rule{{Path: "/cart/*", Never: true}}, Key: site.Key{DropQuery: []string{"utm_*"}}},
	}
	if err := s.Apply(Config{Sites: []*site.Site{st}}); err != nil {
		tb.Fatal(err)
	}
	primary := key.Canonical("http", "www.shop.example", "/a", "", st.Cache.Key).Key()
	h := http.Header{
		"Cache-Control": {"max-age=3600"}, "Content-Type": {"text/html; charset=utf-8"}, "Date": {"Mon, 30 Nov 2026 10:00:00 GMT"},
		"Etag": {`"abc"`}, "Last-Modified": {"Mon, 30 Nov 2026 09:00:00 GMT"},
	}
	err = s.store.Put(mem.Entry{
		Primary: primary, Variant: primary, Status: http.StatusOK, Header: h,
		Policy: fresh.Policy{Born: s.now(), Lifetime: time.Hour},
	}, bytes.Repeat([]byte("x"), size))
	if err != nil {
		tb.Fatal(err)
	}
	return s.newHot(true)
}

func parse(tb testing.TB, text string) *h1.Head {
	tb.Helper()
	q, err := h1.Parse([]byte(text))
	if err != nil {
		tb.Fatal(err)
	}
	return q
}

const browser = "GET /a HTTP/1.1\r\nHost: www.shop.example\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:145.0)\r\nAccept: text/html,*/*;q=0.8\r\n" +
	"Accept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br, zstd\r\nCookie: session=0123456789abcdef\r\nConnection: keep-alive\r\n"

// TestHitAllocatesNothing, whether it is a whole answer or a 304.
func TestHitAllocatesNothing(t *testing.T) {
	h := holding(t, 1<<10)
	for name, text := range map[string]string{
		"browser": browser + "\r\n", "HEAD": "HEAD /a HTTP/1.1\r\nHost: www.shop.example\r\n\r\n", "HTTP/1.0": "GET /a HTTP/1.0\r\nHost: www.shop.example\r\n\r\n",
		"condition that holds": browser + "If-None-Match: W/\"abc\"\r\n\r\n", "condition that does not": browser + "If-None-Match: \"abd\"\r\n\r\n",
	} {
		q := parse(t, text)
		buf := make([]byte, 0, 4<<10)
		a := &h1.Answer{Head: buf}
		n := testing.AllocsPerRun(100, func() {
			a.Head, a.Body, a.Pinned = buf, a.Body[:0], false
			if !h.Answer(q, a) || !a.Pinned {
				t.Fatalf("%s: not answered", name)
			}
			a.Pin.Release()
		})
		if n != 0 {
			t.Errorf("%s: %v allocations, want none", name, n)
		}
	}
}

// TestWhatTheLoopLeavesToTheHandler: where more than comparing bytes is needed.
func TestWhatTheLoopLeavesToTheHandler(t *testing.T) {
	h := holding(t, 10)
	for _, text := range []string{
		"GET /b HTTP/1.1\r\nHost: www.shop.example\r\n", "GET /%61 HTTP/1.1\r\nHost: www.shop.example\r\n", "GET /a?utm_x=1 HTTP/1.1\r\nHost: www.shop.example\r\n",
		"GET /a HTTP/1.1\r\nHost: else.example\r\n", "GET /cart/a HTTP/1.1\r\nHost: www.shop.example\r\n", "GET /.catchment/health HTTP/1.1\r\nHost: www.shop.example\r\n",
		browser + "Range: bytes=0-1\r\n", browser + "If-Match: \"abc\"\r\n", browser + "If-None-Match: \"abc\", \"abd\"\r\n", browser + "If-None-Match: *\r\n",
		browser + "If-Modified-Since: Mon, 30 Nov 2026 09:00:01 GMT\r\n", browser + "CDN-Loop: catchment-ams1\r\n",
	} {
		a := &h1.Answer{}
		if h.Answer(parse(t, text+"\r\n"), a) {
			t.Errorf("%q: answered %q", text, a.Head)
		}
	}
}

func BenchmarkHit(b *testing.B) {
	for _, size := range []int{1 << 10, 32 << 10} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			h := holding(b, size)
			q := parse(b, browser+"\r\n")
			buf := make([]byte, 0, 4<<10)
			a := &h1.Answer{}
			b.ReportAllocs()
			for b.Loop() {
				a.Head, a.Body = buf, a.Body[:0]
				if !h.Answer(q, a) {
					b.Fatal("not answered")
				}
				a.Pin.Release()
			}
		})
	}
}

func BenchmarkParse(b *testing.B) {
	text := []byte(browser + "\r\n")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := h1.Parse(text); err != nil {
			b.Fatal(err)
		}
	}
}
