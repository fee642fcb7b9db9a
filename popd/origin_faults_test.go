package popd_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/catchment-net/catchment/popd"
)

// rawOrigin is an origin that says what a test makes it say, byte by byte.
type rawOrigin struct {
	l  net.Listener
	wg sync.WaitGroup

	mu     sync.Mutex // guards the following
	answer func(net.Conn)
}

// newRawOrigin takes the place of w's origin.
func newRawOrigin(w *world, answer func(net.Conn)) *rawOrigin {
	w.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	o := &rawOrigin{l: l, answer: answer}
	w.net.set("origin.shop.example:80", l.Addr().String())
	o.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			o.wg.Go(func() { o.serve(c) })
		}
	})
	w.t.Cleanup(func() {
		l.Close()
		o.wg.Wait()
	})
	return o
}

func (o *rawOrigin) set(answer func(net.Conn)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.answer = answer
}

// serve reads one request and answers it.
func (o *rawOrigin) serve(c net.Conn) {
	defer c.Close()
	if _, err := http.ReadRequest(bufio.NewReader(c)); err != nil {
		return
	}
	o.mu.Lock()
	answer := o.answer
	o.mu.Unlock()
	answer(c)
}

// says writes text and closes.
func says(text string) func(net.Conn) {
	return func(c net.Conn) { _, _ = io.WriteString(c, text) }
}

// hangs writes text and then nothing until the cache gives up.
func hangs(text string) func(net.Conn) {
	return func(c net.Conn) {
		_, _ = io.WriteString(c, text)
		_, _ = io.Copy(io.Discard, c)
	}
}

// repeats writes text, and then more and more of another until the cache gives up.
func repeats(text, more string, every time.Duration) func(net.Conn) {
	return func(c net.Conn) {
		_, err := io.WriteString(c, text)
		for err == nil {
			time.Sleep(every) // the origin's own slowness
			_, err = io.WriteString(c, more)
		}
	}
}

// resets writes text and breaks the connection.
func resets(text string) func(net.Conn) {
	return func(c net.Conn) {
		_, _ = io.WriteString(c, text)
		time.Sleep(20 * time.Millisecond) // so that the text gets there before the reset throws it away
		_ = c.(*net.TCPConn).SetLinger(0)
	}
}

