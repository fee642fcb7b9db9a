package node

import (
	"context"
	"errors"
	"slices"
	"testing"
)

func TestRunAll(t *testing.T) {
	broken := errors.New("port in use")
	waits := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	done := func(context.Context) error { return nil }
	fails := func(context.Context) error { return broken }
	failsLate := func(ctx context.Context) error { <-ctx.Done(); return errors.New("a consequence") }
	for _, test := range []struct {
		name  string
		parts []func(context.Context) error
		want  string // "" for no error
	}{
		{"all did their work", []func(context.Context) error{done, done}, ""},
		{"one fails and ends the others", []func(context.Context) error{waits, part("popd", fails), waits}, "popd: port in use"},
		{"the first failure counts", []func(context.Context) error{failsLate, part("dnsd", fails)}, "dnsd: port in use"},
		{"a daemon that ends by itself has failed", []func(context.Context) error{waits, part("bgpd", done)}, "bgpd: it ended by itself"},
		{"nested", []func(context.Context) error{waits, func(ctx context.Context) error { return runAll(ctx, waits, part("gossip", fails)) }}, "gossip: port in use"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := ""
			if err := runAll(t.Context(), test.parts...); err != nil {
				got = err.Error()
			}
			if got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
	t.Run("the end of ctx is no failure", func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(errors.New("enough"))
		if err := runAll(ctx, waits, part("popd", waits), part("bgpd", done)); err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		if err := runAll(ctx, part("bgpd", done)); err != nil {
			t.Errorf("got %v", err)
		}
	})
}

func TestGateOpensOnceAllListen(t *testing.T) {
	var got [][]string
	g := gate{waiting: 3, open: func(addrs []string) { got = append(got, addrs) }}
	g.listens([]string{"a"})
	g.listens(nil)
	if len(got) != 0 {
		t.Fatal("it opened early")
	}
	g.listens([]string{"b"})
	g.listens([]string{"late"}) // a daemon that listens again
	if len(got) != 1 || !slices.Equal(got[0], []string{"a", "b"}) {
		t.Errorf("got %v, want [[a b]]", got)
	}
}
