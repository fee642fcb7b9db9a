//go:build !unix || race

package mem

// mapMemory takes n bytes from the Go heap, without pointers for the collector to follow. The race detector sees no
// other memory, which is why it gets this one.
func mapMemory(_ *arena, n int64) []byte { return make([]byte, n+unit)[:n:n] }
