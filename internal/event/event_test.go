package event

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

func ring(size int) *Ring {
	return NewRing(Options{Node: "ams1", Size: size, Mono: func() int64 { return 7 }})
}

func TestAddStampsWhatIsMissing(t *testing.T) {
	r := ring(4)
	given := time.Unix(1, 0)
	r.Add(Event{Kind: Health, Subject: "a"})
	r.Add(Event{Kind: Health, Subject: "b", Node: "nyc1", Time: given, Mono: 3})
	events, next, lost := r.After(0)
	if len(events) != 2 || next != 2 || lost != 0 {
		t.Fatalf("got %d events, next %d, lost %d; want 2, 2, 0", len(events), next, lost)
	}
	if e := events[0]; e.Node != "ams1" || e.Mono != 7 || e.Time.IsZero() {
		t.Errorf("first event is not stamped: %+v", e)
	}
	if e := events[1]; e.Node != "nyc1" || e.Mono != 3 || !e.Time.Equal(given) {
		t.Errorf("second event was altered: %+v", e)
	}
}

func TestNilRingTakesEvents(*testing.T) {
	var r *Ring
	r.Add(Event{Kind: Health})
}

// Whatever is added and read, a reader gets each event once and in order, or is told how many it missed.
func TestReaderMissesNothingUntold(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := ring(rapid.IntRange(1, 8).Draw(t, "size"))
		var seq, seen uint64
		added := 0
		for _, n := range rapid.SliceOf(rapid.IntRange(0, 12)).Draw(t, "bursts") {
			for range n {
				r.Add(Event{Subject: fmt.Sprint(added)})
				added++
			}
			events, next, lost := r.After(seq)
			seen += lost
			for _, e := range events {
				if e.Subject != fmt.Sprint(seen) {
					t.Fatalf("got event %s, want %d", e.Subject, seen)
				}
				seen++
			}
			seq = next
		}
		if seen != uint64(added) {
			t.Fatalf("accounted for %d of %d events", seen, added)
		}
	})
}

func TestFollowWaitsAndEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := ring(4)
		ctx, cancel := context.WithCancel(t.Context())
		var got []string
		done := make(chan struct{})
		go func() {
			defer close(done)
			r.Follow(ctx, 0, func(e Event) bool {
				got = append(got, e.Subject)
				return e.Subject != "last"
			})
		}()
		synctest.Wait()
		r.Add(Event{Subject: "one"})
		synctest.Wait()
		if len(got) != 1 {
			t.Fatalf("got %v after one event", got)
		}
		r.Add(Event{Subject: "last"})
		<-done
		cancel()
		go r.Follow(ctx, 0, func(Event) bool { return true }) // a done context ends it once it has read what there is
		synctest.Wait()
	})
}

func TestMonoRuns(t *testing.T) {
	a := Mono()
	if b := Mono(); a <= 0 || b < a {
		t.Errorf("monotonic clock went from %d to %d", a, b)
	}
}
