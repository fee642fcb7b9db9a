//go:build linux

package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/catchment-net/catchment/internal/underlay"
)

// sample is one request.
type sample struct {
	sent, answered time.Time // answered is zero for one that was lost
	pop            byte
}

// load asks one address at a steady rate.
type load struct {
	conn net.Conn

	mu  sync.Mutex // guards all
	all []sample
}

// newLoad opens the client's socket towards an address.
func newLoad(ctx context.Context, client underlay.Net, to netip.Addr) (*load, error) {
	conn, err := client.DialContext(ctx, "udp", netip.AddrPortFrom(to, echoPort).String())
	if err != nil {
		return nil, fmt.Errorf("open the client's socket: %w", err)
	}
	return &load{conn: conn}, nil
}

// run asks until ctx is done, whatever becomes of the answers.
func (l *load) run(ctx context.Context, every time.Duration) {
	defer context.AfterFunc(ctx, func() { l.conn.Close() })()
	var reader sync.WaitGroup
	reader.Go(l.read)
	defer reader.Wait()
	next := time.Now()
	var request [8]byte
	for ctx.Err() == nil {
		if wait := time.Until(next); wait > 0 {
			time.Sleep(wait)
		}
		next = next.Add(every)
		now := time.Now()
		l.mu.Lock()
		binary.BigEndian.PutUint64(request[:], uint64(len(l.all)))
		l.all = append(l.all, sample{sent: now})
		l.mu.Unlock()
		_, _ = l.conn.Write(request[:]) // refused ones count as lost
	}
}

func (l *load) read() {
	var buf [64]byte
	for {
		n, err := l.conn.Read(buf[:])
		now := time.Now()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || n != 9 {
			continue // a port that nobody listens on, which the kernel tells here
		}
		l.mu.Lock()
		if i := binary.BigEndian.Uint64(buf[:]); i < uint64(len(l.all)) && l.all[i].answered.IsZero() {
			l.all[i].answered, l.all[i].pop = now, buf[8]
		}
		l.mu.Unlock()
	}
}

// settled reports whether the last answered requests, n in a row but for those under way, all came from a POP.
func (l *load) settled(pop byte, n int) bool {
	const underWay = 4
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.all) < n+underWay {
		return false
	}
	for _, s := range l.all[len(l.all)-n-underWay : len(l.all)-underWay] {
		if s.answered.IsZero() || s.pop != pop {
			return false
		}
	}
	return true
}

// first is when the first answer of a POP came after a time; the zero Time while none has.
func (l *load) first(pop byte, after time.Time) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	var at time.Time
	for i := len(l.all) - 1; i >= 0 && l.all[i].sent.After(after.Add(-time.Second)); i-- {
		if s := l.all[i]; s.pop == pop && s.answered.After(after) && (at.IsZero() || s.answered.Before(at)) {
			at = s.answered
		}
	}
	return at
}

// lost counts those among each so many requests of a span that nobody answered.
func (l *load) lost(from, to time.Time, each int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	lost := 0
	for i, s := range l.all {
		if i%each != 0 || s.sent.Before(from) || s.sent.After(to) {
			continue
		}
		if s.answered.IsZero() {
			lost++
		}
	}
	return lost
}

// gap is the time from the first to the last request of a span that nobody answered.
func (l *load) gap(from, to time.Time) (first, last time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.all {
		if !s.answered.IsZero() || s.sent.Before(from) || s.sent.After(to) {
			continue
		}
		if first.IsZero() {
			first = s.sent
		}
		last = s.sent
	}
	return first, last
}
