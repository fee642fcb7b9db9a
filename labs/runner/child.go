// Package runner holds what every runner of a lab shares: the folder of its run-time files, the processes of its nodes,
// its users and their access ports, and the API by which other processes drive it.
package runner

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
)

// A Nursery starts child processes that cannot outlive the runner: the kernel kills them when the thread that started
// them ends (PR_SET_PDEATHSIG), even while they are stopped and could not notice by themselves. The signal is bound to
// the thread, so one locked thread does all the starting.
type Nursery struct {
	jobs chan func()
	done chan struct{}
}

// A Starter starts child processes that cannot outlive the runner: a Nursery, or a household of the kernel's. Within, where
// it is given, calls its argument in the surroundings in which the child is to be born, on the thread that it is called on.
type Starter interface {
	Start(cmd *exec.Cmd, within func(func() error) error) error
}

// NewNursery starts the thread that starts children.
func NewNursery() *Nursery {
	n := &Nursery{jobs: make(chan func()), done: make(chan struct{})}
	go n.run()
	return n
}

func (n *Nursery) run() {
	runtime.LockOSThread() // never unlocked: the thread ends with this goroutine
	defer close(n.done)
	for job := range n.jobs {
		job()
	}
}

// Start starts a command that dies with this process.
func (n *Nursery) Start(cmd *exec.Cmd, within func(func() error) error) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	result := make(chan error, 1)
	n.jobs <- func() {
		if within == nil {
			result <- cmd.Start()
			return
		}
		result <- within(cmd.Start)
	}
	return <-result
}

// Close ends the thread, and with it every child that still runs.
func (n *Nursery) Close() {
	close(n.jobs)
	<-n.done
}

// The states of a child.
const (
	Alive  = "running"
	Killed = "killed" // by a fault
	Frozen = "frozen" // by a fault
	Exited = "exited" // by itself: a defect
)

// Child is one process of a lab. All fields but Within are required.
type Child struct {
	Name    string // "ams1", or "ams1/popd" where a node has several
	Argv    []string
	Env     []string
	Log     string // file that takes its stdout and stderr
	Nursery Starter
	Within  func(func() error) error // the surroundings in which it is born; nil means the runner's
	OnExit  func(name, state string, err error)

	mu    sync.Mutex // guards the following
	cmd   *exec.Cmd
	state string
	gone  chan struct{} // closed when the present process has been reaped
}

// Start starts the process anew.
func (c *Child) Start() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cmd != nil {
		return fmt.Errorf("start %q: it is %s", c.Name, c.state)
	}
	log, err := os.OpenFile(c.Log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("open log of %q: %w", c.Name, err)
	}
	defer log.Close()
	cmd := exec.Command(c.Argv[0], c.Argv[1:]...) //nolint:noctx // its life is the lab's, ended by signal
	cmd.Env, cmd.Stdout, cmd.Stderr = c.Env, log, log
	if err := c.Nursery.Start(cmd, c.Within); err != nil {
		return fmt.Errorf("start %q: %w", c.Name, err)
	}
	c.cmd, c.state, c.gone = cmd, Alive, make(chan struct{})
	go c.reap(cmd, c.gone)
	return nil
}

func (c *Child) reap(cmd *exec.Cmd, gone chan struct{}) {
	err := cmd.Wait()
	c.mu.Lock()
	if c.state == Alive || c.state == Frozen {
		c.state = Exited
	}
	c.cmd = nil
	state := c.state
	c.mu.Unlock()
	close(gone)
	c.OnExit(c.Name, state, err)
}

// Signal sends sig and notes the state that it leads to.
func (c *Child) Signal(sig syscall.Signal, state string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cmd == nil {
		return fmt.Errorf("%q is not running (%s)", c.Name, c.state)
	}
	if err := c.cmd.Process.Signal(sig); err != nil {
		return fmt.Errorf("signal %v to %q: %w", sig, c.Name, err)
	}
	c.state = state
	return nil
}

// Kill ends the process at once and returns when it has been reaped.
func (c *Child) Kill() error {
	c.mu.Lock()
	gone := c.gone
	c.mu.Unlock()
	if err := c.Signal(syscall.SIGKILL, Killed); err != nil {
		return err
	}
	<-gone
	return nil
}

// Stop ends the process whatever its state; for Down.
func (c *Child) Stop() {
	if err := c.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return // it was not running
	}
}

// LastWords is the end of the process's log, for a message.
func (c *Child) LastWords() string {
	text, err := os.ReadFile(c.Log)
	if err != nil {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return lines[len(lines)-1]
}

// Status is its state and, while it runs, its process.
func (c *Child) Status() (state string, pid int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cmd != nil {
		pid = c.cmd.Process.Pid
	}
	return c.state, pid
}
