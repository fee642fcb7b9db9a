package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/catchment-net/catchment/internal/event"
)

// start runs a server until the test ends and returns its client.
func start(t *testing.T, hang func(*Server)) Client {
	t.Helper()
	path := filepath.Join(t.TempDir(), "a.sock")
	ready := make(chan string, 1)
	s, err := New(Options{Socket: path, Ready: func(addr string) { ready <- addr }})
	if err != nil {
		t.Fatal(err)
	}
	hang(s)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("socket left behind: %v", err)
		}
	})
	select {
	case addr := <-ready:
		return Client{Socket: addr}
	case err := <-done:
		done <- nil
		t.Fatalf("run: %v", err)
	case <-time.After(10 * time.Second):
		t.Fatal("not ready within 10 s")
	}
	return Client{}
}

func TestCalls(t *testing.T) {
	type say struct {
		Text string `json:"text"`
	}
	c := start(t, func(s *Server) {
		s.Handle("GET /v1/status", func(w http.ResponseWriter, _ *http.Request) { Reply(w, say{"up"}) })
		s.Handle("POST /v1/echo", func(w http.ResponseWriter, r *http.Request) {
			var in say
			if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
				Refuse(w, http.StatusBadRequest, err, "send JSON")
				return
			}
			Reply(w, in)
		})
		s.Handle("GET /v1/no", func(w http.ResponseWriter, _ *http.Request) {
			Refuse(w, http.StatusConflict, errors.New(`no POP is called "x"`), "`catchment status` lists them")
		})
		s.Handle("GET /v1/strange", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "boom", http.StatusTeapot) })
		s.Handle("GET /v1/unencodable", func(w http.ResponseWriter, _ *http.Request) { Reply(w, func() {}) })
	})
	tests := []struct {
		name, method, path string
		in                 any
		want               say
		err                string
		status             int
	}{
		{"get", "GET", "/v1/status", nil, say{"up"}, "", 0},
		{"post", "POST", "/v1/echo", say{"hello"}, say{"hello"}, "", 0},
		{"a refusal has its remedy", "GET", "/v1/no", nil, say{}, "no POP is called \"x\"; `catchment status` lists them", 409},
		{"an answer that is not ours", "GET", "/v1/strange", nil, say{}, `/v1/strange answered "418 I'm a teapot"`, 418},
		{"no such call", "GET", "/v1/nope", nil, say{}, "no such call: GET /v1/nope; is this catchment older than its client?", 404},
		{"our own mistake", "GET", "/v1/unencodable", nil, say{}, "encode the answer: json: unsupported type: func()", 500},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got say
			err := c.call(t.Context(), tt.method, tt.path, tt.in, &got)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
			var refused *Error
			switch {
			case tt.err == "" && err != nil:
				t.Errorf("error: %v", err)
			case tt.err != "" && !errors.As(err, &refused):
				t.Errorf("error: got %v, want an *Error", err)
			case tt.err != "" && (refused.Error() != tt.err || refused.Status != tt.status || refused.ExitCode() != 1):
				t.Errorf("error: got %d %q, want %d %q", refused.Status, refused, tt.status, tt.err)
			}
		})
	}
}

func TestSocketIsForItsOwnerAlone(t *testing.T) {
	c := start(t, func(*Server) {})
	info, err := os.Stat(strings.TrimPrefix(c.Socket, "unix:"))
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != 0o600 {
		t.Errorf("mode: got %o, want 600", got)
	}
}

func TestTakesTheSocketOnlyFromTheDead(t *testing.T) {
	dir := t.TempDir()
	inUse, stale, file := filepath.Join(dir, "used"), filepath.Join(dir, "stale"), filepath.Join(dir, "file")
	l, err := net.Listen("unix", inUse) // it never accepts, as a stopped process does
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false) // as after kill -9
	dead.Close()
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct{ name, path, err string }{
		{"a living one's", inUse, "is in use by another process"},
		{"a dead one's", stale, ""},
		{"a file's", file, "a file that is no socket is in the way"},
		{"in no folder", filepath.Join(dir, "none", "x"), "no such file or directory"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l, err := listen(t.Context(), tt.path)
			if err == nil {
				l.Close()
			}
			if tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
				t.Errorf("error: got %v, want %q", err, tt.err)
			}
		})
	}
	if text, err := os.ReadFile(file); string(text) != "precious" {
		t.Errorf("the file in the way: got %q, %v; want it untouched", text, err)
	}
}

func TestOptions(t *testing.T) {
	for _, socket := range []string{"", "unix:", "/" + strings.Repeat("x", maxSocketPath)} {
		if _, err := New(Options{Socket: socket}); err == nil {
			t.Errorf("socket %q: got no error", socket)
		}
	}
}

func TestNobodyThere(t *testing.T) {
	c := Client{Socket: filepath.Join(t.TempDir(), "none")}
	err := c.Get(t.Context(), "/v1/status", nil)
	if want := "nothing answers at admin socket"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error: got %v, want %q", err, want)
	}
	if Answers(c.Socket, time.Second) {
		t.Error("Answers: got true for a socket that is not there")
	}
}

func TestAnswersOnlyIfItReallyDoes(t *testing.T) {
	c := start(t, func(*Server) {})
	if !Answers(c.Socket, 10*time.Second) {
		t.Error("Answers: got false for a living server")
	}
	mute := filepath.Join(t.TempDir(), "mute")
	l, err := net.Listen("unix", mute)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if Answers(mute, 50*time.Millisecond) {
		t.Error("Answers: got true for a process that takes connections and says nothing")
	}
}

