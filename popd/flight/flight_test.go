package flight

import (
	"context"
	"errors"
	"io"
	"strings"
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
		if err == io.EOF {
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
			if whole != 0 || g.Len() != 0 {
				t.Errorf("forget %v: stored %d times, %d flights left", forget, whole, g.Len())
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
