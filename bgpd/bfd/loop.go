package bfd

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	mathrand "math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"time"
)

// path is between which addresses a session's packets go; Local may be the zero Addr.
type path struct{ local, remote netip.Addr }

// datagram is a UDP packet that was sent to our port.
type datagram struct {
	payload []byte // valid until the next call
	from    netip.Addr
	ttl     int       // or hop limit; 0 where the kernel does not say
	at      time.Time // when it arrived at the host
	multi   bool      // to the port of multihop sessions
}

// wire is what the loop needs of the kernel, and a test in its place. It belongs to the loop's goroutine.
type wire interface {
	// Wait returns when a packet can be received, when it is woken, or at until; the zero Time waits for ever.
	Wait(until time.Time)
	// Receive returns the next packet that has arrived; false when there is none.
	Receive() (datagram, bool)
	// Send sends a packet from a port that is the path's for as long as it lives, and hears what comes back on it. With
	// nil it closes what it opened. It returns errNobody where the neighbour's host says that nobody is there.
	Send(p path, packet []byte) error
}

// errNobody is an ICMP message that nobody listens at the neighbour's port.
var errNobody = errors.New("nobody listens for BFD")

// loop serves all sessions from one thread. It owns them, so that nothing has to be locked between a packet and its
// consequence.
//
// Its order is what keeps a starved process honest: the time is read first, then every packet is taken that had arrived
// by then, each with its own time of arrival, and only then is silence judged.
type loop struct {
	e     *Endpoint
	wire  wire
	live  []*live
	told  int      // how many sessions were published last
	round []Status // scratch
	out   []byte   // scratch
}

// live is a session in force.
type live struct {
	peer Peer
	s    *Session
	ends time.Time // of a session that is no longer wanted: when its neighbour has been told for long enough
	err  string
	trap string // what is wrong at the other end
	told Status // as last published
}

// leaveFor is how long a neighbour is told that a session has ended on purpose: three packets of a session that is not Up
// (RFC 5880 §6.8.16).
const leaveFor = 3 * slow

// retry is how long a path that cannot be opened is left alone.
const retry = time.Second

func newLoop(e *Endpoint, w wire) *loop { return &loop{e: e, wire: w} }

func (l *loop) path(v *live) path { return path{v.peer.Local, v.peer.Remote} }

func (l *loop) run(ctx context.Context) {
	// Never unlocked: the thread ends with the goroutine, and its priority with the thread.
	runtime.LockOSThread()
	raised := false
	for ctx.Err() == nil {
		now := l.e.o.Now()
		if want, changed := l.e.wanted(); changed {
			l.apply(want, now)
		}
		if !raised && !l.e.o.ordinary && len(l.live) > 0 {
			raised = true
			l.e.o.Logger.Debug("bfd's thread", "scheduling", raise())
		}
		l.receive()
		l.advance(now)
		l.publish()
		l.wire.Wait(l.next())
	}
	now := l.e.o.Now()
	for _, v := range l.live {
		v.s.Stop(now)
	}
	l.advance(now)
	l.publish()
}

// apply makes the sessions be those that are wanted.
func (l *loop) apply(want []Peer, now time.Time) {
	var next []*live
	for _, p := range want {
		i := slices.IndexFunc(l.live, func(v *live) bool { return v.peer.Remote == p.Remote && v.peer.Local == p.Local && v.ends.IsZero() })
		if i < 0 {
			s, err := NewSession(p.Timing, l.discriminator(), mathrand.Float64, now)
			if err != nil {
				continue // Set has checked it
			}
			next = append(next, &live{peer: p, s: s})
			continue
		}
		v := l.live[i]
		v.peer = p
		_ = v.s.Retime(p.Timing) // Set has checked it
		next = append(next, v)
	}
	for _, v := range l.live {
		if slices.Contains(next, v) {
			continue
		}
		if v.ends.IsZero() {
			v.s.Stop(now)
			v.ends = now.Add(leaveFor)
		}
		next = append(next, v)
	}
	l.live = next
}

// discriminator returns a number that no session has and nobody guesses (RFC 5880 §6.8.1).
func (l *loop) discriminator() uint32 {
	for {
		var b [4]byte
		_, _ = rand.Read(b[:]) // never fails
		d := binary.BigEndian.Uint32(b[:])
		if d != 0 && !slices.ContainsFunc(l.live, func(v *live) bool { return v.s.discr == d }) {
			return d
		}
	}
}

