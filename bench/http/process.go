//go:build linux

package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Which core does what.
const (
	serverCore = 0
	loadCore   = 1
)

// process is a started server with all that it starts itself, in a session of its own.
type process struct {
	cmd *exec.Cmd
	log string // file of its output
}

// begin starts argv on a core.
func begin(ctx context.Context, core int, log string, argv ...string) (*process, error) {
	f, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	start := []string{"-c", strconv.Itoa(core)}
	if os.Getuid() == 0 {
		start = append(start, "nice", "-n", "-10") // other work on the core shall not fill its caches in between
	}
	cmd := exec.CommandContext(ctx, "taskset", append(start, argv...)...) //nolint:gosec // the bench's own words
	cmd.Stdout, cmd.Stderr = f, f
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", argv[0], err)
	}
	return &process{cmd, log}, nil
}

// end stops all of it.
func (p *process) end() {
	for _, pid := range p.pids() {
		_ = syscall.Kill(pid, syscall.SIGKILL) // gone already if it fails
	}
	_ = p.cmd.Wait() // it was killed
}

// pids are the processes of the session, and the children of any of them.
func (p *process) pids() []int {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	parents := map[int]int{}
	var all []int
	for _, file := range stats {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // ended meanwhile
		}
		// The name in brackets may hold anything; after it come state, parent, group, session.
		fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		parents[pid], _ = strconv.Atoi(fields[1])
		if session, _ := strconv.Atoi(fields[3]); session == p.cmd.Process.Pid {
			all = append(all, pid)
		}
	}
	for i := 0; i < len(all); i++ {
		for pid, parent := range parents {
			if parent == all[i] && !slices.Contains(all, pid) {
				all = append(all, pid)
			}
		}
	}
	return all
}

// usage is what a server has taken.
type usage struct {
	cpu time.Duration // on a processor, of all its threads
	rss int64         // bytes
}

func (p *process) usage() usage {
	var u usage
	for _, pid := range p.pids() {
		files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				continue // a thread that has ended
			}
			ns, _, _ := strings.Cut(string(text), " ")
			n, _ := strconv.ParseInt(ns, 10, 64)
			u.cpu += time.Duration(n)
		}
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
		if fields := strings.Fields(string(text)); len(fields) > 1 {
			n, _ := strconv.ParseInt(fields[1], 10, 64)
			u.rss += n * int64(os.Getpagesize())
		}
	}
	return u
}

// said is the end of what a process wrote.
func (p *process) said() string {
	text, _ := os.ReadFile(p.log)
	return string(text[max(0, len(text)-2000):])
}

var loopback = netip.MustParseAddr("127.0.0.1")
