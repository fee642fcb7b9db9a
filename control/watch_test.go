package control

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"
)

// folder is a folder in memory that tests alter while it is watched.
type folder struct {
	mu    sync.Mutex // guards files
	files fstest.MapFS
	gone  bool
}

func (f *folder) Open(name string) (fs.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.gone {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return f.files.Open(name)
}

// set writes a file with a modification time; empty text removes it.
func (f *folder) set(name, text string, mtime time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	files := fstest.MapFS{}
	maps.Copy(files, f.files)
	if text == "" {
		delete(files, name)
	} else {
		files[name] = &fstest.MapFile{Data: []byte(text), ModTime: mtime}
	}
	f.files = files
}

// watch is a Watch under test.
type watch struct {
	t         *testing.T
	folder    *folder
	delivered func() []string // what was delivered since it was last asked
}

// watched runs body beside a Watch of the good configuration and hands it what was delivered since it last asked.
func watched(t *testing.T, o WatchOptions, body func(w watch)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f := &folder{files: fstest.MapFS{}}
		for name, text := range folderFiles(t, "testdata/good") {
			f.set(name, string(text), time.Now())
		}
		var mu sync.Mutex // guards got
		var got []string
		o.FS = f
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			done <- Watch(ctx, "good", o, func(s *Snapshot, err error) {
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					got = append(got, "error: "+err.Error())
					return
				}
				got = append(got, s.Digest)
			})
		}()
		body(watch{t, f, func() []string {
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			list := got
			got = nil
			return list
		}})
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Watch: got %v at the end of its context, want nil", err)
		}
	})
}

func TestWatchDeliversAChangeOnceItIsStable(t *testing.T) {
	watched(t, WatchOptions{}, func(w watch) {
		t, f, delivered := w.t, w.folder, w.delivered
		first := delivered()
		if len(first) != 1 || strings.HasPrefix(first[0], "error") {
			t.Fatalf("at the start: got %v, want one Snapshot", first)
		}
		time.Sleep(10 * DefaultEvery)
		if got := delivered(); got != nil {
			t.Fatalf("nothing changed: got %v", got)
		}
		site := string(f.files["sites/shop.yaml"].Data)
		for range 6 { // a writer that takes 3 s: nothing may be delivered meanwhile
			site += "# more\n"
			f.set("sites/shop.yaml", site, time.Now())
			time.Sleep(DefaultEvery)
			if got := delivered(); got != nil {
				t.Fatalf("a set that still changes was delivered: %v", got)
			}
		}
		time.Sleep(2 * DefaultEvery)
		if got := delivered(); len(got) != 1 || got[0] == first[0] {
			t.Fatalf("after the change: got %v, want one new Snapshot", got)
		}
	})
}

func TestWatchKeepsOldOnMistakesAndComesBack(t *testing.T) {
	watched(t, WatchOptions{Every: time.Second}, func(w watch) {
		t, f, delivered := w.t, w.folder, w.delivered
		first := delivered()
		good := string(f.files["sites/shop.yaml"].Data)
		time.Sleep(time.Second)
		f.set("sites/shop.yaml", strings.Replace(good, "geo", "gee", 1), time.Now())
		time.Sleep(3 * time.Second)
		got := delivered()
		if len(got) != 1 || !strings.Contains(got[0], `good/sites/shop.yaml:2:29: steer "gee" is unknown`) {
			t.Fatalf("a mistake: got %v", got)
		}
		time.Sleep(100 * time.Second)
		if got := delivered(); got != nil {
			t.Fatalf("the same mistake was delivered again: %v", got)
		}
		f.set("sites/shop.yaml", good, time.Now())
		time.Sleep(3 * time.Second)
		if got := delivered(); len(got) != 1 || got[0] != first[0] {
			t.Fatalf("mended: got %v, want %v again", got, first)
		}
	})
}

func TestWatchOfAFolderThatGoesAndComes(t *testing.T) {
	watched(t, WatchOptions{Every: time.Second}, func(w watch) {
		t, f, delivered := w.t, w.folder, w.delivered
		first := delivered()
		gone := func(is bool) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.gone = is
		}
		gone(true)
		time.Sleep(5 * time.Second)
		if got := delivered(); len(got) != 1 || !strings.HasPrefix(got[0], "error: read configuration in") {
			t.Fatalf("gone: got %v, want one error", got)
		}
		gone(false)
		time.Sleep(5 * time.Second)
		if got := delivered(); len(got) != 1 || got[0] != first[0] {
			t.Fatalf("back: got %v, want %v", got, first)
		}
	})
}

func TestWatchSeesAChangeThatKeepsSizeAndTime(t *testing.T) {
	watched(t, WatchOptions{Every: time.Second}, func(w watch) {
		t, f, delivered := w.t, w.folder, w.delivered
		delivered()
		old := f.files["zones/shop.example"]
		f.set("zones/shop.example", strings.Replace(string(old.Data), "203.0.113.129", "203.0.113.130", 1), old.ModTime)
		time.Sleep((rereadEvery + 1) * time.Second)
		if got := delivered(); len(got) != 1 || strings.HasPrefix(got[0], "error") {
			t.Fatalf("got %v, want one Snapshot", got)
		}
	})
}

func TestWatchStartsFromWhatTheCallerHas(t *testing.T) {
	watched(t, WatchOptions{Digest: good(t).Digest}, func(w watch) {
		t, delivered := w.t, w.delivered
		time.Sleep(time.Minute)
		if got := delivered(); got != nil {
			t.Errorf("got %v, want nothing: the caller has that set", got)
		}
	})
}

func TestWatchRefusesANegativeInterval(t *testing.T) {
	err := Watch(t.Context(), ".", WatchOptions{Every: -1}, func(*Snapshot, error) {})
	if err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
