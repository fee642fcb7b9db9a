//go:build !lab

package announce

import "time"

// What an ordinary run plays, in seconds; with the build tag lab it takes minutes.
const (
	schedules   = 500
	steadyEvery = 1900 * time.Millisecond // as seldom as words may be repeated
	steadyNodes = 1
)
