//go:build lab

package announce

import "time"

const (
	schedules   = 100_000
	steadyEvery = recordEvery
	steadyNodes = 2
	steadyFor   = 24 * time.Hour
)

func deaths() []int { return []int{0, 1, 2, 3, 4, 5, 6, 7} }

func delays() []time.Duration {
	return []time.Duration{0, time.Millisecond, 50 * time.Millisecond, 120 * time.Millisecond, 300 * time.Millisecond}
}
