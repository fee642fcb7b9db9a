package popd_test

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/catchment-net/catchment/popd"
)

// purge purges and fails the test if it is refused.
func purge(t *testing.T, s *popd.Server, r popd.PurgeRequest) popd.Purged {
	t.Helper()
	done, err := s.Purge(r)
	if err != nil {
		t.Fatalf("purge %+v: %v", r, err)
	}
	return done
}

func TestPurge(t *testing.T) {
	const url, other = "http://www.shop.example/a?b=1&a=2", "http://www.shop.example/other"
	for _, c := range []struct {
		rule  string
		what  popd.PurgeRequest
		asked int64  // by the origin after the purge
		last  string // of Cache-Status
	}{
		{"its URL, however it is written", popd.PurgeRequest{URL: "HTTP://WWW.shop.example.:80/%61?a=2&b=1&utm_source=x"}, 2, "fwd=uri-miss"},
		{"another URL", popd.PurgeRequest{URL: other}, 1, "hit"},
		{"one of its keys", popd.PurgeRequest{Keys: []string{"none", "shoes"}}, 2, "fwd=uri-miss"},
		{"one of its keys, by the site", popd.PurgeRequest{Keys: []string{"shoes"}, Site: "shop"}, 2, "fwd=uri-miss"},
		{"a key in another case", popd.PurgeRequest{Keys: []string{"Shoes"}}, 1, "hit"},
		{"softly: served while it is fetched anew", popd.PurgeRequest{Keys: []string{"sale"}, Soft: true}, 2, "hit"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			w := newWorld(t, answer("hello", "Cache-Control: max-age=60, stale-while-revalidate=30", "Surrogate-Key: shoes sale", "ETag: \"1\""))
			s := w.shield()
			w.get(url)
			if r := w.get(url); !strings.Contains(r.last(), "hit") {
				t.Fatalf("before: %q", r.last())
			}
			purge(t, s, c.what)
			if r := w.get(url); r.body != "hello" || !strings.Contains(r.last(), c.last) {
				t.Errorf("after: %q %q, want %q", r.body, r.last(), c.last)
			}
			eventually(t, "the origin's requests", func() bool { return w.asked.Load() == c.asked })
			if r := w.get(url); !strings.Contains(r.last(), "hit") {
				t.Errorf("later: %q", r.last())
			}
		})
	}
}

// What was purged softly and may not be used stale is validated first; where the origin fails, it stands in as its
// stale-if-error says.
func TestSoftPurgeValidates(t *testing.T) {
	fails := false
	w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		switch {
		case fails:
			rw.WriteHeader(http.StatusBadGateway)
		case r.Header.Get("If-None-Match") != "":
			rw.WriteHeader(http.StatusNotModified)
		default:
			answer("hello", "Cache-Control: max-age=60, stale-if-error=60", "ETag: \"1\"")(rw, r)
		}
	})
	s := w.shield()
	w.get("/a")
	purge(t, s, popd.PurgeRequest{URL: "http://www.shop.example/a", Soft: true})
	if r := w.get("/a"); r.body != "hello" || !strings.Contains(r.last(), "fwd=stale; fwd-status=304") {
		t.Errorf("%q %q", r.body, r.last())
	}
	if r := w.get("/a"); !strings.Contains(r.last(), "hit") {
		t.Errorf("once validated: %q", r.last())
	}
	fails = true
	purge(t, s, popd.PurgeRequest{URL: "http://www.shop.example/a", Soft: true})
	if r := w.get("/a"); r.status != 200 || r.body != "hello" || !strings.Contains(r.last(), "stale-if-error") {
		t.Errorf("with a broken origin: %d %q %q", r.status, r.body, r.last())
	}
	purge(t, s, popd.PurgeRequest{URL: "http://www.shop.example/a"})
	if r := w.get("/a"); r.status != http.StatusBadGateway {
		t.Errorf("purged hard, with a broken origin: %d %q", r.status, r.body)
	}
}

// A fetch that began before a purge is never served to a request that came after it, however late its answer comes.
func TestPurgeReachesWhatIsOnItsWay(t *testing.T) {
	for _, what := range []popd.PurgeRequest{{URL: "http://www.shop.example/a"}, {Keys: []string{"shoes"}}} {
		began, goOn := make(chan struct{}, 8), make(chan struct{})
		var mu sync.Mutex
		version := "old"
		w := newWorld(t, func(rw http.ResponseWriter, _ *http.Request) {
			mu.Lock()
			body := version
			mu.Unlock()
			rw.Header().Set("Cache-Control", "max-age=60")
			rw.Header().Set("Surrogate-Key", "shoes")
			if body == "old" {
				began <- struct{}{}
				<-goOn
			}
			_, _ = io.WriteString(rw, body)
		})
		s := w.shield()
		before := make(chan reply, 1)
		go func() {
			r, _ := w.do("GET", web, "/a")
			before <- r
		}()
		<-began
		mu.Lock()
		version = "new"
		mu.Unlock()
		purge(t, s, what)
		if r := w.get("/a"); r.body != "new" {
			t.Errorf("%+v: %q after the purge", what, r.body)
		}
		close(goOn)
		if r := <-before; r.body != "old" {
			t.Errorf("%+v: who had asked before got %q", what, r.body)
		}
		for range 3 {
			if r := w.get("/a"); r.body != "new" {
				t.Errorf("%+v: %q once the old fetch had ended", what, r.body)
			}
		}
	}
}

func TestPurgeRefuses(t *testing.T) {
	w := newWorld(t, answer("hello"))
	s := w.shield()
	for _, c := range []struct {
		what popd.PurgeRequest
		want string
	}{
		{popd.PurgeRequest{}, "want either a URL or surrogate keys"},
		{popd.PurgeRequest{URL: "http://www.shop.example/", Keys: []string{"a"}}, "want either"},
		{popd.PurgeRequest{URL: "/a"}, "is no absolute URL"},
		{popd.PurgeRequest{URL: "http://elsewhere.example/a"}, `no site here has the host "elsewhere.example"`},
		{popd.PurgeRequest{Keys: []string{"a"}, Site: "shoop"}, `no site is called "shoop"`},
		{popd.PurgeRequest{Keys: make([]string, popd.MaxPurgeKeys+1)}, "want at most"},
	} {
		if _, err := s.Purge(c.what); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.what, err, c.want)
		}
	}
}
