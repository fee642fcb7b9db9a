package bfd

import (
	"testing"
	"time"
)

const ms = time.Millisecond

func start() time.Time { return time.Unix(1_000_000_000, 0) }

func newSession(t *testing.T, timing Timing) *Session {
	t.Helper()
	s, err := NewSession(timing, 1, func() float64 { return 0.999 }, start())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// said drains what a session has to say.
func said(s *Session, now time.Time) []Packet {
	var all []Packet
	for p, ok := s.Advance(now); ok; p, ok = s.Advance(now) {
		all = append(all, p)
	}
	return all
}

func from(state State, interval time.Duration) Packet {
	p := Packet{State: state, Multiplier: 3, MyDiscr: 9, YourDiscr: 1, DesiredMinTx: interval, RequiredMin: interval}
	if state == Down {
		p.YourDiscr = 0
	}
	return p
}

// up brings a session up with a neighbour of the same interval, the Poll answered.
func up(t *testing.T, s *Session, at time.Time, interval time.Duration) {
	t.Helper()
	said(s, at)
	s.Receive(from(Down, slow), at)
	s.Receive(from(Init, slow), at)
	p := from(Up, interval)
	p.Final = true
	s.Receive(p, at)
	said(s, at)
	if s.state != Up || s.poll {
		t.Fatalf("state %s, poll %v", s.state, s.poll)
	}
}

// RFC 5880 §6.2: the state machine's every arrow, and what is no arrow.
func TestStates(t *testing.T) {
	for _, tt := range []struct {
		name  string
		hears []State
		want  State
		diag  Diag
	}{
		{"a neighbour that is down", []State{Down}, Init, NoDiag},
		{"a neighbour that has heard us", []State{Init}, Up, NoDiag},
		{"up is no answer to down", []State{Up}, Down, NoDiag},
		{"both down, then init", []State{Down, Init}, Up, NoDiag},
		{"both down, then up", []State{Down, Up}, Up, NoDiag},
		{"down twice", []State{Down, Down}, Init, NoDiag},
		{"init stays up", []State{Init, Init}, Up, NoDiag},
		{"a neighbour that restarts", []State{Init, Up, Down}, Down, NeighborDown},
		{"and comes again", []State{Init, Up, Down, Down, Up}, Up, NoDiag},
		{"on purpose", []State{Init, AdminDown}, Down, NeighborDown},
		{"on purpose, from init", []State{Down, AdminDown}, Down, NeighborDown},
		{"on purpose, from down", []State{AdminDown}, Down, NoDiag},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, now := newSession(t, Timing{Interval: 50 * ms}), start()
			for _, h := range tt.hears {
				now = now.Add(ms)
				s.Receive(from(h, 50*ms), now)
				for _, p := range said(s, now) {
					if p.State != s.state || p.YourDiscr != 9 {
						t.Errorf("after %s we say %+v", h, p)
					}
				}
			}
			if s.state != tt.want || s.diag != tt.diag {
				t.Errorf("got %s, %q, want %s, %q", s.state, s.diag, tt.want, tt.diag)
			}
		})
	}
}

func TestSlowStartThenPoll(t *testing.T) {
	s, now := newSession(t, Timing{Interval: 50 * ms}), start()
	first := said(s, now)
	if len(first) != 1 || first[0].DesiredMinTx != time.Second || first[0].RequiredMin != 50*ms || first[0].State != Down {
		t.Fatalf("first we say %+v", first)
	}
	if next := s.Next().Sub(now); next < 750*ms || next > time.Second {
		t.Errorf("the second packet is due after %v", next)
	}
	s.Receive(from(Init, slow), now)
	got := said(s, now)
	if len(got) != 1 || got[0].State != Up || !got[0].Poll || got[0].DesiredMinTx != 50*ms {
		t.Fatalf("up we say %+v", got)
	}
	// The Poll goes on, at the neighbour's pace of 1 s, until it is answered.
	now = now.Add(time.Second)
	if got := said(s, now); len(got) != 1 || !got[0].Poll {
		t.Fatalf("still up we say %+v", got)
	}
	p := from(Up, 50*ms)
	p.Poll = true
	s.Receive(p, now)
	if got := said(s, now); len(got) != 1 || !got[0].Final || got[0].Poll {
		t.Errorf("to a Poll we say %+v", got)
	}
	p.Poll, p.Final = false, true
	s.Receive(p, now)
	now = now.Add(50 * ms)
	if got := said(s, now); len(got) != 1 || got[0].Poll {
		t.Errorf("the Poll answered we say %+v", got)
	}
	if got := s.Next().Sub(now); got < 37*ms || got > 50*ms {
		t.Errorf("the next packet is due after %v", got)
	}
}

