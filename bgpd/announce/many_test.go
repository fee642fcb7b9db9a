//go:build lab

package announce

import "time"

const (
	schedules   = 100_000
	steadyEvery = recordEvery
	steadyNodes = 2
)

func delays() []time.Duration {
	return []time.Duration{0, time.Millisecond, 50 * time.Millisecond, 120 * time.Millisecond, 300 * time.Millisecond}
}
