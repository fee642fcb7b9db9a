// Package event carries one node's changes of state, each with its cause, in a bounded ring that can be followed.
//
// Drills, explain and the dashboard all read this one stream; nothing else in the system keeps a history.
package event

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Kind names what changed. The list is closed: metrics and drills switch on it.
type Kind string

// The kinds of change that a node reports.
const (
	Process  Kind = "process"  // a daemon became ready, drains or stops
	Health   Kind = "health"   // Subject ("pop/ams/web", "node/ams1/dns") changed State
	Announce Kind = "announce" // Subject, a prefix, was announced, altered or withdrawn
	Session  Kind = "session"  // Subject, a BGP neighbour, changed state
	Path     Kind = "path"     // the path to Subject, a BGP neighbour, was found up or down by BFD
	Origin   Kind = "origin"   // what the RPKI says of Subject, a prefix of ours, changed
	Best     Kind = "best"     // a lab router's best path for Subject, a prefix, changed
	Member   Kind = "member"   // Subject, a node, joined or left a gossip pool
	Config   Kind = "config"   // a Snapshot was applied, refused or held
	Intent   Kind = "intent"   // an operator's wish (drain, undrain) was set, lifted or expired
	Drain    Kind = "drain"    // Subject, a node, came a step further out: "dns", "gshut", "withdrawn", "down"; or "undone"
	Purge    Kind = "purge"    // Subject, a URL or surrogate keys, was purged here; State is "hard" or "soft"
	Fault    Kind = "fault"    // a drill did something to Subject
)

// Event is one change of state with its cause.
type Event struct {
	Time    time.Time         `json:"time"`
	Mono    int64             `json:"mono"` // CLOCK_MONOTONIC in nanoseconds: comparable between processes of one host
	Node    string            `json:"node"`
	Kind    Kind              `json:"kind"`
	Subject string            `json:"subject"`
	State   string            `json:"state,omitempty"` // the state entered: "up", "down", "draining", "announced", "withdrawn" …
	Cause   string            `json:"cause,omitempty"`
	Detail  map[string]string `json:"detail,omitempty"`
}

// Mono reads CLOCK_MONOTONIC in nanoseconds. Two processes of one host read the same clock, so a drill can put
// events of a node and samples of a client on one time line even when the wall clock steps.
func Mono() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0
	}
	return ts.Nano()
}

// DefaultSize is how many events a Ring keeps when Options say nothing: about 1 MiB of memory.
const DefaultSize = 4096

// Ring is a bounded history of events. It is safe for concurrent use.
type Ring struct {
	node string
	now  func() time.Time
	mono func() int64

	mu   sync.Mutex // guards the following; held for a copy at most
	buf  []Event
	next uint64        // sequence number of the next event; buf[next%len(buf)] is the oldest
	wake chan struct{} // closed and replaced at each Add
}

// Options configures a Ring. The zero value of each field is its default.
type Options struct {
	Node string           // stamped on events that name no node
	Size int              // events kept; 0 means DefaultSize
	Now  func() time.Time // nil means time.Now
	Mono func() int64     // nil means Mono
}

// NewRing makes an empty Ring.
func NewRing(o Options) *Ring {
	if o.Size <= 0 {
		o.Size = DefaultSize
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Mono == nil {
		o.Mono = Mono
	}
	return &Ring{node: o.Node, now: o.Now, mono: o.Mono, buf: make([]Event, o.Size), wake: make(chan struct{})}
}

// Add stamps e (time, monotonic time and node, where they are missing) and appends it; the oldest event makes room.
// Add on a nil Ring does nothing, so that a package can report without asking whether anyone listens.
func (r *Ring) Add(e Event) {
	if r == nil {
		return
	}
	if e.Time.IsZero() {
		e.Time = r.now()
	}
	if e.Mono == 0 {
		e.Mono = r.mono()
	}
	if e.Node == "" {
		e.Node = r.node
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.buf[r.next%uint64(len(r.buf))] = e
	r.next++
	close(r.wake)
	r.wake = make(chan struct{})
}

// After returns the events from sequence number seq on, and the number to ask for next. A reader that fell behind the
// ring gets what is left; lost says how many it missed.
func (r *Ring) After(seq uint64) (events []Event, next, lost uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	size := uint64(len(r.buf))
	if r.next > size && seq < r.next-size {
		lost = r.next - size - seq
		seq = r.next - size
	}
	for ; seq < r.next; seq++ {
		events = append(events, r.buf[seq%size])
	}
	return events, r.next, lost
}

// Follow calls fn for each event from sequence number seq on, in order, until ctx is done or fn returns false.
func (r *Ring) Follow(ctx context.Context, seq uint64, fn func(Event) bool) {
	for {
		r.mu.Lock()
		wake := r.wake
		r.mu.Unlock()
		events, next, _ := r.After(seq)
		for _, e := range events {
			if !fn(e) {
				return
			}
		}
		seq = next
		if len(events) > 0 {
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-wake:
		}
	}
}
