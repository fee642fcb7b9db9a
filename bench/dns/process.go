//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/miekg/dns"
)

// readyWithin is how long a server may take to answer for the first time.
const readyWithin = 60 * time.Second

// server is one program under test.
type server struct {
	name    string
	can     ability
	command []string
	env     []string
	addr    netip.AddrPort

	cmd *exec.Cmd
	log string
}

// start runs the server on a core, in a session of its own: the scheduler's autogroups then share a core fairly between
// it and what else is on it.
func (s *server) start(ctx context.Context, dir string, core int, raised bool) error {
	s.log = filepath.Join(dir, s.name+".log")
	log, err := os.Create(s.log)
	if err != nil {
		return err
	}
	defer log.Close()
	args := append([]string{"-c", strconv.Itoa(core)}, s.command...)
	s.cmd = exec.Command("taskset", args...) //nolint:gosec,noctx // stop ends it, with all that it started
	s.cmd.Stdout, s.cmd.Stderr, s.cmd.Dir = log, log, dir
	s.cmd.Env = append(os.Environ(), s.env...)
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := s.cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", s.name, err)
	}
	if raised {
		raise(s.cmd.Process.Pid)
	}
	return s.await(ctx)
}

// raise gives a process's session more of a busy machine (sched(7), autogroups), as far as we may.
func raise(pid int) {
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/autogroup", pid), []byte("-20"), 0)
}

func (s *server) await(ctx context.Context) error {
	m := new(dns.Msg)
	m.SetQuestion("static1."+origin, dns.TypeA)
	c := dns.Client{Timeout: 200 * time.Millisecond}
	for end := time.Now().Add(readyWithin); time.Now().Before(end) && ctx.Err() == nil; {
		if r, _, err := c.ExchangeContext(ctx, m, s.addr.String()); err == nil && r.Rcode == dns.RcodeSuccess {
			return nil
		}
		if syscall.Kill(s.cmd.Process.Pid, 0) != nil {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	text, _ := os.ReadFile(s.log)
	return fmt.Errorf("%s does not answer:\n%s", s.name, text)
}

// stop ends the server and all processes of its session.
func (s *server) stop() {
	if s.cmd == nil || s.cmd.Process == nil {
		return
	}
	for _, pid := range s.pids() {
		_ = syscall.Kill(pid, syscall.SIGTERM)
	}
	done := make(chan struct{})
	go func() { _ = s.cmd.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
	}
	for _, pid := range s.pids() {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

// pids are the processes of the server's session.
func (s *server) pids() (list []int) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range stats {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		// pid (comm) state ppid pgrp session …
		_, rest, ok := strings.Cut(string(text), ") ")
		f := strings.Fields(rest)
		if !ok || len(f) < 4 || f[3] != strconv.Itoa(s.cmd.Process.Pid) || f[0] == "Z" {
			continue
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		list = append(list, pid)
	}
	return list
}

// cpu is the processor time of all threads so far.
func (s *server) cpu() (total time.Duration) {
	for _, pid := range s.pids() {
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
		for _, file := range tasks {
			text, _ := os.ReadFile(file)
			ns, _, _ := strings.Cut(string(text), " ")
			n, _ := strconv.ParseInt(ns, 10, 64)
			total += time.Duration(n)
		}
	}
	return total
}

// memory is the resident memory of all processes in MiB.
func (s *server) memory() (mib float64) {
	for _, pid := range s.pids() {
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		_, rest, _ := strings.Cut(string(text), "VmRSS:")
		if f := strings.Fields(rest); len(f) > 0 {
			kib, _ := strconv.ParseFloat(f[0], 64)
			mib += kib / 1024
		}
	}
	return mib
}

// port finds a port that is free for UDP and TCP.
func port() (netip.AddrPort, error) {
	for range 20 {
		t, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it listens for a moment
		if err != nil {
			return netip.AddrPort{}, err
		}
		a := netip.MustParseAddrPort(t.Addr().String())
		u, err := net.ListenPacket("udp", a.String()) //nolint:noctx // as above
		t.Close()
		if err == nil {
			u.Close()
			return a, nil
		}
	}
	return netip.AddrPort{}, errors.New("no port is free for both UDP and TCP")
}