func TestDetectionTime(t *testing.T) {
	for _, tt := range []struct {
		name         string
		ours, theirs time.Duration
		multiplier   uint8
		want         time.Duration
	}{
		{"alike", 50 * ms, 50 * ms, 3, 150 * ms},
		{"they cannot send so often", 50 * ms, 300 * ms, 3, 900 * ms},
		{"we do not want so many", 300 * ms, 50 * ms, 3, 900 * ms},
		{"the multiplier is theirs", 50 * ms, 50 * ms, 5, 250 * ms},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, now := newSession(t, Timing{Interval: tt.ours, Multiplier: 7}), start()
			up(t, s, now, tt.theirs)
			p := from(Up, tt.theirs)
			p.Multiplier = tt.multiplier
			now = now.Add(ms)
			s.Receive(p, now)
			if got := s.Detection(); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
			said(s, now.Add(tt.want))
			if s.state != Up {
				t.Error("down before the detection time was over")
			}
			if got := said(s, now.Add(tt.want+1)); s.state != Down || s.diag != DetectionRan || !s.failed || s.downs != 1 ||
				len(got) != 1 || got[0].State != Down || got[0].YourDiscr != 0 || got[0].Diag != DetectionRan {
				t.Errorf("after the detection time: %s, %q, failed %v; we say %+v", s.state, s.diag, s.failed, got)
			}
		})
	}
}

// A process that was not scheduled for a while finds packets that have waited: the neighbour was not silent.
func TestLateJudgementIsByArrival(t *testing.T) {
	s, now := newSession(t, Timing{Interval: 10 * ms}), start()
	up(t, s, now, 10*ms)
	for i := 1; i <= 50; i++ {
		s.Receive(from(Up, 10*ms), now.Add(time.Duration(i)*10*ms))
	}
	said(s, now.Add(515*ms))
	if s.state != Up || s.downs != 0 {
		t.Errorf("%s after %d downs, though packets had arrived", s.state, s.downs)
	}
	// One that was silent was so, though it speaks again before we look.
	s.Receive(from(Up, 10*ms), now.Add(900*ms))
	if s.downs != 1 || s.diag != DetectionRan {
		t.Errorf("downs %d, %q after 400 ms of silence", s.downs, s.diag)
	}
}

func TestFailedIsNotOnPurpose(t *testing.T) {
	now := start()
	for _, tt := range []struct {
		name string
		do   func(s *Session)
		want bool
	}{
		{"never up", func(s *Session) { *s = *newSession(t, Timing{Interval: 50 * ms}) }, false},
		{"silence", func(s *Session) { said(s, now.Add(time.Second)) }, true},
		{"they say down", func(s *Session) { s.Receive(from(Down, slow), now) }, true},
		{"they say admin down", func(s *Session) { s.Receive(from(AdminDown, slow), now) }, false},
		{"silence, then admin down", func(s *Session) {
			said(s, now.Add(time.Second))
			s.Receive(from(AdminDown, slow), now.Add(time.Second))
		}, false},
		{"silence, then init", func(s *Session) { said(s, now.Add(time.Second)); s.Receive(from(Down, slow), now.Add(time.Second)) }, true},
		{"silence, then up", func(s *Session) { said(s, now.Add(time.Second)); s.Receive(from(Init, slow), now.Add(time.Second)) }, false},
		{"silence, then an ICMP that nobody is there", func(s *Session) { said(s, now.Add(time.Second)); s.Excuse() }, false},
		{"we say admin down", func(s *Session) { s.Stop(now) }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSession(t, Timing{Interval: 50 * ms})
			up(t, s, now, 50*ms)
			if tt.do(s); s.failed != tt.want {
				t.Errorf("got %v, want %v", s.failed, tt.want)
			}
		})
	}
}