// TestBrokenOriginsNeverLookWhole: whatever an origin does, its client gets a gateway error or a connection that breaks
// off, never a short answer that looks whole; nothing of it is stored, and the next client gets a good answer.
func TestBrokenOriginsNeverLookWhole(t *testing.T) {
	const (
		ok      = "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\n"
		length  = ok + "Content-Length: 100\r\n\r\nhalf"
		chunked = ok + "Transfer-Encoding: chunked\r\n\r\n"
		broken  = -1
	)
	for _, tt := range []struct {
		name   string
		answer func(net.Conn)
		status int // broken: the body breaks off, or no answer comes at all
	}{
		{"closes at once", says(""), 502},
		{"resets at once", resets(""), 502},
		{"no HTTP", says("hello\r\n\r\n"), 502},
		{"a body and nothing else", says("<html>hello</html>"), 502},
		{"a status of letters", says("HTTP/1.1 abc OK\r\n\r\n"), 502},
		{"a status of two digits", says("HTTP/1.1 20 OK\r\n\r\n"), 502},
		{"a status of four digits", says("HTTP/1.1 2000 OK\r\n\r\n"), 502},
		{"a status beyond all classes", says("HTTP/1.1 999 OK\r\nContent-Length: 0\r\n\r\n"), 502},
		{"no status", says("HTTP/1.1\r\n\r\n"), 502},
		{"another protocol", says("ICY 200 OK\r\n\r\n"), 502},
		{"half a header", says("HTTP/1.1 200 OK\r\nCache-Con"), 502},
		{"a header that never ends", hangs("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\n"), 504},
		{"a header of one byte at a time", repeats("HTTP/1.1 200 OK\r\nX: ", "x", 20*time.Millisecond), 504},
		{"nothing at all", hangs(""), 504},
		{"a field without a colon", says(ok + "nonsense\r\nContent-Length: 0\r\n\r\n"), 502},
		{"a field without a name", says(ok + ": x\r\nContent-Length: 0\r\n\r\n"), 502},
		{"a blank in a name", says(ok + "X Y: x\r\nContent-Length: 0\r\n\r\n"), 502},
		{"a zero byte in a value", says(ok + "X-Y: a\x00b\r\nContent-Length: 0\r\n\r\n"), 502},
		{"a bare CR in a value", says(ok + "X-Y: a\rSet-Cookie: b\r\nContent-Length: 0\r\n\r\n"), 502},
		{"a huge field", says(ok + "X-Big: " + strings.Repeat("x", 200<<10) + "\r\n\r\n"), 502},
		{"a huge header of small fields", says(ok + strings.Repeat("X-Many: x\r\n", 20<<10) + "\r\n"), 502},
		{"fields for ever", repeats(ok, strings.Repeat("X-Many: x\r\n", 100), 0), 502},
		{"100 for ever", repeats("", "HTTP/1.1 100 Continue\r\n\r\n", 0), 502},
		{"103 for ever", repeats("", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", 0), 502},
		{"102 and then nothing", hangs("HTTP/1.1 102 Processing\r\n\r\n"), 504},
		{"101 unasked", says("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: evil\r\n\r\n"), 502},
		{"two lengths", says(ok + "Content-Length: 4\r\nContent-Length: 5\r\n\r\nhello"), 502},
		{"a negative length", says(ok + "Content-Length: -1\r\n\r\nhello"), 502},
		{"a length with letters", says(ok + "Content-Length: 5x\r\n\r\nhello"), 502},
		{"an unknown transfer coding", says(ok + "Transfer-Encoding: gzip\r\n\r\nhello"), 502},

		{"short of its length", says(length), broken},
		{"reset short of its length", resets(length), broken},
		{"stands still short of its length", hangs(length), broken},
		{"chunked without end", says(chunked + "4\r\nhalf\r\n"), broken},
		{"chunked, reset", resets(chunked + "4\r\nhalf\r\n"), broken},
		{"chunked, stands still", hangs(chunked + "4\r\nhalf\r\n"), broken},
		{"half a chunk", says(chunked + "100\r\nhalf"), broken},
		{"a chunk size of letters", says(chunked + "4\r\nhalf\r\nzz\r\n"), broken},
		{"a chunk size that is too large", says(chunked + "4\r\nhalf\r\nfffffffffffffffff\r\n"), broken},
		{"a negative chunk size", says(chunked + "4\r\nhalf\r\n-1\r\n"), broken},
		{"a chunk longer than its size", says(chunked + "4\r\nhalfand more\r\n0\r\n\r\n"), broken},
		{"a chunk without its end", says(chunked + "4\r\nhalf0\r\n\r\n"), broken},
		{"an endless chunk extension", repeats(chunked+"4;", strings.Repeat("x", 4096), 0), broken},
		{"reset without a length", resets(ok + "\r\nhalf"), broken},
	} {
		for _, tiers := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/behind a shield %v", tt.name, tiers), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, answer("unused"))
				o := newRawOrigin(w, tt.answer)
				w.node("ams1", func(o *popd.Options) { // the edge has the default patience: it is the shield that gives up
					if tt.status == 504 {
						o.FirstByte = 400 * time.Millisecond
					}
					if strings.Contains(tt.name, "stands still") {
						o.Stall = 400 * time.Millisecond
					}
				})
				if tiers {
					w.node("nyc1", nil)
				}
				r, err := w.do("GET", web, "/")
				switch {
				case tt.status == broken && err == nil && r.err == nil:
					t.Errorf("the client saw a whole answer: %d %q", r.status, r.body)
				case tt.status != broken && (err != nil || r.err != nil || r.status != tt.status):
					t.Errorf("the client got %d %q (%v, %v), want %d", r.status, r.body, err, r.err, tt.status)
				}
				o.set(says(ok + "Content-Length: 4\r\n\r\ngood"))
				eventually(t, "the next client gets a good answer", func() bool { // not at once where the machine is slower than our patience
					r, err := w.do("GET", web, "/")
					if err == nil && r.err == nil && r.status == 200 && r.body != "good" {
						t.Errorf("the next client got %q", r.body)
					}
					return err == nil && r.err == nil && r.body == "good"
				})
			})
		}
	}
}

