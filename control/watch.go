package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"
)

// DefaultEvery is how often Watch looks at the folder.
const DefaultEvery = 500 * time.Millisecond

// rereadEvery is after how many looks Watch compares contents although no size or time has changed: some tools keep
// both.
const rereadEvery = 20

// WatchOptions configures Watch. The zero value of each field is its default.
type WatchOptions struct {
	Every  time.Duration // between two looks; 0 means DefaultEvery
	Digest string        // of the Snapshot that the caller has: nothing is delivered until the folder differs from it
	FS     fs.FS         // what is watched; nil means the folder itself (tests)

	// Last returns the Snapshot in force, from which bad zones are served on and unchanged ones taken over. It is called
	// by Watch's own goroutine; nil: there is none.
	Last func() *Snapshot
}

// Watch calls fn with the folder's Snapshot once it has it, and again whenever the folder has changed and then stayed
// the same for one look, so that a set of files that is being written is never read half. Zones are read as LoadServing
// does. A set with other mistakes is delivered once, as an error with a nil Snapshot: the caller keeps what it has. A return to the former set is
// delivered again. fn is called by Watch's own goroutine; ctx's end returns nil.
func Watch(ctx context.Context, dir string, o WatchOptions, fn func(*Snapshot, error)) error {
	if o.Every < 0 {
		return fmt.Errorf("watch %q every %v: want a positive interval", dir, o.Every)
	}
	if o.Every == 0 {
		o.Every = DefaultEvery
	}
	w := &watcher{dir: dir, fsys: o.FS, fn: fn, delivered: o.Digest, inForce: o.Last}
	if w.inForce == nil {
		w.inForce = func() *Snapshot { return nil }
	}
	if w.fsys == nil {
		w.fsys = os.DirFS(dir)
	}
	t := time.NewTicker(o.Every)
	defer t.Stop()
	for {
		w.look()
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

// watcher belongs to one Watch.
type watcher struct {
	dir       string
	fsys      fs.FS
	fn        func(*Snapshot, error)
	inForce   func() *Snapshot
	looks     int
	last      []listed // as of the look before
	settled   bool     // last has been read and delivered
	delivered string   // digest of the set delivered last, or the text of the error
}

func (w *watcher) look() {
	w.looks++
	now, err := listFolder(w.fsys)
	if err != nil {
		w.last, w.settled = nil, false
		w.failed(err)
		return
	}
	if w.looks > 1 && !slices.Equal(now, w.last) {
		w.last, w.settled = now, false
		return // wait until it is stable for one look
	}
	w.last = now
	if w.settled && w.looks%rereadEvery != 0 {
		return
	}
	files, err := readFolder(w.fsys)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) { // a file that went between listing and reading: look again
			w.failed(err)
		}
		w.settled = false
		return
	}
	after, err := listFolder(w.fsys)
	if err != nil || !slices.Equal(after, now) {
		w.last, w.settled = after, false
		return
	}
	w.settled = true
	d := digest(relevant(files))
	if d == w.delivered {
		return
	}
	w.delivered = d
	w.fn(parse(folderName(w.dir), files, reading{folder: folderLabel(w.dir), serving: true, last: w.inForce()}))
}

// failed delivers an error of the folder itself, once.
func (w *watcher) failed(err error) {
	text := err.Error()
	if text == w.delivered {
		return
	}
	w.delivered = text
	w.fn(nil, fmt.Errorf("read configuration in %q: %w", w.dir, err))
}