func TestAdminDownHearsNothing(t *testing.T) {
	s, now := newSession(t, Timing{Interval: 50 * ms}), start()
	up(t, s, now, 50*ms)
	s.Stop(now)
	if got := said(s, now); len(got) != 1 || got[0].State != AdminDown || got[0].Diag != ByHand {
		t.Errorf("we say %+v", got)
	}
	if why := s.Receive(from(Up, 50*ms), now); why != SessionOff || s.state != AdminDown {
		t.Errorf("got %q, %s", why, s.state)
	}
}

func TestAuthIsNotTaken(t *testing.T) {
	s := newSession(t, Timing{Interval: 50 * ms})
	p := from(Init, 50*ms)
	p.Auth = true
	if why := s.Receive(p, start()); why != BadAuth || s.state != Down || s.remoteDiscr != 0 {
		t.Errorf("got %q, %s", why, s.state)
	}
}

func TestNeighborMayAskForQuiet(t *testing.T) {
	s, now := newSession(t, Timing{Interval: 50 * ms}), start()
	up(t, s, now, 50*ms)
	p := from(Up, 50*ms)
	p.Demand = true
	s.Receive(p, now)
	if got := said(s, now.Add(100*ms)); len(got) != 0 {
		t.Errorf("in demand mode we say %+v", got)
	}
	p.Poll = true
	s.Receive(p, now.Add(100*ms))
	if got := said(s, now.Add(100*ms)); len(got) != 1 || !got[0].Final {
		t.Errorf("in demand mode we answer a Poll by %+v", got)
	}
	p.Demand, p.Poll, p.RequiredMin = false, false, 0 // "send me none"
	s.Receive(p, now.Add(110*ms))
	if got := said(s, now.Add(200*ms)); len(got) != 0 {
		t.Errorf("to one that wants none we say %+v", got)
	}
}

// RFC 5880 §6.8.3: a longer interval and a shorter detection time wait for the answer to our Poll.
func TestRetime(t *testing.T) {
	s, now := newSession(t, Timing{Interval: 50 * ms}), start()
	up(t, s, now, 10*ms)
	if err := s.Retime(Timing{Interval: 200 * ms}); err != nil {
		t.Fatal(err)
	}
	if s.interval() != 50*ms || s.Detection() != 600*ms || s.state != Up {
		t.Errorf("longer, unanswered: %v, %v, %s", s.interval(), s.Detection(), s.state)
	}
	if got := said(s, now.Add(50*ms)); len(got) != 1 || !got[0].Poll || got[0].DesiredMinTx != 200*ms || got[0].RequiredMin != 200*ms {
		t.Errorf("longer, unanswered: we say %+v", got)
	}
	final := from(Up, 10*ms)
	final.Final = true
	s.Receive(final, now.Add(60*ms))
	if s.interval() != 200*ms {
		t.Errorf("longer, answered: %v", s.interval())
	}
	if err := s.Retime(Timing{Interval: 20 * ms}); err != nil {
		t.Fatal(err)
	}
	if s.interval() != 20*ms || s.Detection() != 600*ms {
		t.Errorf("shorter, unanswered: %v, %v", s.interval(), s.Detection())
	}
	s.Receive(final, now.Add(70*ms))
	if s.Detection() != 60*ms {
		t.Errorf("shorter, answered: %v", s.Detection())
	}
	if err := s.Retime(Timing{Interval: ms}); err == nil {
		t.Error("an interval of 1 ms is taken")
	}
}
