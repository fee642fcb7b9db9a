package gossip

import (
	"slices"
	"testing"
	"time"
)

// A seed that is not reached is asked again soon, and ever more seldom.
func TestPace(t *testing.T) {
	const s = time.Second
	p := pace{short: s / 4, long: 5 * s}
	var got []time.Duration
	for _, look := range []struct {
		last    found
		members int
	}{
		{notReached, 1},
		{notReached, 1},
		{joined, 2},
		{notReached, 2},
		{notReached, 2},
		{notReached, 2},
		{notReached, 2},
		{notReached, 2},
		{notReached, 2},
		{allMembers, 3},
		{notReached, 2},
		{notReached, 2},
	} {
		got = append(got, p.next(look.last, look.members))
	}
	if want := []time.Duration{s / 4, s / 4, s / 4, s / 2, s, 2 * s, 4 * s, 5 * s, 5 * s, 5 * s, s / 4, s / 2}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
