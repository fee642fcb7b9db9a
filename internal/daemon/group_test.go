package daemon

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

func TestGroup(t *testing.T) {
	after := func(d time.Duration, err error) func(context.Context) error {
		return func(ctx context.Context) error {
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(d):
				return err
			}
		}
	}
	tests := []struct {
		name  string
		parts []func(context.Context) error
		end   time.Duration // of the caller's ctx
		took  time.Duration
		err   string
	}{
		{"the caller's end is no failure", []func(context.Context) error{untilDone, untilDone}, time.Second, time.Second, ""},
		{"a failure stops the others", []func(context.Context) error{untilDone, after(time.Second, errors.New("bad"))}, time.Hour, time.Second, "p1: bad"},
		{"one that is done stops nobody", []func(context.Context) error{after(time.Second, nil), after(2*time.Second, nil)}, time.Hour, 2 * time.Second, ""},
		{"all failures are told", []func(context.Context) error{after(time.Second, errors.New("a")), after(time.Second, errors.New("b"))}, time.Hour, time.Second, "p1: b\np0: a"},
		{"a part that hangs is named and left", []func(context.Context) error{untilDone, hang}, time.Second, 6 * time.Second, "p1 did not stop within 5s"},
		{"no parts", nil, time.Hour, 0, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), tt.end)
				defer cancel()
				var g Group
				for i, run := range tt.parts {
					g.Add(fmt.Sprintf("p%d", i), run)
				}
				began := time.Now()
				err := g.Run(ctx)
				if took := time.Since(began); took != tt.took {
					t.Errorf("took %v, want %v", took, tt.took)
				}
				defer time.Sleep(2 * time.Hour) // virtual: what hangs must end within the bubble
				if got := errText(err); got != tt.err {
					t.Errorf("error: got %q, want %q", got, tt.err)
				}
			})
		})
	}
}

// However many parts there are, they stop in the opposite order of their start, one after the other.
func TestGroupStopsLastFirst(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(1, 8).Draw(rt, "parts")
		ctx, cancel := context.WithCancel(t.Context())
		var g Group
		var stopped, want []string
		started := make(chan struct{}, n)
		for i := range n {
			name := fmt.Sprintf("p%d", i)
			want = append([]string{name}, want...)
			g.Add(name, func(ctx context.Context) error {
				started <- struct{}{}
				<-ctx.Done()
				stopped = append(stopped, name) // no lock: the race detector would see two that stop at once
				return nil
			})
		}
		go func() {
			for range n {
				<-started
			}
			cancel()
		}()
		if err := g.Run(ctx); err != nil {
			rt.Fatal(err)
		}
		if got, want := strings.Join(stopped, " "), strings.Join(want, " "); got != want {
			rt.Fatalf("stopped: got %s, want %s", got, want)
		}
	})
}
