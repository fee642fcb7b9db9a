package local

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

// A nursery starts child processes that cannot outlive the runner: the kernel kills them when the thread that started
// them ends (PR_SET_PDEATHSIG), even while they are stopped and could not notice by themselves. The signal is bound to
// the thread, so one locked thread does all the starting.
type nursery struct {
	jobs chan func()
	done chan struct{}
}

func newNursery() *nursery {
	n := &nursery{jobs: make(chan func()), done: make(chan struct{})}
	go n.run()
	return n
}

func (n *nursery) run() {
	runtime.LockOSThread() // never unlocked: the thread ends with this goroutine
	defer close(n.done)
	for job := range n.jobs {
		job()
	}
}

func (n *nursery) start(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	result := make(chan error, 1)
	n.jobs <- func() { result <- cmd.Start() }
	return <-result
}

func (n *nursery) close() {
	close(n.jobs)
	<-n.done
}

// The states of a child.
const (
	running = "running"
	killed  = "killed" // by a fault
	frozen  = "frozen" // by a fault
	exited  = "exited" // by itself: a defect
)

// child is one node's process.
type child struct {
	name    string
	argv    []string
	env     []string
	log     string // file that takes its stdout and stderr
	nursery *nursery
	onExit  func(name, state string, err error)

	mu    sync.Mutex // guards the following
	cmd   *exec.Cmd
	state string
	gone  chan struct{} // closed when the present process has been reaped
}

// start starts the process anew.
func (c *child) start() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cmd != nil {
		return fmt.Errorf("start node %q: it is %s", c.name, c.state)
	}
	log, err := os.OpenFile(c.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("open log of node %q: %w", c.name, err)
	}
	defer log.Close()
	cmd := exec.Command(c.argv[0], c.argv[1:]...) //nolint:noctx // its life is the lab's, ended by signal
	cmd.Env, cmd.Stdout, cmd.Stderr = c.env, log, log
	if err := c.nursery.start(cmd); err != nil {
		return fmt.Errorf("start node %q: %w", c.name, err)
	}
	c.cmd, c.state, c.gone = cmd, running, make(chan struct{})
	go c.reap(cmd, c.gone)
	return nil
}

func (c *child) reap(cmd *exec.Cmd, gone chan struct{}) {
	err := cmd.Wait()
	c.mu.Lock()
	if c.state == running || c.state == frozen {
		c.state = exited
	}
	c.cmd = nil
	state := c.state
	c.mu.Unlock()
	close(gone)
	c.onExit(c.name, state, err)
}

// signal sends sig and notes the state that it leads to.
func (c *child) signal(sig syscall.Signal, state string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cmd == nil {
		return fmt.Errorf("node %q is not running (%s)", c.name, c.state)
	}
	if err := c.cmd.Process.Signal(sig); err != nil {
		return fmt.Errorf("signal %v to node %q: %w", sig, c.name, err)
	}
	c.state = state
	return nil
}

// kill ends the process at once and returns when it has been reaped.
func (c *child) kill() error {
	c.mu.Lock()
	gone := c.gone
	c.mu.Unlock()
	if err := c.signal(syscall.SIGKILL, killed); err != nil {
		return err
	}
	<-gone
	return nil
}

// stop ends the process whatever its state; for Down.
func (c *child) stop() {
	if err := c.kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return // it was not running
	}
}

// lastWords is the end of the process's log, for a message.
func (c *child) lastWords() string {
	text, err := os.ReadFile(c.log)
	if err != nil {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return lines[len(lines)-1]
}

func (c *child) status() (state string, pid int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cmd != nil {
		pid = c.cmd.Process.Pid
	}
	return c.state, pid
}
