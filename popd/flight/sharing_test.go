package flight

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/catchment-net/catchment/popd/key"
	"github.com/catchment-net/catchment/popd/store/mem"
)

func entryOf(k byte) mem.Entry { return mem.Entry{Primary: key.Key{k}, Status: 200} }

// TestFetchNearItsEndIsFinished: one that all clients have left is cancelled, unless little is missing.
func TestFetchNearItsEndIsFinished(t *testing.T) {
	const size = 1 << 20
	for _, tt := range []struct {
		arrived int
		length  int64
		want    bool
	}{
		{size / 2, size, false},
		{size * 79 / 100, size, false},
		{size * 81 / 100, size, true},
		{10 << 10, 70 << 10, true}, // 60 KiB are little
		{size * 81 / 100, -1, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			store := mem.New(mem.Options{Limit: 8 << 20})
			g := NewGroup[string](Options{Store: store, MaxObject: 2 << 20})
			pr, pw := io.Pipe()
			seat := g.Join(key.Key{1}, key.Key{1}, 0, func(ctx context.Context) (Result[string], error) {
				context.AfterFunc(ctx, func() { _ = pw.CloseWithError(ctx.Err()) })
				return Result[string]{Shared: true, Body: pr, Length: tt.length, Keep: func(f *mem.Fill) error { return f.Commit(entryOf(1)) }}, nil
			})
			<-seat.Ready()
			go func() {
				_, _ = pw.Write(make([]byte, tt.arrived))
				time.Sleep(time.Second)
				left := size - tt.arrived
				if tt.length >= 0 {
					left = int(tt.length) - tt.arrived
				}
				_, err := pw.Write(make([]byte, left))
				_ = pw.CloseWithError(err)
			}()
			synctest.Wait()
			seat.Leave()
			time.Sleep(2 * time.Second)
			v, _ := store.Get(key.Key{1}, nil)
			if v.OK() != tt.want || g.Stats().Flights != 0 || store.Stats().Filling != 0 {
				t.Errorf("%d of %d bytes: stored %v, want %v; %+v, %+v", tt.arrived, tt.length, v.OK(), tt.want, g.Stats(), store.Stats())
			}
			v.Release()
			g.Close()
		})
	}
}

// TestWhoComesAfterAPurgeAsksAnew: the flight of the generation before goes on for those who are in it.
func TestWhoComesAfterAPurgeAsksAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGroup[string](Options{Store: mem.New(mem.Options{}), MaxObject: 1 << 20})
		fetch := func(name string) Fetch[string] {
			return func(context.Context) (Result[string], error) {
				time.Sleep(time.Second)
				return Result[string]{Value: name, Shared: true}, nil
			}
		}
		old := g.Join(key.Key{1}, key.Key{1}, 1, fetch("old"))
		later := g.Join(key.Key{1}, key.Key{1}, 2, fetch("new"))
		third := g.Join(key.Key{1}, key.Key{1}, 2, fetch("never"))
		for seat, want := range map[*Seat[string]]string{old: "old", later: "new", third: "new"} {
			<-seat.Ready()
			if got, mine, err := seat.Result(); got != want || !mine || err != nil {
				t.Errorf("got %q, %v, %v; want %q", got, mine, err, want)
			}
			seat.Leave()
		}
		g.Close()
	})
}

