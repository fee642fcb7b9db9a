package local

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/catchment-net/catchment/internal/event"
	"github.com/catchment-net/catchment/labs/drill"
)

// A drill that is interrupted leaves nothing broken.
func TestInterruptedDrillIsUndone(t *testing.T) {
	l := up(t, Options{Dir: "testdata/small", Name: "small", Root: newRoot(t), Binary: mustBinary(t)})
	d, err := drill.Parse("all.yaml", []byte(`load: {www: {get: http://www.small.example/cart/x, rate: 20/s}}
at:
  100ms:
    - partition east
    - mute west
    - slow town -> transit 50ms
    - lossy west -> transit 10%
    - skew west -1h
    - fill west
    - freeze origin.small.example
  30s: end
expect: {always: [wrong_bodies == 0]}
`), l.Topology())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	faults := newReports(t, l)
	go func() {
		faults.await(0, time.Minute, func(e event.Event) bool { return e.Kind == event.Fault && e.Subject == smallOrigin })
		cancel()
	}()
	if _, err := drill.Run(ctx, l, d, drill.Options{}); err == nil {
		t.Fatal("the drill was not interrupted")
	}
	for _, address := range []string{eastAddr, westAddr} {
		if took, err := visit(t, l, "town", address, "/cart/x", patience); err != nil {
			t.Errorf("%s after %v: %v", address, took, err)
		}
	}
	if p := l.fabric.Path("town", netip.MustParseAddr("203.0.113.17")); p.Delay != 3*time.Millisecond || p.Loss != 0 || !p.Good() {
		t.Errorf("the path to west is %+v", p)
	}
	if off := statusOf(t, l, "west1").Now.Sub(time.Now().Round(0)).Round(time.Minute); off != 0 {
		t.Errorf("the clock of west1 is off by %v", off)
	}
}
