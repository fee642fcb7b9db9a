// Package wallclock is a wall clock that a lab can set wrong while its node runs, as on a machine whose NTP has gone. The
// monotonic clock goes on, as it does there: a step of the wall clock must not shorten or lengthen any interval.
//
//	lab ── Set ──► 8 bytes in a file ◄── shared mapping ── the node's processes, at every Now
//
// The file is the machine: a node that is started again finds its clock as wrong as it was.
package wallclock

import (
	"encoding/binary"
	"fmt"
	"os"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// size is that of the file: nanoseconds as a 64-bit number in the host's byte order.
const size = 8

// Set makes every Clock of the file go wrong by so much, from now on. The file is made where it is missing.
func Set(file string, by time.Duration) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("set clock: %w", err)
	}
	var text [size]byte
	binary.NativeEndian.PutUint64(text[:], uint64(by))
	_, err = f.WriteAt(text[:], 0)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("set clock: %w", err)
	}
	return nil
}

// Clock tells a time that may be wrong. It is safe for concurrent use.
type Clock struct{ by *atomic.Int64 }

// Open maps a file that Set has made. The mapping lasts as long as the process.
func Open(file string) (*Clock, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("open clock: %w", err)
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || info.Size() < size {
		return nil, fmt.Errorf("open clock %q: it has no offset (error %w)", file, err) // a mapping beyond the end would kill the process
	}
	mem, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map clock %q: %w", file, err)
	}
	return &Clock{(*atomic.Int64)(unsafe.Pointer(&mem[0]))}, nil //nolint:gosec // a page of its own, aligned
}

// Now is time.Now with the wall clock's step.
func (c *Clock) Now() time.Time { return step(time.Now(), time.Duration(c.by.Load())) }

// layout is that of time.Time, which has no way to move one of its two clocks alone; a test holds it.
type layout struct {
	wall uint64
	ext  int64
	loc  *time.Location
}

// hasMonotonic is the bit in wall that says that ext is the monotonic reading.
const hasMonotonic = 1 << 63

// step moves the wall clock's reading of t by so much, and leaves the monotonic one alone.
func step(t time.Time, by time.Duration) time.Time {
	if by == 0 {
		return t
	}
	moved := t.Add(by)                                                           // both
	from, to := (*layout)(unsafe.Pointer(&t)), (*layout)(unsafe.Pointer(&moved)) //nolint:gosec // see layout
	if from.wall&to.wall&hasMonotonic != 0 {
		to.ext = from.ext
	}
	return moved
}
