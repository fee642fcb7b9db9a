//go:build unix && !linux && !race

package mem

// adviseHuge does nothing: other kernels choose the size of pages themselves.
func adviseHuge([]byte) {}
