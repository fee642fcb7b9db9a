package origin

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

func serve(tb testing.TB, o Options) *Server {
	tb.Helper()
	s, err := New(o)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// reply is an answer of a server in memory.
type reply struct {
	StatusCode int
	Header     http.Header
	Body       io.Reader
}

// ask sends one request in memory.
func ask(s *Server, method, target, client string, header ...string) reply {
	r := httptest.NewRequest(method, target, nil)
	if client != "" {
		r.AddCookie(&http.Cookie{Name: "client", Value: client})
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return reply{w.Code, w.Header(), w.Body}
}

func body(tb testing.TB, r reply) []byte {
	tb.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func parsed(tb testing.TB, s string) *url.URL {
	tb.Helper()
	u, err := url.Parse(s)
	if err != nil {
		tb.Fatal(err)
	}
	return u
}

func TestAnswers(t *testing.T) {
	tests := []struct {
		target, client string
		status, size   int
		control        string
	}{
		{"/", "", 200, 2048, "max-age=5"},
		{"/news?page=2", "a", 200, 2048, "max-age=5"},
		{"/static/logo.svg", "a", 200, 16384, "max-age=86400"},
		{"/account", "a", 200, 2048, "private"},
		{"/cart/items", "", 200, 2048, "private"},
		{"/?size=0", "", 200, 0, "max-age=5"},
		{"/?size=1048577", "", 200, 1048577, "max-age=5"},
		{"/?size=16777217", "", 400, -1, "no-store"},
		{"/?size=many", "", 400, -1, "no-store"},
		{"/?delay=1", "", 400, -1, "no-store"},
		{"/?delay=11s", "", 400, -1, "no-store"},
	}
	s := serve(t, Options{})
	for _, tt := range tests {
		t.Run(tt.target, func(t *testing.T) {
			r := ask(s, "GET", tt.target, tt.client)
			b := body(t, r)
			if r.StatusCode != tt.status || r.Header.Get("Cache-Control") != tt.control || tt.size >= 0 && len(b) != tt.size {
				t.Fatalf("status %d, %d bytes, Cache-Control %q; want %d, %d, %q", r.StatusCode, len(b), r.Header.Get("Cache-Control"), tt.status, tt.size, tt.control)
			}
			if tt.status != 200 {
				return
			}
			if err := Verify(parsed(t, "http://h"+tt.target), r.Header, b, tt.client); err != nil {
				t.Errorf("a right answer is refused: %v", err)
			}
		})
	}
}

func TestConditionalRangeAndHead(t *testing.T) {
	s := serve(t, Options{})
	first := ask(s, "GET", "/", "")
	whole := body(t, first)
	if r := ask(s, "GET", "/", "", "If-None-Match", first.Header.Get("Etag")); r.StatusCode != http.StatusNotModified {
		t.Errorf("If-None-Match: status %d, want 304", r.StatusCode)
	}
	if r := ask(s, "GET", "/", "", "If-Modified-Since", first.Header.Get("Last-Modified")); r.StatusCode != http.StatusNotModified {
		t.Errorf("If-Modified-Since: status %d, want 304", r.StatusCode)
	}
	r := ask(s, "GET", "/", "", "Range", "bytes=100-199")
	if got := string(body(t, r)); r.StatusCode != http.StatusPartialContent || got != string(whole[100:200]) {
		t.Errorf("Range: status %d, body %q; want 206 and the same bytes as in the whole", r.StatusCode, got)
	}
	if r := ask(s, "HEAD", "/", ""); len(body(t, r)) != 0 || r.Header.Get("Content-Length") != "2048" {
		t.Errorf("HEAD: length %q, want 2048 and no body", r.Header.Get("Content-Length"))
	}
	if r := ask(s, "POST", "/", ""); r.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST: status %d, want 405", r.StatusCode)
	}
	if got, want := s.Counts(), (Counts{Shared: 5, Conditional: 2, Bad: 1}); got != want {
		t.Errorf("counts %+v, want %+v", got, want)
	}
}

func TestLimitRefusesWhatIsBeyond(t *testing.T) {
	now := time.Unix(0, 0)
	s := serve(t, Options{Limit: 10, Now: func() time.Time { return now }})
	good := func() (n int) {
		for range 20 {
			r := ask(s, "GET", "/", "")
			if r.StatusCode == 200 {
				n++
			} else if r.StatusCode != 503 || r.Header.Get("Retry-After") == "" {
				t.Fatalf("status %d, Retry-After %q; want 503 with one", r.StatusCode, r.Header.Get("Retry-After"))
			}
		}
		return n
	}
	if got := good(); got != 5 {
		t.Errorf("a burst of %d passed, want 5: half a second's worth", got)
	}
	now = now.Add(200 * time.Millisecond)
	if got := good(); got != 2 {
		t.Errorf("%d passed after 200 ms at 10/s, want 2", got)
	}
}

func TestDelayWaits(t *testing.T) {
	s := serve(t, Options{})
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		ask(s, "GET", "/?delay=300ms", "")
		if got := time.Since(began); got != 300*time.Millisecond {
			t.Errorf("answered after %v, want 300 ms", got)
		}
	})
}

