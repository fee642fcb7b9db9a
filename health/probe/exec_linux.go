package probe

import "golang.org/x/sys/unix"

// ordinary takes from a program the priority that this process may have: it is somebody's script, not ours.
func ordinary(pid int) {
	_ = unix.Setpriority(unix.PRIO_PROCESS, pid, 0) // it may have ended
}
