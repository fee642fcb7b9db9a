//go:build lab

package speaker

import "time"

// How long and how often the tests that need real time go on, in `make lab`.
const (
	steadyFor = 2 * time.Minute
	cuts      = 50
	allRoles  = true // with others at the far end; else one of two
)
