package bfd

import (
	"fmt"
	"time"
)

// Timing is what one end of a session asks for.
type Timing struct {
	Interval   time.Duration // between two packets, each way; MinInterval to MaxInterval, whole microseconds
	Multiplier uint8         // how many the neighbour may miss; 0 means 3
}

// defaultMultiplier is what vendors take.
const defaultMultiplier = 3

func (t Timing) check() error {
	if t.Interval < MinInterval || t.Interval > MaxInterval {
		return fmt.Errorf("interval %v: want %v to %v", t.Interval, MinInterval, MaxInterval)
	}
	return nil
}

func (t Timing) withDefaults() Timing {
	if t.Multiplier == 0 {
		t.Multiplier = defaultMultiplier
	}
	t.Interval = t.Interval.Truncate(time.Microsecond)
	return t
}

// Session is the state machine of one session (RFC 5880 §6.8). It has no clock and no socket, and belongs to one
// goroutine. Its user hands it every packet with the time at which it arrived, and calls Advance until it returns nothing:
// after each packet, and when the time is Next.
type Session struct {
	state, remoteState State
	diag               Diag
	since              time.Time // of state
	downs              int       // how often it was Up and left that
	failed             bool      // see Failed

	discr, remoteDiscr uint32
	remoteMultiplier   uint8
	remoteMinRx        time.Duration // 1 µs until we are told (RFC 5880 §6.8.1)
	remoteMinTx        time.Duration
	remoteDemand       bool

	timing Timing
	// What is advertised is what is in force, except for a longer interval while the session is Up: then the old one
	// stays until the neighbour has answered our Poll (RFC 5880 §6.8.3).
	tx, rx time.Duration
	poll   bool // a Poll sequence is under way
	final  bool // the neighbour's Poll is to be answered
	urgent bool // what we would say now differs from what we said last

	jitter func() float64 // from [0, 1)
	sent   time.Time      // the last periodic packet; zero before the first
	next   time.Time      // the next one
	quota  time.Time      // see hurry
	heard  time.Time      // the last packet of the neighbour; zero means that there is none to wait for
}

// NewSession returns a session that is Down. Discr is not 0, and unique on this host; jitter returns numbers from [0, 1).
func NewSession(t Timing, discr uint32, jitter func() float64, now time.Time) (*Session, error) {
	if err := t.check(); err != nil {
		return nil, err
	}
	if discr == 0 {
		return nil, fmt.Errorf("discriminator 0: want another")
	}
	t = t.withDefaults()
	return &Session{
		state: Down, remoteState: Down, since: now, discr: discr, remoteMinRx: time.Microsecond,
		timing: t, tx: max(t.Interval, slow), rx: t.Interval, jitter: jitter, next: now, quota: now,
	}, nil
}

// Receive takes a packet that Parse has taken and whose session this is: the rest of the rules of RFC 5880 §6.8.6. At is
// when the packet arrived at the host, which may be a while before the call.
func (s *Session) Receive(p Packet, at time.Time) Discard {
	if p.Auth {
		return BadAuth
	}
	s.Expire(at) // whoever was silent for too long was so, even if he is heard again before anybody looked
	before := s.interval()
	s.remoteDiscr, s.remoteState, s.remoteDemand = p.MyDiscr, p.State, p.Demand
	s.remoteMinRx, s.remoteMinTx, s.remoteMultiplier = p.RequiredMin, p.DesiredMinTx, p.Multiplier
	if s.poll && p.Final {
		s.poll = false
		s.takeEffect()
	}
	if s.state == AdminDown {
		return SessionOff
	}
	if at.After(s.heard) {
		s.heard = at
	}
	s.follow(p.State, at)
	s.final = s.final || p.Poll
	if s.interval() != before {
		s.schedule()
	}
	return Taken
}

// follow is the state machine (RFC 5880 §6.2).
func (s *Session) follow(remote State, at time.Time) {
	switch {
	case remote == AdminDown:
		if s.state != Down {
			s.enter(Down, NeighborDown, at)
		}
		s.failed = false
	case s.state == Down && remote == Down:
		s.enter(Init, NoDiag, at)
	case s.state == Down && remote == Init, s.state == Init && remote >= Init:
		s.enter(Up, NoDiag, at)
	case s.state == Up && remote == Down:
		s.enter(Down, NeighborDown, at)
	}
}

// enter changes the state. The diagnostic of a failure stays until the session is Up again, so that the neighbour and
// people can read it.
func (s *Session) enter(to State, why Diag, at time.Time) {
	if s.state == Up {
		s.downs++
		s.failed = to == Down
	}
	if why != NoDiag || to == Up {
		s.diag = why
	}
	s.state, s.since, s.urgent = to, at, true
	switch to {
	case Up:
		s.failed = false
		s.poll = true // our interval is about to shrink from the slow one
	default:
		s.poll, s.final = false, false
	}
	s.takeEffect()
}

// takeEffect puts what is advertised in force.
func (s *Session) takeEffect() { s.tx, s.rx = s.desiredTx(), s.timing.Interval }

