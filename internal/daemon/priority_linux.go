package daemon

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// preferred is the nice value of a process that must not wait for a processor: it runs as soon as it is woken, before all
// that is ordinary, and has little to do.
const preferred = -15

// Prefer has the kernel run this process before others (setpriority(2)), the threads that it will have and its child
// processes included. It needs CAP_SYS_NICE or a limit that allows it (RLIMIT_NICE); the error says that it has neither.
func Prefer() error {
	for pass := 0; ; pass++ { // a thread may have begun another one while we looked
		raised, err := preferThreads()
		if err != nil {
			return fmt.Errorf("run at nice %d: %w", preferred, err)
		}
		if raised == 0 || pass == maxPasses {
			return nil
		}
	}
}

// maxPasses bounds how often the threads are looked through. Two do, unless threads come by the hundred.
const maxPasses = 8

// preferThreads raises the threads that are not raised yet, and counts them.
func preferThreads() (raised int, err error) {
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return 0, err
	}
	for _, t := range threads {
		id, err := strconv.Atoi(t.Name())
		if err != nil {
			continue
		}
		const zero = 20 // what the system call returns is 20 less the nice value (getpriority(2))
		if is, err := unix.Getpriority(unix.PRIO_PROCESS, id); err != nil || zero-is <= preferred {
			continue
		}
		if err := unix.Setpriority(unix.PRIO_PROCESS, id, preferred); errors.Is(err, unix.ESRCH) {
			continue // it has ended
		} else if err != nil {
			return raised, err
		}
		raised++
	}
	return raised, nil
}
