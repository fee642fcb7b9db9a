//go:build !lab

package announce

import "time"

// What an ordinary run plays, in seconds; with the build tag lab it takes minutes.
const (
	schedules   = 300
	steadyEvery = 1900 * time.Millisecond // as seldom as words may be repeated
	steadyNodes = 1
)

func delays() []time.Duration { return []time.Duration{300 * time.Millisecond} }
