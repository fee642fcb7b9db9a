package fabric

import (
	"bytes"
	"errors"
	"io"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// Whatever is written in whatever pieces over whatever link, it comes out whole, in order, and never before its time.
func TestStreamKeepsOrderAndTime(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		pieces := rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 1, 2000), 1, 30).Draw(rt, "pieces")
		path := &Path{
			Delay:  time.Duration(rapid.IntRange(0, 200).Draw(rt, "delay")) * time.Millisecond,
			Jitter: time.Duration(rapid.IntRange(0, 50).Draw(rt, "jitter")) * time.Millisecond,
			Loss:   rapid.Float64Range(0, 0.5).Draw(rt, "loss"),
		}
		dice := rapid.SliceOfN(rapid.Float64Range(0, 0.999), 8, 64).Draw(rt, "dice")
		buffer := rapid.IntRange(1, 4096).Draw(rt, "buffer")
		synctest.Test(t, func(t *testing.T) {
			roll := 0
			s := newStream(time.Now, func() float64 { roll++; return dice[roll%len(dice)] })
			s.follow(path)
			var want, got []byte
			written := make(chan time.Time, len(pieces))
			for _, p := range pieces {
				want = append(want, p...)
			}
			go func() {
				for _, p := range pieces {
					written <- time.Now()
					_ = s.put(append([]byte(nil), p...), nil)
					time.Sleep(time.Millisecond)
				}
				s.finish(io.EOF)
			}()
			first := true
			b := make([]byte, buffer)
			for {
				n, err := s.read(b, nil)
				got = append(got, b[:n]...)
				if first {
					if took := time.Since(<-written); took < path.Delay {
						rt.Errorf("the first byte came out after %v, the delay is %v", took, path.Delay)
					}
					first = false
				}
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					rt.Fatal(err)
				}
			}
			if !bytes.Equal(got, want) {
				rt.Errorf("%d bytes came out, %d went in, equal: %v", len(got), len(want), bytes.Equal(got, want))
			}
		})
	})
}

func TestStreamWindowHoldsTheWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStream(time.Now, nil)
		for range window / 1024 {
			if err := s.put(make([]byte, 1024), nil); err != nil {
				t.Fatal(err)
			}
		}
		d := newDeadline()
		d.set(time.Now().Add(time.Second))
		if err := s.put([]byte("x"), d); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("beyond the window: got %v, want to wait", err)
		}
		done := make(chan error)
		go func() { done <- s.put([]byte("x"), nil) }()
		synctest.Wait()
		if n, err := s.read(make([]byte, 10), nil); n != 10 || err != nil {
			t.Fatal(n, err)
		}
		if err := <-done; err != nil {
			t.Errorf("once there was room: %v", err)
		}
		go func() { done <- s.put(make([]byte, 1024), nil) }()
		synctest.Wait()
		s.stop()
		if err := <-done; !errors.Is(err, errReset) {
			t.Errorf("once nobody reads: got %v, want a reset", err)
		}
	})
}
