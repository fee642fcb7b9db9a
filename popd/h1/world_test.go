package h1_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/catchment-net/catchment/popd/h1"
)

// limit bounds every wait of these tests.
const limit = 20 * time.Second

// serve runs a Server with one binding until the test ends, and returns its address.
func serve(t *testing.T, o h1.Options, b h1.Binding) string {
	t.Helper()
	s, err := h1.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return run(t, s, b)
}

func run(tb testing.TB, s *h1.Server, b h1.Binding) string {
	tb.Helper()
	if b.Listener == nil {
		l, err := new(net.ListenConfig).Listen(tb.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			tb.Fatal(err)
		}
		b.Listener = l
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, []h1.Binding{b}) }()
	tb.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			tb.Errorf("run: %v", err)
		}
	})
	return b.Listener.Addr().String()
}

// seen is what a Handler saw, in the order of requests.
type seen struct {
	mu  sync.Mutex
	all []string
}

func (s *seen) add(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, text)
}

func (s *seen) take() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.all
	s.all = nil
	return all
}

// describe writes down all of a request that a Handler may rely on.
func describe(r *http.Request) string {
	body, err := io.ReadAll(r.Body)
	var b strings.Builder
	fmt.Fprintf(&b, "%s %q %s host=%q url=%q path=%q query=%q length=%d te=%v close=%v body=%q\n",
		r.Method, r.RequestURI, r.Proto, r.Host, r.URL, r.URL.Path, r.URL.RawQuery, r.ContentLength, r.TransferEncoding, r.Close, body)
	if err != nil {
		fmt.Fprintf(&b, "body broken\n")
	}
	lines := func(what string, h http.Header) {
		names := make([]string, 0, len(h))
		for name := range h {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			fmt.Fprintf(&b, "%s %s=%q\n", what, name, h[name])
		}
	}
	lines("field", r.Header)
	lines("trailer", r.Trailer)
	return b.String()
}

// talk sends text, half-closes, and reads to the end.
func talk(tb testing.TB, addr, text string) string {
	tb.Helper()
	c := dial(tb, addr)
	defer c.Close()
	go func() {
		_, _ = io.WriteString(c, text) // a server that refuses may close first
		_ = c.(*net.TCPConn).CloseWrite()
	}()
	all, err := io.ReadAll(c)
	if err != nil && len(all) == 0 {
		tb.Fatalf("%q: %v", text, err)
	}
	return string(all)
}

func dial(tb testing.TB, addr string) net.Conn {
	tb.Helper()
	c, err := new(net.Dialer).DialContext(tb.Context(), "tcp", addr)
	if err != nil {
		tb.Fatal(err)
	}
	if err := c.SetDeadline(time.Now().Add(limit)); err != nil {
		tb.Fatal(err)
	}
	return c
}

// answers reads what a server said: one line for each answer, interim ones included, with all but the time of day.
func answers(text string, methods []string) []string {
	var all []string
	r := bufio.NewReader(strings.NewReader(text))
	for i := 0; ; {
		method := "GET"
		if i < len(methods) {
			method = methods[i]
		}
		resp, err := http.ReadResponse(r, &http.Request{Method: method})
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return all
		}
		if err != nil {
			return append(all, "unreadable: "+err.Error())
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close() // read already
		dated := resp.Header.Get("Date") != ""
		if resp.StatusCode >= 400 && !dated {
			return append(all, "refused "+resp.Status) // by the loop itself, which says nothing more
		}
		resp.Header.Del("Date")
		if resp.ProtoMinor == 0 && resp.Close {
			resp.Header.Del("Connection") // it says nothing there
		}
		all = append(all, fmt.Sprintf("%s %s dated=%v te=%v length=%d close=%v %v body=%d:%.60q broken=%v trailer=%v",
			resp.Proto, resp.Status, dated, resp.TransferEncoding, resp.ContentLength, resp.Close, resp.Header, len(body), body, err != nil, resp.Trailer))
		if resp.StatusCode >= 200 {
			i++
		}
	}
}
