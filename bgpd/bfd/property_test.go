package bfd

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// pair is two sessions and the packets between them, in virtual time. Each end has a clock of its own rate.
type pair struct {
	t      *rapid.T
	rng    *rand.Rand
	now    time.Duration // true time
	ends   [2]*end
	flying []flight

	delay, spread time.Duration // of each packet; spread makes them overtake each other
	loss, twice   float64
	cut           [2]bool // towards that end nothing passes
}

type end struct {
	s      *Session
	timing Timing
	rate   float64 // of its clock
	discr  uint32
	sent   time.Duration // the last packet that was no Final and no change of state
	state  State
	heard  time.Duration // true time of the last packet that was taken
}

type flight struct {
	at time.Duration
	to int
	p  Packet
}

func (w *pair) clock(i int, at time.Duration) time.Time {
	return start().Add(time.Duration(w.ends[i].rate * float64(at)))
}

func (w *pair) restart(i int) {
	e := w.ends[i]
	e.discr++
	s, err := NewSession(e.timing, e.discr<<8|uint32(i)+1, w.rng.Float64, w.clock(i, w.now))
	if err != nil {
		w.t.Fatal(err)
	}
	e.s, e.state, e.sent = s, Down, -time.Hour
}

func newPair(t *rapid.T) *pair {
	w := &pair{t: t, rng: rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))}
	for i := range w.ends {
		w.ends[i] = &end{
			timing: Timing{
				Interval:   time.Duration(rapid.IntRange(10, 400).Draw(t, "interval")) * ms,
				Multiplier: uint8(rapid.IntRange(2, 5).Draw(t, "multiplier")),
			},
			rate: rapid.Float64Range(0.95, 1.05).Draw(t, "rate"),
		}
		w.restart(i)
	}
	return w
}

// act lets one end look at the time, and sends what it says.
func (w *pair) act(i int) {
	e := w.ends[i]
	n, urgent := 0, e.s.urgent
	for p, ok := e.s.Advance(w.clock(i, w.now)); ok; p, ok = e.s.Advance(w.clock(i, w.now)) {
		if n++; n > 3 {
			w.t.Fatal("an end does not stop talking")
		}
		if _, why := Parse(p.Append(nil)); why != Taken {
			w.t.Fatalf("what we say is not taken: %q, %+v", why, p)
		}
		if !p.Final && p.State == e.state && !urgent {
			least := time.Duration(float64(e.s.interval()) * 0.75 / e.rate)
			if gap := w.now - e.sent; gap < least-ms && !p.Poll && e.s.state == Up {
				w.t.Fatalf("%v between two packets, want at least %v", gap, least)
			}
		}
		if p.State != Up && p.DesiredMinTx < time.Second {
			w.t.Fatalf("not up we offer %v", p.DesiredMinTx)
		}
		if !p.Final {
			e.sent, e.state = w.now, p.State
		}
		w.send(1-i, p)
	}
	if next := e.s.Next(); !next.IsZero() && !next.After(w.clock(i, w.now)) {
		w.t.Fatalf("end %d has something to do and does not: %v", i, next)
	}
}

func (w *pair) send(to int, p Packet) {
	copies := 1
	if w.rng.Float64() < w.twice {
		copies = 2
	}
	for range copies {
		if w.cut[to] || w.rng.Float64() < w.loss {
			continue
		}
		at := w.now + w.delay
		if w.spread > 0 {
			at += time.Duration(w.rng.Int64N(int64(w.spread)))
		}
		w.flying = append(w.flying, flight{at, to, p})
	}
}

func (w *pair) deliver(f flight) {
	e := w.ends[f.to]
	if f.p.YourDiscr != 0 && f.p.YourDiscr != e.s.discr {
		return
	}
	before := e.s.downs
	e.s.Receive(f.p, w.clock(f.to, w.now))
	if e.s.downs > before && e.s.diag == DetectionRan && w.now-e.heard < e.s.timing.Interval {
		w.t.Fatal("an end that was heard is called silent")
	}
	e.heard = w.now
	w.act(f.to)
}

// run lets time pass, in steps of what happens next and at most 1 ms.
func (w *pair) run(d time.Duration, watch func()) {
	for until := w.now + d; w.now < until; {
		w.now += ms
		due := slices.DeleteFunc(slices.Clone(w.flying), func(f flight) bool { return f.at > w.now })
		w.flying = slices.DeleteFunc(w.flying, func(f flight) bool { return f.at <= w.now })
		slices.SortStableFunc(due, func(a, b flight) int { return int(a.at - b.at) })
		for _, f := range due {
			w.deliver(f)
		}
		for i := range w.ends {
			if next := w.ends[i].s.Next(); !next.IsZero() && !next.After(w.clock(i, w.now)) {
				w.act(i)
			}
		}
		if watch != nil {
			watch()
		}
	}
}

