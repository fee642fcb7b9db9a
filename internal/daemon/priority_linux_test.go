package daemon

import (
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// In a process of its own: a test must not take the machine from the others.
func TestPrefer(t *testing.T) {
	if os.Getenv("CATCHMENT_TEST_PREFER") == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestPrefer$", "-test.v")
		cmd.Env = append(os.Environ(), "CATCHMENT_TEST_PREFER=1")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if strings.Contains(string(out), "--- SKIP") {
			t.Skipf("%s", out)
		}
		return
	}
	if err := Prefer(); err != nil {
		t.Skip("no right to priority:", err)
	}
	var threads sync.WaitGroup
	for range 20 { // some of them are begun for this
		threads.Go(func() {
			runtime.LockOSThread()
			if is, err := unix.Getpriority(unix.PRIO_PROCESS, unix.Gettid()); err != nil || 20-is != preferred {
				t.Errorf("a thread has nice %d, %v; want %d", 20-is, err, preferred)
			}
		})
	}
	threads.Wait()
}
