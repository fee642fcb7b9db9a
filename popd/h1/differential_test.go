package h1_test

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/catchment-net/catchment/popd/h1"
)

// respond answers in every way that a Handler can, chosen by the path.
func respond(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/plain") // net/http guesses one where none is set; we do not
	big := strings.Repeat("0123456789abcdef", 1<<10)
	switch r.URL.Path {
	case "/length":
		h.Set("Content-Length", "5")
		_, _ = io.WriteString(w, "hello")
	case "/short":
		h.Set("Content-Length", "6")
		_, _ = io.WriteString(w, "hello")
	case "/long":
		h.Set("Content-Length", "4")
		_, _ = io.WriteString(w, "hell")
		if _, err := io.WriteString(w, "o"); !errors.Is(err, http.ErrContentLength) && r.Method != http.MethodHead {
			h.Set("X-Error", fmt.Sprint(err))
		}
	case "/big":
		_, _ = io.WriteString(w, big)
	case "/many":
		for range 50 {
			_, _ = io.WriteString(w, big[:777])
		}
	case "/flush":
		_, _ = io.WriteString(w, "he")
		_ = http.NewResponseController(w).Flush()
		_, _ = io.WriteString(w, "llo")
	case "/none":
		w.WriteHeader(http.StatusNoContent)
		if _, err := io.WriteString(w, "x"); !errors.Is(err, http.ErrBodyNotAllowed) {
			panic(err)
		}
	case "/unchanged":
		h.Set("Etag", `"a"`)
		w.WriteHeader(http.StatusNotModified)
	case "/missing":
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, "not here")
	case "/odd":
		w.WriteHeader(799)
	case "/close":
		h.Set("Connection", "close")
		_, _ = io.WriteString(w, "bye")
	case "/hints":
		h.Set("Link", "</a>; rel=preload")
		if r.ProtoMinor > 0 { // net/http sends them to HTTP/1.0, too, which does not know them (RFC 9110 §15.2)
			w.WriteHeader(http.StatusEarlyHints)
		}
		_, _ = io.WriteString(w, "hello")
	case "/trailer":
		h.Set("Trailer", "X-Sum")
		_, _ = io.WriteString(w, "hello")
		h.Set("X-Sum", "1")
	case "/prefixed":
		_, _ = io.WriteString(w, "hello")
		_ = http.NewResponseController(w).Flush()
		h.Set(http.TrailerPrefix+"X-Sum", "1")
	case "/split":
		h["X-Split"] = []string{"a\r\nX-Evil: b", "c"}
	case "/abort":
		_, _ = io.WriteString(w, "half")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	default:
		_, _ = io.WriteString(w, "hello")
	}
}

var paths = []string{
	"/", "/length", "/short", "/long", "/big", "/many", "/flush", "/none", "/unchanged", "/missing", "/odd", "/close", "/hints",
	"/trailer", "/prefixed", "/split", "/abort", "/a/b?x=1&y=%20", "//a//b", "/a%2fb/../c", "/?", "/\xe4", "http://b.example/length?z",
}

