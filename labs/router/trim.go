//go:build linux

package router

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// trimAfter is when a router's start is over: its sessions stand within a second.
const trimAfter = 2 * time.Second

// trim gives back what only the start needed. A lab has many routers, and to each the kernel counts what lies around every
// page of the program that it touched, 64 KiB at a time: nearly the whole of it. What is needed again is mapped again
// from memory, without reading anything.
func (m *machine) trim(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-time.After(trimAfter):
	}
	debug.FreeOSMemory()
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find own program: %w", err)
	}
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return fmt.Errorf("read own memory map: %w", err)
	}
	defer maps.Close()
	for _, r := range programPages(maps, self) {
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, r[0], r[1]-r[0], unix.MADV_DONTNEED); errno != 0 {
			return fmt.Errorf("give back pages of the program: %w", errno)
		}
	}
	return nil
}

// programPages finds where a program's code and constants lie: what cannot be written, and so is in the file as it is.
func programPages(maps io.Reader, program string) [][2]uintptr {
	var all [][2]uintptr
	for s := bufio.NewScanner(maps); s.Scan(); {
		f := strings.Fields(s.Text())
		if len(f) != 6 || f[5] != program || len(f[1]) != 4 || f[1][1] == 'w' {
			continue
		}
		var from, to uintptr
		if _, err := fmt.Sscanf(f[0], "%x-%x", &from, &to); err == nil {
			all = append(all, [2]uintptr{from, to})
		}
	}
	return all
}
