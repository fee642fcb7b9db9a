//go:build lab

package announce

const (
	schedules   = 100_000
	steadyEvery = recordEvery
	steadyNodes = 2
)
