package popd_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/catchment-net/catchment/popd"
)

// TestManyMissesGoThroughOneShield: more than one HTTP/2 connection has streams for.
func TestManyMissesGoThroughOneShield(t *testing.T) {
	const n = 300
	var once sync.Once
	all := make(chan struct{})
	var w *world
	w = newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		if w.asked.Load() > n {
			once.Do(func() { close(all) })
		}
		if r.URL.Path == "/warm" {
			return
		}
		select {
		case <-all: // no answer before all have come
		case <-r.Context().Done():
		}
		answer(r.URL.Path, "Cache-Control: max-age=60")(rw, r)
	})
	keys := fleetTLS(t)
	w.node("ams1", keys)
	w.node("nyc1", func(o *popd.Options) {
		keys(o)
		o.Silence = limit // this machine may be slow
	})
	if _, err := w.do("GET", nyc, "/warm"); err != nil { // opens the one connection
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			path := fmt.Sprintf("/%d", i)
			if r, err := w.do("GET", nyc, path); err != nil || r.body != path || !strings.Contains(strings.Join(r.header["Cache-Status"], ","), "ams1") {
				t.Errorf("%s: %d %q, %v", path, r.status, r.body, err)
			}
		})
	}
	wg.Wait()
}

// TestTransferThatBreaksAtTheShieldIsNotStored: the reset of its HTTP/2 stream reaches the edge, which cuts its client
// off and asks again.
func TestTransferThatBreaksAtTheShieldIsNotStored(t *testing.T) {
	read := make(chan struct{})
	var w *world
	w = newWorld(t, func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Cache-Control", "max-age=60")
		_, _ = io.WriteString(rw, "half ")
		_ = http.NewResponseController(rw).Flush()
		if w.asked.Load() == 1 {
			<-read
			panic(http.ErrAbortHandler)
		}
		_, _ = io.WriteString(rw, "whole")
	})
	keys := fleetTLS(t)
	w.node("ams1", keys)
	w.node("nyc1", keys)
	body, c := w.open("/") // at nyc1, which was started last
	defer c.Close()
	half := make([]byte, len("half "))
	if _, err := io.ReadFull(body, half); err != nil {
		t.Fatal(err)
	}
	close(read)
	if rest, err := io.ReadAll(body); err == nil {
		t.Errorf("a broken answer looks whole: %q", append(half, rest...))
	}
	if r, err := w.do("GET", nyc, "/"); err != nil || r.err != nil || r.body != "half whole" {
		t.Errorf("the next one: %q, %v, %v", r.body, err, r.err)
	}
	w.wantAsked(2)
}

// TestPostPassesByAShieldThatNeverShookHands: not a byte of it was sent, so it may go on to the origin.
func TestPostPassesByAShieldThatNeverShookHands(t *testing.T) {
	w := newWorld(t, answer("posted"))
	frozen, err := net.Listen("tcp", "127.0.0.1:0") // takes connections in the kernel and never answers
	if err != nil {
		t.Fatal(err)
	}
	defer frozen.Close()
	w.net.set("203.0.113.1:7950", frozen.Addr().String())
	keys := fleetTLS(t)
	w.node("nyc1", func(o *popd.Options) {
		keys(o)
		o.Silence, o.Connect = 50*time.Millisecond, 50*time.Millisecond
	})
	for _, lines := range [][]string{{"Content-Length: 0"}, {"Transfer-Encoding: chunked", "", "1", "x", "0"}} {
		if r, err := w.do("POST", nyc, "/form", lines...); err != nil || r.status != 200 || r.body != "posted" {
			t.Errorf("POST with %v: %d %q, %v", lines, r.status, r.body, err)
		}
	}
	w.wantAsked(2)
}

// lostNet is a network on which connections can be lost without anybody being told.
type lostNet struct {
	*mapNet
	mu   sync.Mutex
	made []*lostConn
}

type lostConn struct {
	net.Conn
	lost atomic.Bool
}

func (c *lostConn) Write(p []byte) (int, error) {
	if c.lost.Load() {
		return len(p), nil
	}
	return c.Conn.Write(p)
}

func (n *lostNet) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := n.mapNet.DialContext(ctx, network, address)
	if err != nil || address != "203.0.113.1:7950" {
		return c, err
	}
	lost := &lostConn{Conn: c}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.made = append(n.made, lost)
	return lost, nil
}

// TestShieldIsAskedAgainSoonAfterItsConnectionWasLost: a path that was gone for a while leaves connections that nobody
// answers, and requests that are given up do not close them.
func TestShieldIsAskedAgainSoonAfterItsConnectionWasLost(t *testing.T) {
	w := newWorld(t, answer("hello", "Cache-Control: max-age=60"))
	lossy := &lostNet{mapNet: w.net}
	keys := fleetTLS(t)
	w.node("ams1", keys)
	w.node("nyc1", func(o *popd.Options) {
		keys(o)
		o.Net, o.Silence = lossy, 100*time.Millisecond
	})
	asked := 0
	throughShield := func() bool {
		asked++
		r, err := w.do("GET", nyc, fmt.Sprintf("/%d", asked))
		if err != nil || r.body != "hello" {
			t.Fatalf("%q, %v", r.body, err)
		}
		return strings.Contains(strings.Join(r.header["Cache-Status"], ","), "ams1")
	}
	if !throughShield() {
		t.Fatal("the shield was not asked")
	}
	lossy.mu.Lock()
	for _, c := range lossy.made {
		c.lost.Store(true)
	}
	lossy.mu.Unlock()
	if throughShield() {
		t.Fatal("an answer came over a lost connection")
	}
	eventually(t, "the shield is asked again", throughShield)
}

// TestClientWhoseBodyStandsStillIsLetGo: it would hold a connection to the origin for ever.
func TestClientWhoseBodyStandsStillIsLetGo(t *testing.T) {
	over := make(chan error, 1)
	w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		_, err := io.ReadAll(r.Body)
		over <- err
	})
	w.node("ams1", func(o *popd.Options) { o.Stall = 100 * time.Millisecond })
	r, err := w.do("POST", web, "/form", "Content-Length: 10")
	if err != nil || r.status != http.StatusRequestTimeout {
		t.Errorf("the client got %d, %v; want 408", r.status, err)
	}
	select {
	case err := <-over:
		if err == nil {
			t.Error("the origin got a whole body")
		}
	case <-time.After(limit):
		t.Error("the origin still waits")
	}
}