func add(ring *event.Ring, from, to int) {
	for i := from; i < to; i++ {
		ring.Add(event.Event{Kind: event.Health, Subject: fmt.Sprint(i)})
	}
}

var errEnough = errors.New("enough")

// A follower sees every event once and in order, those before it came and those after, and can go on where it was.
func TestFollow(t *testing.T) {
	ring := event.NewRing(event.Options{Node: "ams1"})
	c := start(t, func(s *Server) { s.Handle("GET /v1/events", Events(ring).ServeHTTP) })
	add(ring, 0, 3)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var got []string
	err := c.Events(ctx, 1, func(l Line) error {
		got = append(got, fmt.Sprintf("%d:%s/%s", l.Seq, l.Node, l.Subject))
		switch len(got) {
		case 2:
			add(ring, 3, 6) // while it waits
		case 5:
			return errEnough
		}
		return nil
	})
	if !errors.Is(err, errEnough) {
		t.Errorf("follow ended with %v, want the caller's error", err)
	}
	if diff := cmp.Diff([]string{"1:ams1/1", "2:ams1/2", "3:ams1/3", "4:ams1/4", "5:ams1/5"}, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// Whoever asks from the largest number on sees what happens from then on, and nothing older.
func TestFollowFromNowOn(t *testing.T) {
	ring := event.NewRing(event.Options{})
	add(ring, 0, 3)
	following := make(chan struct{})
	c := start(t, func(s *Server) {
		s.Handle("GET /v1/events", func(w http.ResponseWriter, r *http.Request) {
			Events(ring).ServeHTTP(flushed{w, following}, r)
		})
	})
	go func() {
		<-following
		add(ring, 3, 4)
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	err := c.Events(ctx, math.MaxUint64, func(l Line) error {
		if l.Seq != 3 || l.Subject != "3" {
			t.Errorf("got event %d %q, want the one that came later, 3", l.Seq, l.Subject)
		}
		return errEnough
	})
	if !errors.Is(err, errEnough) {
		t.Errorf("follow ended with %v, want the caller's error", err)
	}
}

// A follower that is told to stop, before or while it reads, ends without an error.
func TestFollowEndsWithItsContext(t *testing.T) {
	ring := event.NewRing(event.Options{})
	add(ring, 0, 1)
	c := start(t, func(s *Server) { s.Handle("GET /v1/events", Events(ring).ServeHTTP) })
	ctx, cancel := context.WithCancel(t.Context())
	if err := c.Events(ctx, 0, func(Line) error { cancel(); return nil }); err != nil {
		t.Errorf("while it reads: %v", err)
	}
	if err := c.Events(ctx, 0, func(Line) error { return nil }); err != nil {
		t.Errorf("before it reads: %v", err)
	}
}

// flushed tells of the first flush, which a stream does once it has sent what there was.
type flushed struct {
	http.ResponseWriter
	first chan struct{}
}

func (f flushed) FlushError() error {
	select {
	case <-f.first:
	default:
		close(f.first)
	}
	return http.NewResponseController(f.ResponseWriter).Flush()
}

func TestLostEventsAreCounted(t *testing.T) {
	ring := event.NewRing(event.Options{Size: 4})
	add(ring, 0, 10)
	c := start(t, func(s *Server) { s.Handle("GET /v1/events", Events(ring).ServeHTTP) })
	var got []string
	if err := c.Follow(t.Context(), "/v1/events?after=3", func(text []byte) error {
		var l Line
		if err := json.Unmarshal(text, &l); err != nil {
			return err
		}
		got = append(got, fmt.Sprintf("%d lost %d", l.Seq, l.Lost))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"6 lost 3", "7 lost 0", "8 lost 0", "9 lost 0"}, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

func TestStreamRefuses(t *testing.T) {
	ring := event.NewRing(event.Options{})
	c := start(t, func(s *Server) {
		s.Handle("GET /v1/events", Events(ring).ServeHTTP)
		s.Handle("GET /v1/none", Events(nil).ServeHTTP)
	})
	for _, path := range []string{"/v1/events?after=-1", "/v1/events?after=x", "/v1/events?follow=yes", "/v1/none"} {
		var refused *Error
		if err := c.Follow(t.Context(), path, nil); !errors.As(err, &refused) {
			t.Errorf("%s: got %v, want a refusal", path, err)
		}
	}
}

// The server's end ends the streams at once: it does not wait for its followers.
func TestStopEndsStreams(t *testing.T) {
	ring := event.NewRing(event.Options{})
	path := filepath.Join(t.TempDir(), "a.sock")
	ready := make(chan string, 1)
	s, err := New(Options{Socket: path, Ready: func(a string) { ready <- a }})
	if err != nil {
		t.Fatal(err)
	}
	s.Handle("GET /v1/events", Events(ring).ServeHTTP)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ran := make(chan error, 1)
	go func() { ran <- s.Run(ctx) }()
	<-ready
	add(ring, 0, 1)
	followed := make(chan error, 1)
	go func() {
		followed <- Client{Socket: path}.Events(t.Context(), 0, func(Line) error { cancel(); return nil })
	}()
	for range 2 {
		select {
		case err := <-followed:
			if err != nil {
				t.Errorf("follow: %v", err)
			}
		case err := <-ran:
			if err != nil {
				t.Errorf("run: %v", err)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("not over within 10 s")
		}
	}
}
