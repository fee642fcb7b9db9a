package probe

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// Threads is what the threads of a process have had of the processors so far, by their ids.
type Threads map[int]Thread

// Thread is one of them.
type Thread struct {
	Ran, Waited time.Duration // Waited is without the present wait
	Ready       bool          // it runs, or waits for a processor
}

// ReadThreads asks Linux for the threads of a process; nil where nobody knows, as where /proc is that of another PID
// namespace. It takes some 10 µs a thread.
func ReadThreads(pid int) Threads {
	if self, err := os.Readlink("/proc/self"); err != nil || self != strconv.Itoa(os.Getpid()) {
		return nil
	}
	dir := filepath.Join("/proc", strconv.Itoa(pid), "task")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	all := Threads{}
	for _, e := range entries {
		id, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		times, err := os.ReadFile(filepath.Join(dir, e.Name(), "schedstat"))
		if err != nil {
			continue // it has ended
		}
		stat, err := os.ReadFile(filepath.Join(dir, e.Name(), "stat"))
		if err != nil {
			continue
		}
		if t, ok := parseThread(times, stat); ok {
			all[id] = t
		}
	}
	return all
}

// parseThread reads schedstat, "RAN WAITED SLICES" in nanoseconds, and stat, "ID (NAME) STATE …".
func parseThread(times, stat []byte) (Thread, bool) {
	var ran, waited, slices int64
	if _, err := fmt.Sscan(string(times), &ran, &waited, &slices); err != nil {
		return Thread{}, false
	}
	name := bytes.LastIndexByte(stat, ')')
	if name < 0 || len(stat) < name+3 {
		return Thread{}, false
	}
	return Thread{time.Duration(ran), time.Duration(waited), stat[name+2] == 'R'}, true
}

// starved is how long a thread of the process has waited for a processor since before, which was so long ago. A thread
// that is ready and has hardly run waits now.
func (t Threads) starved(before Threads, ago time.Duration) time.Duration {
	var longest time.Duration
	for id, is := range t {
		was, known := before[id]
		if !known {
			continue
		}
		longest = max(longest, is.Waited-was.Waited)
		if ran := is.Ran - was.Ran; is.Ready && ran < ago/2 {
			longest = max(longest, ago-ran)
		}
	}
	return longest
}
