//go:build !lab

package speaker

import "time"

// How long and how often the tests that need real time go on, in `make test`.
const (
	steadyFor = 2 * time.Second
	cuts      = 1
	allRoles  = false // with others at the far end; else one of two
)