// TestSlowClientSlowsNobody: one who holds on to its first bytes neither stops the fetch nor the others, whether the body
// is stored or passes; and what it holds stays as it was.
func TestSlowClientSlowsNobody(t *testing.T) {
	const size = 6 << 20
	want := make([]byte, size)
	for i := range want {
		want[i] = byte(i>>8) ^ byte(i)
	}
	for _, stored := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			store := mem.New(mem.Options{Limit: 32 << 20})
			o := Options{Store: store, MaxObject: 8 << 20}
			if !stored {
				o.MaxObject = 256 << 10
			}
			g := NewGroup[string](o)
			fetch := func(context.Context) (Result[string], error) {
				return Result[string]{
					Shared: true, Body: io.NopCloser(&trickle{rest: want}), Length: -1,
					Keep: func(f *mem.Fill) error { return f.Commit(entryOf(1)) },
				}, nil
			}
			slow, fast := g.Join(key.Key{1}, key.Key{1}, 0, fetch), g.Join(key.Key{1}, key.Key{1}, 0, fetch)
			<-slow.Ready()
			body := slow.Body()
			held, err := body.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			begun := time.Now()
			if got, err := read(t, fast.Body()); got != string(want) || err != nil {
				t.Errorf("stored %v: the fast one got %d bytes, %v", stored, len(got), err)
			}
			if took := time.Since(begun); took > 10*time.Second {
				t.Errorf("stored %v: the fast one waited %v", stored, took)
			}
			fast.Leave()
			for i := range byte(200) { // others take what memory they can get
				_ = store.Put(entryOf(i+2), bytes.Repeat([]byte{0xaa}, 300<<10))
			}
			if !bytes.Equal(held, want[:len(held)]) {
				t.Errorf("stored %v: the slow one's bytes have changed", stored)
			}
			rest, err := read(t, body)
			if stored && (string(held)+rest != string(want) || err != nil) || !stored && !errors.Is(err, errBehind) {
				t.Errorf("stored %v: the slow one got %d bytes more, %v", stored, len(rest), err)
			}
			body.Close()
			slow.Leave()
			g.Close()
			if st := store.Stats(); st.Filling != 0 || g.Stats().Windows != 0 {
				t.Errorf("stored %v: at the end %+v, %+v", stored, st, g.Stats())
			}
		})
	}
}

// trickle gives its bytes in pieces of 1 to 20,000, a millisecond apart.
type trickle struct {
	rest []byte
	rnd  *rand.Rand
}

func (r *trickle) Read(p []byte) (int, error) {
	if r.rnd == nil {
		r.rnd = rand.New(rand.NewPCG(3, 3))
	}
	if len(r.rest) == 0 {
		return 0, io.EOF
	}
	time.Sleep(time.Millisecond)
	n := copy(p, r.rest[:min(1+r.rnd.IntN(20_000), len(r.rest))])
	r.rest = r.rest[n:]
	return n, nil
}

// TestEveryReaderGetsTheBody: however it arrives and however fast each reads, all bytes come, in order.
func TestEveryReaderGetsTheBody(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		want := []byte(strings.Repeat("0123456789abcdef", rapid.IntRange(0, 20_000).Draw(rt, "size")))
		known := rapid.Bool().Draw(rt, "known")
		pauses := rapid.SliceOfN(rapid.IntRange(0, 20), 1, 5).Draw(rt, "pauses")
		synctest.Test(t, func(t *testing.T) {
			store := mem.New(mem.Options{Limit: 8 << 20})
			g := NewGroup[string](Options{Store: store, MaxObject: 1 << 20})
			length := int64(-1)
			if known {
				length = int64(len(want))
			}
			fetch := func(context.Context) (Result[string], error) {
				return Result[string]{
					Shared: true, Body: io.NopCloser(&trickle{rest: want}), Length: length,
					Keep: func(f *mem.Fill) error { return f.Commit(entryOf(1)) },
				}, nil
			}
			done := make(chan struct{})
			for _, pause := range pauses {
				seat := g.Join(key.Key{1}, key.Key{1}, 0, fetch)
				go func() {
					defer func() { done <- struct{}{} }()
					defer seat.Leave()
					<-seat.Ready()
					body := seat.Body()
					defer body.Close()
					var got []byte
					for {
						p, err := body.Next(t.Context())
						if err == io.EOF { //nolint:errorlint // the bare one alone ends a body
							break
						}
						if err != nil {
							t.Error(err)
							return
						}
						time.Sleep(time.Duration(pause) * time.Millisecond)
						got = append(got, p...)
					}
					if !bytes.Equal(got, want) {
						t.Errorf("read %d bytes of %d, or others", len(got), len(want))
					}
				}()
				time.Sleep(time.Duration(pause) * time.Millisecond)
			}
			for range pauses {
				<-done
			}
			g.Close()
			v, _ := store.Get(key.Key{1}, nil)
			defer v.Release()
			if !v.OK() || !bytes.Equal(bytes.Join(v.AppendBody(nil), nil), want) || store.Stats().Filling != 0 {
				t.Errorf("what is stored differs, or %+v", store.Stats())
			}
		})
	})
}
