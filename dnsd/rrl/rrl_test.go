package rrl

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func limiter(tb testing.TB, o Options) (*Limiter, time.Time) {
	tb.Helper()
	now := time.Unix(1_800_000_000, 0)
	l, err := New(o, now)
	if err != nil {
		tb.Fatal(err)
	}
	return l, now
}

// A network gets a window's worth at once and the rate from then on; others, and other answers, are not touched.
func TestRate(t *testing.T) {
	l, now := limiter(t, Options{Rate: 10, Window: 2 * time.Second, Slip: 2})
	victim := netip.MustParseAddr("192.0.2.1")
	count := func(a netip.Addr, key uint64, n int) (got [3]int) {
		for range n {
			got[l.Take(a, key, now)]++
		}
		return got
	}
	if got := count(victim, 1, 100); got != [3]int{20, 40, 40} {
		t.Errorf("100 at once: sent, dropped, truncated %v; want 20, and half of the rest each", got)
	}
	for _, c := range []struct {
		rule, client string
		key          uint64
		want         int
	}{
		{"the same network", "192.0.2.200", 1, 0},
		{"another network", "192.0.3.1", 1, 10},
		{"another answer", "192.0.2.1", 2, 10},
		{"IPv6", "2001:db8::1", 1, 10},
		{"the same /56", "2001:db8:0:ff::2", 1, 10},
		{"the same /56 once more", "2001:db8:0:80::2", 1, 0},
		{"the next /56", "2001:db8:0:100::2", 1, 10},
	} {
		if got := count(netip.MustParseAddr(c.client), c.key, 10); got[Send] != c.want {
			t.Errorf("%s: sent %d, want %d", c.rule, got[Send], c.want)
		}
	}
	now = now.Add(time.Second)
	if got := count(victim, 1, 100); got[Send] != 10 {
		t.Errorf("a second later: sent %d, want the rate of 10", got[Send])
	}
}

func TestSlip(t *testing.T) {
	for slip, want := range map[int][3]int{-1: {1, 99, 0}, 1: {1, 0, 99}, 3: {1, 66, 33}} {
		l, now := limiter(t, Options{Rate: 1, Window: time.Second, Slip: slip})
		var got [3]int
		for range 100 {
			got[l.Take(netip.MustParseAddr("192.0.2.1"), 0, now)]++
		}
		if got != want {
			t.Errorf("slip %d: sent, dropped, truncated %v; want %v", slip, got, want)
		}
	}
}

func TestNoLimit(t *testing.T) {
	l, now := limiter(t, Options{Rate: -1})
	for range 10_000 {
		if l.Take(netip.MustParseAddr("192.0.2.1"), 0, now) != Send {
			t.Fatal("limited")
		}
	}
}

func TestNewRefuses(t *testing.T) {
	for _, c := range []struct {
		o    Options
		want string
	}{{Options{Rate: 2_000_000}, "2000000"}, {Options{Window: -1}, "window"}, {Options{Size: 1}, "1 accounts"}, {Options{Size: 1 << 30}, "accounts"}} {
		if _, err := New(c.o, time.Time{}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: error %v, want %q", c.o, err, c.want)
		}
	}
}

// However the answers come, no network gets more of one than the window and the rate allow, and one that stays below the
// rate gets all.
func TestNeverTooMany(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		rate := rapid.IntRange(1, 1000).Draw(rt, "rate")
		l, err := New(Options{Rate: rate, Window: time.Second, Size: 64}, time.Unix(0, 0))
		if err != nil {
			rt.Fatal(err)
		}
		began := time.Unix(1, 0)
		now := began
		sent := 0
		victim := netip.MustParseAddr("2001:db8::1")
		for range rapid.IntRange(1, 400).Draw(rt, "n") {
			now = now.Add(time.Duration(rapid.IntRange(0, 20_000).Draw(rt, "gap")) * time.Microsecond)
			if l.Take(victim, 7, now) == Send {
				sent++
			}
		}
		if allowed := float64(rate)*(1.001+now.Sub(began).Seconds()) + 1; float64(sent) > allowed {
			rt.Fatalf("%d sent in %v at %d/s", sent, now.Sub(began), rate)
		}
		gap := time.Second/time.Duration(rate) + time.Microsecond
		now = now.Add(3 * time.Second)
		for range 50 {
			if l.Take(victim, 7, now) != Send {
				rt.Fatal("limited below the rate")
			}
			now = now.Add(gap)
		}
	})
}

// Many networks at once make it forget, not grow, and the metric says so.
func TestForgets(t *testing.T) {
	l, now := limiter(t, Options{Rate: 1, Size: 16})
	for i := range 1000 {
		l.Take(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 1}), 0, now)
	}
	if l.Forgotten() < 900 {
		t.Errorf("%d forgotten, want nearly 984", l.Forgotten())
	}
}

func BenchmarkTake(b *testing.B) {
	l, now := limiter(b, Options{})
	a := netip.MustParseAddr("192.0.2.1")
	key := uint64(0)
	b.ReportAllocs()
	for b.Loop() {
		key++
		l.Take(a, key&0xfff, now)
	}
}
