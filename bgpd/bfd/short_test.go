//go:build linux && !lab

package bfd

import "time"

// neighborIntervals are those at which neighbours are tested: one that they bear on a machine whose cores are busy with other
// tests. With the tag lab it is the fast ones.
func neighborIntervals() []time.Duration { return []time.Duration{200 * ms} }
