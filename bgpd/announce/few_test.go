//go:build !lab

package announce

import "time"

// What an ordinary run plays, in seconds; with the build tag lab it takes minutes.
const (
	schedules   = 150
	steadyEvery = 1900 * time.Millisecond // as seldom as words may be repeated
	steadyNodes = 1
	steadyFor   = 6 * time.Hour
)

// deaths are those of three POPs that die rather than hang, as bits. The orders say which come first, so one set of each
// size does.
func deaths() []int { return []int{0b000, 0b001, 0b011, 0b111} }

func delays() []time.Duration { return []time.Duration{300 * time.Millisecond} }
