//go:build !linux

package probe

// ordinary has nothing to take away here.
func ordinary(int) {}
