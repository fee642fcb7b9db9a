//go:build linux && lab

package bfd

import "time"

// neighborIntervals are those at which neighbours are tested.
func neighborIntervals() []time.Duration { return []time.Duration{50 * ms, 10 * ms} }