// TestMoreThanTheLength: what follows a body of known length is not part of it, and not the next answer either.
func TestMoreThanTheLength(t *testing.T) {
	w := newWorld(t, answer("unused"))
	newRawOrigin(w, hangs("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 4\r\n\r\ngoodHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"))
	w.shield()
	for _, path := range []string{"/a", "/a", "/b"} {
		if r := w.get(path); r.status != 200 || r.body != "good" {
			t.Errorf("%s: %d %q", path, r.status, r.body)
		}
	}
}

// TestSlowBodyReachesItsClientAsItComes: one byte at a time is slow, not broken, and is stored once it is whole.
func TestSlowBodyReachesItsClientAsItComes(t *testing.T) {
	w := newWorld(t, answer("unused"))
	newRawOrigin(w, func(c net.Conn) {
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 10\r\n\r\n")
		for i := range 10 {
			time.Sleep(40 * time.Millisecond) // the origin's own slowness
			_, _ = fmt.Fprintf(c, "%d", i)
		}
	})
	w.node("ams1", func(o *popd.Options) { o.Stall = 300 * time.Millisecond }) // all of it takes longer
	for _, want := range []string{"fwd=uri-miss", "hit"} {
		if r := w.get("/"); r.body != "0123456789" || r.err != nil || !strings.Contains(r.last(), want) {
			t.Errorf("%q, %v, %q; want %s", r.body, r.err, r.last(), want)
		}
	}
}

// TestEndlessBodyEndsWithItsClient: it is never stored, does not fill the memory, and stops when nobody reads it.
func TestEndlessBodyEndsWithItsClient(t *testing.T) {
	w := newWorld(t, answer("unused"))
	ended := make(chan struct{})
	newRawOrigin(w, func(c net.Conn) {
		defer close(ended)
		repeats("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\n\r\n", strings.Repeat("x", 64<<10), 0)(c)
	})
	w.shield()
	real, _ := w.net.find(web)
	c, err := net.Dial("tcp", real)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(limit))
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: www.shop.example\r\n\r\n")
	if n, err := io.CopyN(io.Discard, c, 32<<20); err != nil { // four times the memory
		t.Fatalf("after %d bytes: %v", n, err)
	}
	c.Close()
	select {
	case <-ended:
	case <-time.After(limit):
		t.Error("the origin still sends though the client has gone")
	}
}

// TestOriginsFailureIsCoveredByAStaleAnswer: every way to fail before the body counts (RFC 5861 §4).
func TestOriginsFailureIsCoveredByAStaleAnswer(t *testing.T) {
	for name, fault := range map[string]func(net.Conn){
		"closes": says(""), "resets": resets(""), "hangs": hangs(""), "no HTTP": says("hello\r\n\r\n"),
		"a huge header": says("HTTP/1.1 200 OK\r\nX-Big: " + strings.Repeat("x", 200<<10) + "\r\n\r\n"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, answer("unused"))
			o := newRawOrigin(w, says("HTTP/1.1 200 OK\r\nCache-Control: max-age=10, stale-if-error=60\r\nContent-Length: 4\r\n\r\ngood"))
			w.node("ams1", func(o *popd.Options) { o.FirstByte = 200 * time.Millisecond })
			w.get("/")
			w.clock.forward(20 * time.Second)
			o.set(fault)
			if r := w.get("/"); r.status != 200 || r.body != "good" {
				t.Errorf("%d %q, %q", r.status, r.body, r.last())
			}
		})
	}
}

// TestTrailersAreNotFields: what comes behind a body is dropped, and nothing in it can pass for a field of the header
// (RFC 9110 §6.5.1).
func TestTrailersAreNotFields(t *testing.T) {
	w := newWorld(t, answer("unused"))
	newRawOrigin(w, says("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTrailer: X-T, Set-Cookie\r\nTransfer-Encoding: chunked\r\n\r\n"+
		"4\r\ngood\r\n0\r\nX-T: 1\r\nSet-Cookie: a=b\r\nCache-Control: no-store\r\n\r\n"))
	w.shield()
	for _, want := range []string{"fwd=uri-miss", "hit"} {
		r := w.get("/")
		if r.body != "good" || r.header.Get("X-T")+r.header.Get("Set-Cookie")+r.header.Get("Trailer") != "" || !strings.Contains(r.last(), want) {
			t.Errorf("%q, %v; want %s", r.body, r.header, want)
		}
	}
}