// desiredTx is the interval that we advertise.
func (s *Session) desiredTx() time.Duration {
	if s.state == Up {
		return s.timing.Interval
	}
	return max(s.timing.Interval, slow)
}

// Retime asks for another timing. A session that is Up stays so.
func (s *Session) Retime(t Timing) error {
	if err := t.check(); err != nil {
		return err
	}
	t = t.withDefaults()
	if t == s.timing {
		return nil
	}
	s.timing, s.urgent = t, true
	if s.state != Up {
		s.takeEffect()
		return nil
	}
	s.poll = true
	s.tx, s.rx = min(s.tx, t.Interval), max(s.rx, t.Interval)
	s.schedule()
	return nil
}

// Stop takes the session down on purpose: the neighbour is told that this is no failure. It stays so.
func (s *Session) Stop(now time.Time) {
	if s.state != AdminDown {
		s.enter(AdminDown, ByHand, now)
		s.failed, s.quota = false, now // it may be our last packet
	}
}

// Excuse takes back that the path has failed: the neighbour's host has said that nobody there speaks BFD, so the path
// carries packets. Some software ends its sessions without a word.
func (s *Session) Excuse() {
	if s.state != Up {
		s.failed = false
	}
}

// interval is the mean of what is between two periodic packets, 0 for none (RFC 5880 §6.8.2).
func (s *Session) interval() time.Duration {
	quiet := s.remoteDemand && s.state == Up && s.remoteState == Up && !s.poll
	if s.remoteMinRx == 0 || quiet {
		return 0
	}
	return max(s.tx, s.remoteMinRx)
}

// Detection is how long the neighbour may be silent, 0 while nothing of it is known (RFC 5880 §6.8.4).
func (s *Session) Detection() time.Duration {
	return time.Duration(s.remoteMultiplier) * max(s.rx, s.remoteMinTx)
}

// silentAt is when the neighbour has been silent for too long; zero for never.
func (s *Session) silentAt() time.Time {
	if s.heard.IsZero() {
		return time.Time{}
	}
	return s.heard.Add(s.Detection())
}

// Expire judges the neighbour's silence. Before it every packet must have been handed over that had arrived by now: that
// a process was not scheduled is no reason to call its neighbour dead.
func (s *Session) Expire(now time.Time) {
	if limit := s.silentAt(); limit.IsZero() || !now.After(limit) {
		return
	}
	s.heard, s.remoteDiscr = time.Time{}, 0 // RFC 5880 §6.8.1
	if s.state == Init || s.state == Up {
		s.enter(Down, DetectionRan, now)
	}
}

// schedule sets the time of the next periodic packet: 75 to 100 % of the interval after the last one, 90 % at most where
// the neighbour may miss none (RFC 5880 §6.8.7).
func (s *Session) schedule() {
	span, least := 0.25, 0.75
	if s.timing.Multiplier == 1 {
		span = 0.15
	}
	s.next = s.sent.Add(time.Duration((least + span*s.jitter()) * float64(s.interval())))
}

// What has changed is told at once (RFC 5880 §6.8.7), but not more often than this on the average, a few times apart: where
// packets are doubled or overtake each other, each end's change would call forth two of the other's.
const (
	hurryEvery = 20 * time.Millisecond
	hurryBurst = 4
)

// hurry is when a packet that tells of a change may be sent.
func (s *Session) hurry() time.Time { return s.quota.Add(-(hurryBurst - 1) * hurryEvery) }

// Next is when Advance is to be called though no packet arrives; zero for never.
func (s *Session) Next() time.Time {
	if s.final {
		return s.since
	}
	next := s.silentAt()
	if !next.IsZero() {
		next = next.Add(1) // what arrives at that time is not late
	}
	if s.interval() > 0 && (next.IsZero() || s.next.Before(next)) {
		next = s.next
	}
	if at := s.hurry(); s.urgent && (next.IsZero() || at.Before(next)) {
		next = at
	}
	return next
}

// Advance judges the neighbour's silence and returns a packet that is to be sent now; false when there is none.
func (s *Session) Advance(now time.Time) (Packet, bool) {
	s.Expire(now)
	if s.final { // at once, whatever the interval (RFC 5880 §6.8.7)
		s.final = false
		return s.packet(true), true
	}
	periodic := s.interval() > 0 && !s.next.After(now)
	switch {
	case periodic:
	case s.urgent && !s.hurry().After(now):
		s.quota = latest(s.quota, now).Add(hurryEvery)
	default:
		return Packet{}, false
	}
	s.urgent = false
	s.sent = now
	s.schedule()
	return s.packet(false), true
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func (s *Session) packet(final bool) Packet {
	return Packet{
		Diag: s.diag, State: s.state, Poll: s.poll && !final, Final: final, Multiplier: s.timing.Multiplier,
		MyDiscr: s.discr, YourDiscr: s.remoteDiscr, DesiredMinTx: s.desiredTx(), RequiredMin: s.timing.Interval,
	}
}