// request makes one request, mostly fit, at times not.
func request(r *rand.Rand) (text, method string) {
	one := func(all ...string) string { return all[r.IntN(len(all))] }
	rarely := func(s, other string) string {
		if r.IntN(40) == 0 {
			return other
		}
		return s
	}
	method = one("GET", "GET", "GET", "HEAD", "POST", "POST", "PUT", "DELETE", "OPTIONS", "QUERY")
	eol := rarely("\r\n", one("\n", "\r", "\r\n\r\n"))
	var b strings.Builder
	b.WriteString(method + rarely(" ", one("  ", "\t", "")) + paths[r.IntN(len(paths))] + " " + rarely("HTTP/1.1", one("HTTP/1.0", "HTTP/1.0", "HTTP/1.2", "HTTP/3.0", "http/1.1", "HTTP/1.")) + eol)
	b.WriteString(rarely("Host: www.example\r\n", one("", "Host: a\r\nHost: a\r\n", "Host: a/b\r\n", "Host:\r\n", "Host: a:80\r\n", "host:www.example \t\r\n")))
	for range r.IntN(5) {
		b.WriteString(one("Accept: */*", "X-A: 1", "x-a:  2\t", "Cookie: a=b; c=d", "Cookie: e", "Pragma: no-cache", "If-None-Match: \"a\"", "Accept-Encoding: gzip, br",
			"X-Empty:", "X-Bytes: \xe4\xf6", "Te: trailers", "Via: 1.1 a", "Connection: keep-alive", "Connection: x-a", "Connection: close",
			"Trailer: X-Sum", rarely("X-B: 1", one("X-B : 1", "X-\x01: 1", "X-C: a\x00", " folded", "nonsense"))) + rarely("\r\n", one("\n", "\r\n ")))
	}
	hasBody := method == "POST" || method == "PUT" || r.IntN(10) == 0
	if !hasBody {
		return b.String() + "\r\n", method
	}
	body := strings.Repeat("b", r.IntN(40))
	switch r.IntN(8) {
	case 0, 3, 4:
		fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", len(body), body)
	case 1, 5, 6:
		b.WriteString("Transfer-Encoding: " + rarely("chunked", one("Chunked", "gzip", "chunked, chunked", "identity")) + "\r\n\r\n")
		for len(body) > 0 {
			n := 1 + r.IntN(len(body))
			fmt.Fprintf(&b, "%x%s\r\n%s\r\n", n, rarely("", one(";ext", ";a=b", " ;a", "g")), body[:n])
			body = body[n:]
		}
		b.WriteString("0\r\n" + rarely("", one("X-Sum: 1\r\n", "X-Other: 1\r\n")) + "\r\n")
	case 2:
		b.WriteString("Content-Length: 0\r\n\r\n")
	default:
		b.WriteString(one("Content-Length: 1\r\nContent-Length: 1\r\n\r\nx", "Content-Length: +1\r\n\r\nx", "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
			"Expect: 100-continue\r\nContent-Length: 2\r\n\r\nxx", "Expect: else\r\n\r\n"))
	}
	return b.String(), method
}

// TestSameAsNetHTTP: for a stream of requests that both take, the Handler sees the same and the client gets the same. The
// stated differences: we refuse more (strict_test.go), and then with the same status or a better one; we take one empty
// line before any request; the order of fields and the borders of chunks are ours.
func TestSameAsNetHTTP(t *testing.T) {
	var ours, theirs seen
	handler := func(s *seen) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s.add(describe(r))
			respond(w, r)
		})
	}
	addr := serve(t, h1.Options{}, h1.Binding{Handler: handler(&ours)})
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: handler(&theirs), DisableGeneralOptionsHandler: true} //nolint:gosec // the test's own
	go func() { _ = srv.Serve(l) }()                                                   // ends with Close
	t.Cleanup(func() { _ = srv.Close() })

	compare := func(text string, methods []string) (accepted bool) {
		got, want := answers(talk(t, addr, text), methods), answers(talk(t, l.Addr().String(), text), methods)
		gotSeen, wantSeen := ours.take(), theirs.take()
		if n := len(got); n > 0 && strings.HasPrefix(got[n-1], "refused") {
			// What was taken before the refusal must be the same; what follows is theirs alone.
			got, accepted = got[:n-1], n > 1
			want = want[:min(len(want), len(got))]
			wantSeen = wantSeen[:min(len(wantSeen), len(gotSeen))]
		} else {
			accepted = true
		}
		if diff := cmp.Diff(strings.Join(wantSeen, "\n"), strings.Join(gotSeen, "\n")); diff != "" {
			t.Errorf("%q: the Handler saw another request (- net/http, + ours):\n%s", text, diff)
		}
		if diff := cmp.Diff(strings.Join(want, "\n"), strings.Join(got, "\n")); diff != "" {
			t.Errorf("%q: another answer (- net/http, + ours):\n%s", text, diff)
		}
		return accepted
	}
	for _, path := range paths {
		for _, method := range []string{"GET", "HEAD", "POST"} {
			for _, rest := range []string{" HTTP/1.1\r\nHost: a\r\n\r\n", " HTTP/1.0\r\n\r\n", " HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"} {
				compare(method+" "+path+rest, []string{method})
			}
		}
	}
	r := rand.New(rand.NewPCG(1, 2))
	taken := 0
	const n = 1500
	for range n {
		var text string
		var methods []string
		for range 1 + r.IntN(3) {
			one, method := request(r)
			text += one
			methods = append(methods, method)
		}
		if compare(text, methods) {
			taken++
		}
		if t.Failed() {
			return
		}
	}
	if taken < n/2 {
		t.Errorf("%d of %d streams were taken: the generator is too wild to show anything", taken, n)
	}
}
