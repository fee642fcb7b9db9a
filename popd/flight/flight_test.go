package flight

import (
	"context"
	"errors"
	"io"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/catchment-net/catchment/popd/key"
)

func read(t *testing.T, b Body) (string, error) {
	t.Helper()
	var all strings.Builder
	for {
		p, err := b.Next(t.Context())
		if err == io.EOF { //nolint:errorlint // only the bare one ends a whole body
			return all.String(), nil
		}
		if err != nil {
			return all.String(), err
		}
		all.Write(p)
	}
}

func TestBrokenAndForgottenBodiesAreNotWhole(t *testing.T) {
	for _, forget := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			g := NewGroup[string](Options{MaxObject: 1 << 20})
			pr, pw := io.Pipe()
			whole := 0
			seat := g.Join(key.Key{1}, key.Key{2}, func(context.Context) (Result[string], error) {
				return Result[string]{Shared: true, Body: pr, Length: -1, Whole: func([][]byte, int64) { whole++ }}, nil
			})
			<-seat.Ready()
			var end error
			if forget {
				g.Forget(key.Key{2})
			} else {
				end = errors.New("reset")
			}
			go func() {
				_, _ = pw.Write([]byte("half"))
				_ = pw.CloseWithError(end)
			}()
			if got, err := read(t, seat.Body()); got != "half" || !errors.Is(err, end) {
				t.Errorf("read %q, %v; want half, %v", got, err, end)
			}
			seat.Leave()
			g.Close()
			if whole != 0 || g.Stats().Flights != 0 {
				t.Errorf("forget %v: stored %d times, %d flights left", forget, whole, g.Stats().Flights)
			}
		})
	}
}

// TestWindowMovesWithTheFastestReader: one who reads nothing stops nobody, and loses the body.
func TestWindowMovesWithTheFastestReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGroup[string](Options{MaxObject: 128 << 10})
		const size = 1 << 20
		fetch := func(context.Context) (Result[string], error) {
			return Result[string]{Shared: true, Body: io.NopCloser(strings.NewReader(strings.Repeat("x", size))), Length: -1}, nil
		}
		fast, slow := g.Join(key.Key{}, key.Key{}, fetch), g.Join(key.Key{}, key.Key{}, fetch)
		<-fast.Ready()
		sleeper := slow.Body()
		if got, err := read(t, fast.Body()); len(got) != size || err != nil {
			t.Errorf("the fast one got %d bytes, %v", len(got), err)
		}
		if _, err := read(t, sleeper); !errors.Is(err, errBehind) {
			t.Errorf("the slow one: %v, want %v", err, errBehind)
		}
		fast.Leave()
		slow.Leave()
		g.Close()
	})
}

func TestMarks(t *testing.T) {
	m := NewMarks(2)
	now := time.Unix(0, 0)
	m.Set(key.Key{1}, now.Add(time.Minute))
	m.Set(key.Key{2}, now.Add(time.Minute))
	m.Clear(key.Key{2})
	if !m.Has(key.Key{1}, now) || m.Has(key.Key{1}, now.Add(time.Minute)) || m.Has(key.Key{2}, now) {
		t.Error("a mark holds until its time, or until it is cleared")
	}
	m.Set(key.Key{3}, now.Add(time.Minute))
	if m.Has(key.Key{1}, now) || !m.Has(key.Key{3}, now) || len(m.until) != 2 {
		t.Errorf("a full Marks forgets the oldest: %v", m.until)
	}
}

// TestLongBackgroundBodyIsGivenUp: a body that nobody reads and that cannot be stored must not keep its fetch, and the
// buffer with it, for ever.
func TestLongBackgroundBodyIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGroup[string](Options{MaxObject: 128 << 10})
		var ended func() error
		g.Background(key.Key{1}, key.Key{1}, func(c context.Context) (Result[string], error) {
			ended = c.Err
			body := io.NopCloser(strings.NewReader(strings.Repeat("x", 1<<20)))
			return Result[string]{Shared: true, Body: body, Length: -1, Whole: func([][]byte, int64) { t.Error("stored") }}, nil
		})
		synctest.Wait()
		if s := g.Stats(); s != (Stats{}) || ended() == nil {
			t.Errorf("%+v, the fetch's context says %v: want nothing under way", s, ended())
		}
		g.Close()
	})
}

