//go:build linux

// Package kernel is the Linux kernel's part of ending a lab in network namespaces: the processes of the lab live in a PID
// namespace, which the kernel empties when the runner is gone.
//
//	lab serve (runner) ──┬── lifeline (a pipe) ──▶ Hold: PID 1 of the household
//	                     └── Start ──────────────▶ nodes, routers, `lab exec`, and whatever they leave behind
//
// Without it a daemon that a node's process forked, or a process that changed its user, outlives the runner and keeps its
// machine's network namespace: the kernel forgets PR_SET_PDEATHSIG over both.
package kernel

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// Household is a PID namespace with the processes that were started in it and their descendants. None of them outlives
// the process that made it, however that ends. Its processes have ordinary PIDs for the maker, and see only each other in
// /proc.
//
// Its methods are safe for concurrent use. Start is not called after Close.
type Household struct {
	first *exec.Cmd // runs Hold
	life  *os.File  // our end of the lifeline
	jobs  chan func()
	done  chan struct{}
}

// NewHousehold makes a household around first, a command that calls Hold with its stdin and stdout. It needs to be root,
// or root of its user namespace. The household takes the mounts as they are now: what is mounted later is not seen there.
func NewHousehold(first *exec.Cmd) (*Household, error) {
	there, life, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make lifeline: %w", err)
	}
	defer there.Close()
	first.Stdin = there
	first.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS, Setpgid: true}
	h := &Household{first: first, life: life, jobs: make(chan func()), done: make(chan struct{})}
	if err := h.found(); err != nil {
		life.Close()
		return nil, fmt.Errorf("make household: %w", err)
	}
	entered := make(chan error, 1)
	go h.run(entered)
	if err := <-entered; err != nil {
		return nil, errors.Join(fmt.Errorf("enter household: %w", err), h.end())
	}
	return h, nil
}

// found starts the first process and waits until it says that all is in place.
func (h *Household) found() error {
	said, err := h.first.StdoutPipe()
	if err != nil {
		return err
	}
	if err := h.first.Start(); err != nil {
		return err
	}
	line, err := bufio.NewReader(said).ReadString('\n')
	if line == ready {
		return nil
	}
	h.life.Close()
	return errors.Join(fmt.Errorf("its first process said %q", line), err, h.first.Wait())
}

// run is the thread whose children are born in the household. It is never unlocked: it ends with this goroutine, and
// nobody else is run where it is.
func (h *Household) run(entered chan<- error) {
	runtime.LockOSThread()
	defer close(h.done)
	err := enter(h.first.Process.Pid)
	entered <- err
	if err != nil {
		return
	}
	for job := range h.jobs {
		job()
	}
}

// enter makes the children of the calling thread members of a process's PID namespace, and the thread see its mounts.
func enter(pid int) error {
	var errs []error
	for _, ns := range []struct {
		name string
		kind int
	}{{"pid", unix.CLONE_NEWPID}, {"mnt", unix.CLONE_NEWNS}} {
		f, err := os.Open(fmt.Sprintf("/proc/%d/ns/%s", pid, ns.name))
		if err != nil {
			return err
		}
		defer f.Close()
		if ns.kind == unix.CLONE_NEWNS { // the kernel wants the root and working directory to be this thread's alone
			errs = append(errs, os.NewSyscallError("unshare", unix.Unshare(unix.CLONE_FS)))
		}
		// The mounts come last: in the household's /proc the runner is not to be found.
		errs = append(errs, os.NewSyscallError("setns", unix.Setns(int(f.Fd()), ns.kind)))
	}
	return errors.Join(errs...)
}

// Start starts a command in the household. Within, where it is given, calls its argument in the surroundings in which the
// child is to be born, on the thread that it is called on. The caller waits for the command. PR_SET_PDEATHSIG must not be
// asked for: a child whose parent is in another PID namespace takes it for dead (package syscall, forkAndExecInChild).
func (h *Household) Start(cmd *exec.Cmd, within func(func() error) error) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	if cmd.SysProcAttr.Pdeathsig != 0 {
		return fmt.Errorf("start %q: a household ends its processes without a parent death signal", cmd.Path)
	}
	cmd.SysProcAttr.Setpgid = true
	if cmd.Dir == "" { // the thread's own is the root since it entered
		dir, err := os.Getwd()
		if err != nil {
			return fmt.Errorf("start %q: %w", cmd.Path, err)
		}
		cmd.Dir = dir
	}
	if within == nil {
		within = func(start func() error) error { return start() }
	}
	result := make(chan error, 1)
	h.jobs <- func() { result <- within(cmd.Start) }
	return <-result
}

// Close kills whatever is left in the household and returns when nothing is, which takes that the callers of Start wait
// for their commands. It is called once.
func (h *Household) Close() error {
	close(h.jobs)
	<-h.done
	return h.end()
}

func (h *Household) end() error {
	_ = h.first.Process.Kill() // it may have died already, and everybody with it
	err := h.first.Wait()
	h.life.Close()
	if status, ok := h.first.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() && status.Signal() == unix.SIGKILL {
		return nil
	}
	return fmt.Errorf("end household: its first process had ended by itself: %w", err)
}