func TestVerifyTellsWrongAnswers(t *testing.T) {
	s := serve(t, Options{})
	answer := func(target, client string) (http.Header, []byte) {
		r := ask(s, "GET", target, client)
		return r.Header, body(t, r)
	}
	tests := []struct {
		name, url, client string
		spoil             func(http.Header, []byte) (http.Header, []byte)
		want              string
	}{
		{"flipped byte", "/", "a", func(h http.Header, b []byte) (http.Header, []byte) { b[700] ^= 1; return h, b }, "byte 700 of 2048"},
		{"flipped first byte", "/", "a", func(h http.Header, b []byte) (http.Header, []byte) { b[0] ^= 1; return h, b }, "byte 0 of 2048"},
		{"cut short", "/", "a", func(h http.Header, b []byte) (http.Header, []byte) { return h, b[:1000] }, "has 1000 bytes, want 2048"},
		{"too long", "/", "a", func(h http.Header, b []byte) (http.Header, []byte) { return h, append(b, 'x') }, "has 2049 bytes, want 2048"},
		{"empty", "/", "a", func(h http.Header, _ []byte) (http.Header, []byte) { return h, nil }, "has 0 bytes"},
		{"another page", "/", "a", func(http.Header, []byte) (http.Header, []byte) { return answer("/news", "a") }, "byte 1 of 2048"},
		{"another's account", "/account", "a", func(http.Header, []byte) (http.Header, []byte) { return answer("/account", "b") }, `sets the cookie of "b", asked by "a"`},
		{"another's account without its cookie", "/account", "a", func(http.Header, []byte) (http.Header, []byte) {
			_, b := answer("/account", "b")
			return http.Header{}, b
		}, `private answer of "b" for "/account" reached "a"`},
		{"cookie on a shared answer", "/", "a", func(h http.Header, b []byte) (http.Header, []byte) {
			h.Set("Set-Cookie", "client=b")
			return h, b
		}, `shared answer for "/" sets the cookie of "b"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h, b := tt.spoil(answer(tt.url, tt.client))
			err := Verify(parsed(t, "http://h"+tt.url), h, b, tt.client)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// Whatever the path, size and asker: the right body is accepted, any flipped byte is not, and pieces read from anywhere
// fit the whole.
func TestBodyProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		path := "/" + rapid.StringMatching(`[a-z]{0,80}`).Draw(t, "path")
		size := rapid.Int64Range(1, 5000).Draw(t, "size")
		owner := rapid.SampledFrom([]string{"", "a", "berlin-www-1"}).Draw(t, "owner")
		whole, err := io.ReadAll(newBody(path, size, owner))
		if err != nil || int64(len(whole)) != size {
			t.Fatalf("%d bytes, error %v; want %d", len(whole), err, size)
		}
		w := wanted{path: path, size: size, owner: owner}
		if err := compare(w, whole); err != nil {
			t.Fatalf("the right body is refused: %v", err)
		}
		offset := rapid.Int64Range(0, size-1).Draw(t, "offset")
		piece := make([]byte, rapid.Int64Range(1, size-offset).Draw(t, "length"))
		newBody(path, size, owner).fill(piece, offset)
		if string(piece) != string(whole[offset:offset+int64(len(piece))]) {
			t.Fatalf("the piece at %d does not fit the whole", offset)
		}
		whole[offset] ^= byte(rapid.IntRange(1, 255).Draw(t, "flip"))
		if compare(w, whole) == nil {
			t.Fatalf("a flipped byte at %d is accepted", offset)
		}
	})
}

func TestNewRefusesNonsense(t *testing.T) {
	if _, err := New(Options{Host: "o", Limit: -1}); err == nil {
		t.Error("a negative limit is accepted")
	}
}
