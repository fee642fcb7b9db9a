//go:build linux

package bfd

import "golang.org/x/sys/unix"

// raise has the calling thread run before others where that is permitted, and says what it got. A thread that sends late
// kills the session at the other end. Round robin at its least priority is above every ordinary thread of the host; the
// loop's work is some ten microseconds a packet, so nobody starves by it.
func raise() string {
	attr := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_RR, Flags: unix.SCHED_FLAG_RESET_ON_FORK, Priority: 1}
	if unix.SchedSetAttr(0, &attr, 0) == nil {
		return "round robin"
	}
	if unix.Setpriority(unix.PRIO_PROCESS, 0, -20) == nil { // of the thread alone, whatever the name says
		return "nice -20"
	}
	return "ordinary"
}