// TestForgetWaitsForWhatIsBeingStored: after Forget the caller clears its store, and nothing may come in behind that.
func TestForgetWaitsForWhatIsBeingStored(t *testing.T) {
	g := NewGroup[string](Options{MaxObject: 1 << 20})
	begun, goOn := make(chan struct{}), make(chan struct{})
	var stored atomic.Bool
	seat := g.Join(key.Key{1}, key.Key{2}, func(context.Context) (Result[string], error) {
		return Result[string]{Shared: true, Chunks: [][]byte{[]byte("x")}, Length: 1, Whole: func([][]byte, int64) {
			close(begun)
			<-goOn
			stored.Store(true)
		}}, nil
	})
	<-begun
	done := make(chan bool)
	go func() {
		g.Forget(key.Key{2})
		done <- stored.Load()
	}()
	for end := time.Now().Add(10 * time.Second); !g.isForgotten(seat.c) && time.Now().Before(end); {
		runtime.Gosched()
	}
	close(goOn)
	if !<-done {
		t.Error("Forget returned while the answer was being stored")
	}
	seat.Leave()
	g.Close()
}

// TestFlightsAndTheirBytesAreBounded: one flight too many fails at once; a body that finds no room in the pool still
// reaches its reader, but is not stored.
func TestFlightsAndTheirBytesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGroup[string](Options{MaxObject: 1 << 20, MaxFlights: 2, MaxBuffered: 256 << 10})
		const size = 192 << 10
		stored := map[byte]bool{}
		fetch := func(id byte) Fetch[string] {
			return func(context.Context) (Result[string], error) {
				body := io.NopCloser(strings.NewReader(strings.Repeat("x", size)))
				return Result[string]{Shared: true, Body: body, Length: size, Whole: func([][]byte, int64) { stored[id] = true }}, nil
			}
		}
		first := g.Join(key.Key{1}, key.Key{1}, fetch(1))
		synctest.Wait()
		second := g.Join(key.Key{2}, key.Key{2}, fetch(2))
		synctest.Wait()
		if s := g.Stats(); s.Flights != 2 || s.Buffered < size || s.Buffered > 256<<10+2*maxChunk {
			t.Errorf("%+v: want 2 flights, and no more than the pool and a chunk for each", s)
		}
		third := g.Join(key.Key{3}, key.Key{3}, fetch(3))
		<-third.Ready()
		if _, _, err := third.Result(); !errors.Is(err, ErrFull) || g.Stats().Refused != 1 {
			t.Errorf("the third: %v, %+v", err, g.Stats())
		}
		third.Leave()
		for i, seat := range []*Seat[string]{first, second} {
			<-seat.Ready()
			if got, err := read(t, seat.Body()); len(got) != size || err != nil {
				t.Errorf("flight %d: %d bytes, %v", i+1, len(got), err)
			}
			seat.Leave()
		}
		g.Close()
		if s := g.Stats(); s.Flights != 0 || s.Buffered != 0 || !stored[1] || stored[2] {
			t.Errorf("at the end %+v, stored %v: want nothing held and the first alone stored", s, stored)
		}
	})
}

// TestLastBytesComeAfterTheAnswerIsStored: also when the end comes apart from them, as over HTTP/2: who has all bytes and
// asks again finds the answer in the store.
func TestLastBytesComeAfterTheAnswerIsStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGroup[string](Options{MaxObject: 1 << 20})
		pr, pw := io.Pipe()
		var stored atomic.Bool
		seat := g.Join(key.Key{1}, key.Key{1}, func(context.Context) (Result[string], error) {
			return Result[string]{Shared: true, Body: pr, Length: 5, Whole: func([][]byte, int64) { stored.Store(true) }}, nil
		})
		go func() {
			_, _ = pw.Write([]byte("hello"))
			synctest.Wait()
			_ = pw.Close()
		}()
		<-seat.Ready()
		if p, err := seat.Body().Next(t.Context()); string(p) != "hello" || err != nil || !stored.Load() {
			t.Errorf("read %q, %v; stored before: %v", p, err, stored.Load())
		}
		seat.Leave()
		g.Close()
	})
}
