//go:build faults

package fault

import "os"

// Is reports whether the named defect is switched on by the environment variable CATCHMENT_FAULT.
func Is(name string) bool { return os.Getenv("CATCHMENT_FAULT") == name }
