package h1

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"
)

// client is the context of one request: it ends when the client leaves, or the answer is finished. Whether the client is
// still there is watched only if somebody asks, by reading the connection while nobody else does.
type client struct {
	context.Context
	c *conn

	mu       sync.Mutex // guards the following
	inner    context.Context
	cancel   context.CancelFunc
	atEnd    bool          // the body has been read
	finished bool          // the answer has been given
	watching chan struct{} // closed by the watch when it ends; nil if there is none
}

// Done is context.Context's.
func (r *client) Done() <-chan struct{} { return r.ask().Done() }

// Err is context.Context's.
func (r *client) Err() error {
	r.mu.Lock()
	inner := r.inner
	r.mu.Unlock()
	if inner != nil {
		return inner.Err()
	}
	return r.Context.Err()
}

// Value is context.Context's. It asks the inner one where there is one, so that contexts made of this one find it.
func (r *client) Value(key any) any {
	r.mu.Lock()
	inner := r.inner
	r.mu.Unlock()
	if inner != nil {
		return inner.Value(key)
	}
	return r.Context.Value(key)
}

// ask makes the inner context and starts the watch, if it can be.
func (r *client) ask() context.Context {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.inner == nil {
		r.inner, r.cancel = context.WithCancel(r.Context)
		if r.finished {
			r.cancel()
		}
		r.watch()
	}
	return r.inner
}

// bodyRead says that nobody reads the connection any more.
func (r *client) bodyRead() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.atEnd = true
	r.watch()
}

// watch reads the connection if it is free and somebody wants to know. The caller holds mu.
func (r *client) watch() {
	if r.inner == nil || !r.atEnd || r.finished || r.watching != nil || r.c.w > r.c.r || r.c.eof != nil {
		return // bytes of the next request say that the client is there, and there is no looking past them
	}
	r.c.r, r.c.w = 0, 0
	r.watching = make(chan struct{})
	go func() { // finish waits for it
		defer close(r.watching)
		err := r.c.fill()
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			r.c.eof = err
			r.cancel()
		}
	}()
}

// finish ends the context, and the watch.
func (r *client) finish() {
	r.mu.Lock()
	r.finished = true
	cancel, watching := r.cancel, r.watching
	r.mu.Unlock()
	if watching != nil {
		_ = r.c.rwc.SetReadDeadline(past) // ends the watch; a connection that has no deadlines is closing
		<-watching
		_ = r.c.rwc.SetReadDeadline(time.Time{})
	}
	if cancel != nil {
		cancel()
	}
}
