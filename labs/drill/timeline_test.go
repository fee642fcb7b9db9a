package drill

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/catchment-net/catchment/internal/event"
)

// TestBothFamiliesOfOneRouterAreOneLine: also when another router's changes come between; what differs, or comes later,
// has a line of its own.
func TestBothFamiliesOfOneRouterAreOneLine(t *testing.T) {
	var out bytes.Buffer
	line := newTimeline(&out, false, nil, 0)
	best := func(router, prefix, pop string, ms int) {
		line.event(event.Event{
			Mono: int64(time.Duration(ms) * time.Millisecond), Node: router, Kind: event.Best, Subject: prefix, State: "announced",
			Detail: map[string]string{"pop": pop, "via": pop + "1"},
		})
	}
	const v4, v6 = "192.0.2.0/24", "2001:db8:53::/48"
	best("arc", v4, "nyc", 1010)
	best("biz", v4, "nyc", 1012)
	best("arc", v6, "nyc", 1013)
	best("biz", v6, "sin", 1014)
	line.flush(int64(1011 * time.Millisecond))
	best("arc", v4, "nyc", 1100)
	line.flush(int64(2 * time.Second))
	want := strings.Join([]string{
		"   1.010s  arc       best     192.0.2.0/24 2001:db8:53::/48 → nyc via nyc1",
		"   1.012s  biz       best     192.0.2.0/24 → nyc via nyc1",
		"   1.014s  biz       best     2001:db8:53::/48 → sin via sin1",
		"   1.100s  arc       best     192.0.2.0/24 → nyc via nyc1",
		"",
	}, "\n")
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}
