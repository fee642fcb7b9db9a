//go:build linux && !race

package mem

import "golang.org/x/sys/unix"

// adviseHuge asks for large pages: a look-up in a large store then waits for memory once, not twice. A kernel that has none
// says so, and nothing is lost.
func adviseHuge(mem []byte) { _ = unix.Madvise(mem, unix.MADV_HUGEPAGE) }