func (w *pair) bothUp() bool { return w.ends[0].s.state == Up && w.ends[1].s.state == Up }

// slack is what a step of the simulation, the clocks' rates, and packets on their way add to a detection time: one that was
// sent before a cut, and the one by which the end that found it tells the other.
func (w *pair) slack(d time.Duration) time.Duration { return d/8 + 3*(w.delay+w.spread) + 3*ms }

// comesUp is how long a path that works may take to bring both ends up: a packet of each end at 1 s, with room.
const comesUp = 3200 * ms

// Over a path that works both ends come up and stay up, with the interval that both can bear; after a silent cut, of one
// way or both, both are down within their detection time, and up again when it is mended.
func TestPropertyUpCutUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newPair(t)
		w.delay = time.Duration(rapid.IntRange(0, 60).Draw(t, "delay")) * ms
		w.run(comesUp, nil)
		if !w.bothUp() {
			t.Fatalf("not up: %s, %s", w.ends[0].s.state, w.ends[1].s.state)
		}
		w.run(2*time.Second, nil)
		for i, e := range w.ends {
			if want := max(e.timing.Interval, w.ends[1-i].timing.Interval); e.s.interval() != want || e.s.poll || e.s.downs != 0 {
				t.Fatalf("end %d: interval %v, want %v; poll %v, downs %d", i, e.s.interval(), want, e.s.poll, e.s.downs)
			}
		}
		way := rapid.IntRange(0, 2).Draw(t, "cut")
		w.cut = [2]bool{way != 1, way != 0}
		longest := max(w.ends[0].s.Detection(), w.ends[1].s.Detection())
		w.run(longest+w.slack(longest), nil)
		for i, e := range w.ends {
			heardIt := !w.cut[i] && e.s.diag == NeighborDown
			if e.s.state == Up || !e.s.failed || e.s.diag != DetectionRan && !heardIt {
				t.Fatalf("end %d after %v of silence: %s, %q, failed %v", i, longest, e.s.state, e.s.diag, e.s.failed)
			}
		}
		w.cut = [2]bool{}
		w.run(comesUp, nil)
		if !w.bothUp() {
			t.Fatalf("not up again: %s, %s", w.ends[0].s.state, w.ends[1].s.state)
		}
	})
}

// Whatever is lost, doubled or overtaken, and whoever restarts: nobody talks without end, and when the path is mended
// both come up.
func TestPropertyChaos(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newPair(t)
		for range rapid.IntRange(1, 6).Draw(t, "steps") {
			w.loss = rapid.Float64Range(0, 0.9).Draw(t, "loss")
			w.twice = rapid.Float64Range(0, 0.5).Draw(t, "twice")
			w.spread = time.Duration(rapid.IntRange(0, 300).Draw(t, "spread")) * ms
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0:
				w.restart(rapid.IntRange(0, 1).Draw(t, "who"))
			case 1:
				i := rapid.IntRange(0, 1).Draw(t, "who")
				e := w.ends[i]
				e.timing.Interval = time.Duration(rapid.IntRange(10, 400).Draw(t, "interval")) * ms
				if err := e.s.Retime(e.timing); err != nil {
					t.Fatal(err)
				}
				w.act(i)
			}
			w.run(time.Duration(rapid.IntRange(1, 3000).Draw(t, "for"))*ms, nil)
		}
		w.loss, w.twice, w.spread = 0, 0, 0
		w.run(3*time.Second+comesUp, nil) // what one end still believes has to time out first
		if !w.bothUp() {
			t.Fatalf("not up: %s, %s", w.ends[0].s.state, w.ends[1].s.state)
		}
		downs := w.ends[0].s.downs + w.ends[1].s.downs
		w.run(5*time.Second, nil)
		if now := w.ends[0].s.downs + w.ends[1].s.downs; now != downs {
			t.Fatalf("%d sessions went down over a path that works", now-downs)
		}
	})
}

// An end that goes on purpose is not taken for a failure, and its successor is welcome.
func TestPropertyOnPurpose(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newPair(t)
		w.run(comesUp, nil)
		i := rapid.IntRange(0, 1).Draw(t, "who")
		w.ends[i].s.Stop(w.clock(i, w.now))
		w.act(i)
		w.run(time.Duration(rapid.IntRange(2, 4000).Draw(t, "for"))*ms, func() {
			if w.ends[1-i].s.failed {
				t.Fatal("taken for a failure")
			}
		})
		w.restart(i)
		w.run(3*time.Second+comesUp, nil)
		if !w.bothUp() {
			t.Fatalf("not up: %s, %s", w.ends[0].s.state, w.ends[1].s.state)
		}
	})
}
