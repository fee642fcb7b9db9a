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
	"github.com/catchment-net/catchment/popd/store/mem"
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
			g := NewGroup[string](Options{Store: mem.New(mem.Options{Limit: 8 << 20}), MaxObject: 1 << 20})
			pr, pw := io.Pipe()
			whole := 0
			seat := g.Join(key.Key{1}, key.Key{2}, 0, func(context.Context) (Result[string], error) {
				return Result[string]{Shared: true, Body: pr, Length: -1, Keep: func(*mem.Fill) error { whole++; return nil }}, nil
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
		g := NewGroup[string](Options{Store: mem.New(mem.Options{Limit: 8 << 20}), MaxObject: 128 << 10})
		const size = 1 << 20
		fetch := func(context.Context) (Result[string], error) {
			return Result[string]{Shared: true, Body: io.NopCloser(strings.NewReader(strings.Repeat("x", size))), Length: -1}, nil
		}
		fast, slow := g.Join(key.Key{}, key.Key{}, 0, fetch), g.Join(key.Key{}, key.Key{}, 0, fetch)
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
		g := NewGroup[string](Options{Store: mem.New(mem.Options{Limit: 8 << 20}), MaxObject: 128 << 10})
		var ended func() error
		g.Background(key.Key{1}, key.Key{1}, 0, func(c context.Context) (Result[string], error) {
			ended = c.Err
			body := io.NopCloser(strings.NewReader(strings.Repeat("x", 1<<20)))
			return Result[string]{Shared: true, Body: body, Length: -1, Keep: func(*mem.Fill) error { t.Error("stored"); return nil }}, nil
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
	g := NewGroup[string](Options{Store: mem.New(mem.Options{Limit: 8 << 20}), MaxObject: 1 << 20})
	begun, goOn := make(chan struct{}), make(chan struct{})
	var stored atomic.Bool
	seat := g.Join(key.Key{1}, key.Key{2}, 0, func(context.Context) (Result[string], error) {
		return Result[string]{Shared: true, Length: 1, Keep: func(*mem.Fill) error {
			close(begun)
			<-goOn
			stored.Store(true)
			return nil
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

// TestFlightsAndTheirBytesAreBounded: one flight too many fails at once; a body that finds no room in the store still
// reaches its reader, but is not stored.
func TestFlightsAndTheirBytesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := mem.New(mem.Options{Limit: mem.MinLimit}) // half of it may be filling
		g := NewGroup[string](Options{Store: store, MaxObject: 1 << 20, MaxFlights: 3})
		const size = 240 << 10
		var stored [4]atomic.Bool
		fetch := func(id int) Fetch[string] {
			return func(context.Context) (Result[string], error) {
				body := io.NopCloser(strings.NewReader(strings.Repeat("x", size)))
				return Result[string]{Shared: true, Body: body, Length: size, Keep: func(*mem.Fill) error { stored[id].Store(true); return nil }}, nil
			}
		}
		seats := make([]*Seat[string], 4)
		for i := range seats {
			k := key.Key{byte(i)}
			seats[i] = g.Join(k, k, 0, fetch(i))
			synctest.Wait()
		}
		if st := store.Stats(); st.Filling < 2*size || st.Filling > store.Limit()/2 || g.Stats().Windows != size/maxChunk*maxChunk+maxChunk {
			t.Errorf("%+v, %+v: want two in the store and one in a window", st, g.Stats())
		}
		if _, _, err := seats[3].Result(); !errors.Is(err, ErrFull) || g.Stats().Refused != 1 {
			t.Errorf("the fourth: %v, %+v", err, g.Stats())
		}
		for i, seat := range seats {
			if i < 3 {
				if got, err := read(t, seat.Body()); len(got) != size || err != nil {
					t.Errorf("flight %d: %d bytes, %v", i, len(got), err)
				}
			}
			seat.Leave()
		}
		g.Close()
		if s := g.Stats(); s.Flights != 0 || s.Windows != 0 || store.Stats().Filling != 0 {
			t.Errorf("at the end %+v, %+v: want nothing held", s, store.Stats())
		}
		if !stored[0].Load() || !stored[1].Load() || stored[2].Load() {
			t.Error("want the first two stored, and the third not")
		}
	})
}

// TestLastBytesComeAfterTheAnswerIsStored: also when the end comes apart from them, as over HTTP/2: who has all bytes and
// asks again finds the answer in the store.
func TestLastBytesComeAfterTheAnswerIsStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGroup[string](Options{Store: mem.New(mem.Options{Limit: 8 << 20}), MaxObject: 1 << 20})
		pr, pw := io.Pipe()
		var stored atomic.Bool
		seat := g.Join(key.Key{1}, key.Key{1}, 0, func(context.Context) (Result[string], error) {
			return Result[string]{Shared: true, Body: pr, Length: 5, Keep: func(*mem.Fill) error { stored.Store(true); return nil }}, nil
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
