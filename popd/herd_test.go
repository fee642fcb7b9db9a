package popd_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// herd is how many clients come at once.
const herd = 100

// together runs n requests at a time and returns the replies.
func (w *world) together(n int, lines func(i int) []string) []reply {
	w.t.Helper()
	out := make([]reply, n)
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { out[i], errs[i] = w.do("GET", web, "/herd", lines(i)...) })
	}
	wg.Wait()
	for i, err := range errs {
		if err != nil {
			w.t.Fatalf("client %d: %v", i, err)
		}
	}
	return out
}

func TestHerdCostsOneOriginRequest(t *testing.T) {
	arrived := make(chan struct{})
	w := newWorld(t, func(rw http.ResponseWriter, _ *http.Request) {
		<-arrived
		answer("hello", "Cache-Control: max-age=60")(rw, nil)
	})
	w.shield()
	time.AfterFunc(200*time.Millisecond, func() { close(arrived) }) // the origin is slow; the herd gathers meanwhile
	for i, r := range w.together(herd, func(int) []string { return nil }) {
		if r.body != "hello" || r.err != nil {
			t.Errorf("client %d got %q, %v", i, r.body, r.err)
		}
	}
	w.wantAsked(1)
}

// open starts a GET and returns its body once the header has come.
func (w *world) open(target string) (io.Reader, io.Closer) {
	w.t.Helper()
	real, _ := w.net.find(web)
	c, err := net.Dial("tcp", real)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := c.SetDeadline(time.Now().Add(limit)); err != nil {
		w.t.Fatal(err)
	}
	if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: www.shop.example\r\n\r\n", target); err != nil {
		w.t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil) //nolint:bodyclose // the caller reads it and closes the connection
	if err != nil {
		w.t.Fatal(err)
	}
	return resp.Body, c
}

// TestWaitersStreamWhileTheBodyArrives: all have the first bytes before the origin sends the last, a client who leaves
// ends nothing for the others, and one who comes late gets the bytes from the start.
func TestWaitersStreamWhileTheBodyArrives(t *testing.T) {
	rest := make(chan struct{})
	w := newWorld(t, func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Cache-Control", "max-age=60")
		_, _ = io.WriteString(rw, "first ")
		_ = http.NewResponseController(rw).Flush()
		<-rest
		_, _ = io.WriteString(rw, "last")
	})
	w.shield()
	var bodies []io.Reader
	var asker io.Closer
	for i := range 5 {
		body, conn := w.open("/drip")
		defer conn.Close()
		first := make([]byte, 6)
		if _, err := io.ReadFull(body, first); err != nil || string(first) != "first " {
			t.Fatalf("client %d: first bytes %q, %v", i, first, err)
		}
		if i == 0 {
			asker = conn
			continue
		}
		asker.Close() // it leaves when another waits
		bodies = append(bodies, body)
	}
	close(rest)
	for i, b := range bodies {
		if got, err := io.ReadAll(b); string(got) != "last" || err != nil {
			t.Errorf("client %d: the rest is %q, %v", i, got, err)
		}
	}
	w.wantAsked(1)
}

func TestFetchThatNobodyWantsIsCancelled(t *testing.T) {
	gone := make(chan struct{})
	w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Cache-Control", "max-age=60")
		_, _ = io.WriteString(rw, "first")
		_ = http.NewResponseController(rw).Flush()
		<-r.Context().Done()
		close(gone)
	})
	w.shield()
	_, conn := w.open("/")
	conn.Close()
	select {
	case <-gone:
	case <-time.After(limit):
		t.Error("the origin's request still runs")
	}
}

// TestPrivateAnswersAreNeverShared: every client gets its own body and its own cookie, and once the first answer's
// header is there all the others are fetched in parallel.
func TestPrivateAnswersAreNeverShared(t *testing.T) {
	for _, cc := range []string{"private, max-age=60", "no-store", "max-age=60"} {
		for _, marked := range []bool{false, true} {
			var arrived atomic.Int64
			all := make(chan struct{}) // closed when the whole herd is at the origin, which only a parallel one ever is
			w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
				cookie := r.Header.Get("Cookie")
				rw.Header().Set("Cache-Control", cc)
				rw.Header().Set("Set-Cookie", "for="+cookie)
				if cookie != "" {
					switch n := arrived.Add(1); {
					case n == herd:
						close(all)
					case n == 1 && !marked:
						time.Sleep(100 * time.Millisecond) // a slow origin: the herd gathers behind this one
					default:
						select {
						case <-all:
						case <-time.After(limit / 2):
							t.Errorf("%s: request %d waits for others that do not come", cc, n)
						}
					}
				}
				_, _ = io.WriteString(rw, "for "+cookie)
			})
			w.shield()
			if marked {
				w.get("/herd")
			}
			for i, r := range w.together(herd, func(i int) []string { return []string{fmt.Sprintf("Cookie: c%d", i)} }) {
				if want := fmt.Sprintf("c%d", i); r.body != "for "+want || r.header.Get("Set-Cookie") != "for="+want {
					t.Errorf("%s: client %s got %q and cookie %q", cc, want, r.body, r.header.Get("Set-Cookie"))
				}
			}
			if n := arrived.Load(); n != herd {
				t.Errorf("%s: %d requests at the origin, want %d", cc, n, herd)
			}
		}
	}
}