// receive takes every packet that has arrived.
func (l *loop) receive() {
	for d, ok := l.wire.Receive(); ok; d, ok = l.wire.Receive() {
		l.e.m.received.Inc()
		if why := l.take(d); why != Taken {
			l.e.m.discarded.WithLabelValues(string(why)).Inc()
		}
	}
}

// multihopTrap is what a person has to know about packets to the wrong port.
const multihopTrap = "the neighbor speaks multihop BFD (port 4784), and so nobody watches the path; FRR does that where it has `ttl-security hops 1`: take it away there"

func (l *loop) take(d datagram) Discard {
	if d.multi {
		for _, v := range l.live {
			if v.peer.Remote == d.from && v.s.state != Up {
				v.trap = multihopTrap
			}
		}
		return Multihop
	}
	if d.ttl != hopLimit {
		return BadTTL
	}
	p, why := Parse(d.payload)
	if why != Taken {
		return why
	}
	v := l.find(p, d.from)
	switch {
	case v == nil && p.YourDiscr != 0:
		return BadYourDiscr
	case v == nil:
		return NoSession
	}
	if why := v.s.Receive(p, d.at); why != Taken {
		return why
	}
	v.err, v.trap = "", ""
	return Taken
}

// find returns the session that a packet is for: the one whose discriminator it names, or while the neighbour does not
// know that, the one with the neighbour's address.
func (l *loop) find(p Packet, from netip.Addr) *live {
	for _, v := range l.live {
		if p.YourDiscr == v.s.discr || p.YourDiscr == 0 && v.peer.Remote == from && v.ends.IsZero() {
			return v
		}
	}
	return nil
}

// advance judges silence and sends what is due. What is no longer wanted and has been told so is forgotten.
func (l *loop) advance(now time.Time) {
	for _, v := range l.live {
		due := v.s.next
		for p, ok := v.s.Advance(now); ok; p, ok = v.s.Advance(now) {
			if v.s.state == Up && !p.Final && !due.After(now) {
				l.e.m.late.Observe(now.Sub(due).Seconds())
			}
			l.out = p.Append(l.out[:0])
			if err := l.wire.Send(l.path(v), l.out); err != nil {
				v.err = err.Error()
				if errors.Is(err, errNobody) {
					v.s.Excuse()
				}
			} else {
				v.err = ""
				l.e.m.sent.Inc()
			}
		}
	}
	l.live = slices.DeleteFunc(l.live, func(v *live) bool {
		over := !v.ends.IsZero() && !now.Before(v.ends)
		if over && !slices.ContainsFunc(l.live, func(o *live) bool { return o != v && l.path(o) == l.path(v) }) {
			_ = l.wire.Send(l.path(v), nil)
		}
		return over
	})
}

// next is when something is to be done though nothing arrives.
func (l *loop) next() time.Time {
	var next time.Time
	for _, v := range l.live {
		for _, t := range []time.Time{v.s.Next(), v.ends} {
			if !t.IsZero() && (next.IsZero() || t.Before(next)) {
				next = t
			}
		}
	}
	return next
}

func (l *loop) publish() {
	l.round = l.round[:0]
	var changed []Status
	same, up := true, 0
	for _, v := range l.live {
		if !v.ends.IsZero() {
			continue
		}
		now := v.status()
		if now.State == Up {
			up++
		}
		if now != v.told {
			same = false
			if now.State != v.told.State || now.Downs != v.told.Downs || now.Failed != v.told.Failed || now.Error != v.told.Error {
				changed = append(changed, now)
			}
			if now.State != v.told.State {
				l.e.m.changes.WithLabelValues(now.State.String()).Inc()
			}
			v.told = now
		}
		l.round = append(l.round, now)
	}
	if same && len(l.round) == l.told {
		return
	}
	l.told = len(l.round)
	l.e.m.up.Set(float64(up))
	l.e.publish(slices.Clone(l.round), changed)
}

func (v *live) status() Status {
	s := v.s
	return Status{
		Name: v.peer.Name, Remote: v.peer.Remote, State: s.state, Since: s.since, RemoteState: s.remoteState, Diag: s.diag,
		Downs: s.downs, Failed: s.failed, Interval: s.interval(), Detection: s.Detection(), Error: cmp.Or(v.trap, v.err),
	}
}
