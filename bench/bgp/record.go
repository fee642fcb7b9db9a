//go:build linux

package main

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"github.com/catchment-net/catchment/bench/bgp/wire"
	"github.com/catchment-net/catchment/labs/netns"
)

// record is what crossed one POP's cable.
type record struct {
	pop netip.Addr // the POP's end

	mu   sync.Mutex // guards the following
	all  []wire.Event
	told map[conn]map[netip.Prefix]bool // what each session holds now
}

// conn is a session, by the POP's end and the transit's.
type conn struct{ pop, transit netip.AddrPort }

// watch records the sessions of a link until ctx is done.
func (r *record) watch(ctx context.Context, l *netns.Lab, link string) error {
	var d wire.Decoder
	return l.Watch(ctx, link, wire.IsBGP, func(at time.Time, frame []byte) {
		r.add(d.Frame(at, frame))
	})
}

func (r *record) add(events []wire.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range events {
		fromPOP := e.From.Addr() == r.pop
		c := conn{e.From, e.To}
		if !fromPOP {
			c = conn{e.To, e.From}
		}
		switch {
		case e.Kind == wire.Notification || e.Kind == wire.Fin || e.Kind == wire.Reset:
			delete(r.told, c)
		case !fromPOP:
			continue // what the transit tells
		case e.Kind == wire.Announce:
			if r.told[c] == nil {
				r.told[c] = map[netip.Prefix]bool{}
			}
			r.told[c][e.Prefix] = true
		case e.Kind == wire.Withdraw:
			delete(r.told[c], e.Prefix)
		}
		r.all = append(r.all, e)
	}
}

// announced reports whether any session holds the prefix now.
func (r *record) announced(p netip.Prefix) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, told := range r.told {
		if told[p] {
			return true
		}
	}
	return false
}

// gone is when the prefix was withdrawn, or a session ended, after a time; the zero Time while it was not.
func (r *record) gone(p netip.Prefix, after time.Time) time.Time {
	return r.find(after, func(e wire.Event) bool {
		return e.Kind == wire.Withdraw && e.Prefix == p || e.Kind >= wire.Notification
	})
}

// find is when the first event of a sort happened after a time.
func (r *record) find(after time.Time, want func(wire.Event) bool) time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.all {
		if e.At.After(after) && want(e) {
			return e.At
		}
	}
	return time.Time{}
}

// since are the events after a time.
func (r *record) since(after time.Time) []wire.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []wire.Event
	for _, e := range r.all {
		if e.At.After(after) {
			all = append(all, e)
		}
	}
	return all
}
