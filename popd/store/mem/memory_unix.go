//go:build unix && !race

package mem

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// mapMemory takes n bytes from the kernel, which gives each page when it is first touched, and gives them back when
// owner is unreachable. Where the kernel refuses, the Go heap serves.
func mapMemory(owner *arena, n int64) []byte {
	mem, err := unix.Mmap(-1, 0, int(n), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return make([]byte, n)
	}
	adviseHuge(mem)
	// An error would say that it is not mapped.
	runtime.AddCleanup(owner, func(mem []byte) { _ = unix.Munmap(mem) }, mem)
	return mem
}
