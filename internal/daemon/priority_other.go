//go:build !linux

package daemon

import "errors"

// Prefer does nothing here, which its error says.
func Prefer() error { return errors.New("threads are given priority on Linux alone") }
