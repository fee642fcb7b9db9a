//go:build linux

package kernel_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/catchment-net/catchment/labs/netns/kernel"
)

// role says as what this binary has been started: the test, a runner, or the first process of a household.
const role = "CATCHMENT_TEST_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(role) {
	case "":
		os.Exit(m.Run())
	case "hold":
		check(kernel.Hold(os.Stdin, os.Stdout))
	case "runner":
		check(run())
	case "user": // a runner of somebody who is not root
		cmd := self("runner")
		cmd.Stdin, cmd.Stdout = os.Stdin, os.Stdout
		cmd.SysProcAttr = isolated()
		cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
		check(cmd.Run())
	}
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stdout, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func self(as string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), role+"="+as)
	cmd.Stderr = os.Stderr
	return cmd
}

// isolated starts a process as a lab's runner is: with networks and mounts of its own, and as root of its own users where
// we are not root.
func isolated() *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS}
	if os.Geteuid() != 0 {
		a.Cloneflags |= unix.CLONE_NEWUSER
		a.UidMappings = []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}}
		a.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}}
	}
	return a
}

// run is a runner that starts what it reads, one shell command a line, and prints a line for each. It closes its household
// and ends at "close".
func run() error {
	net, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		return err
	}
	h, err := kernel.NewHousehold(self("hold"))
	if err != nil {
		return err
	}
	fmt.Fprintln(os.Stdout, os.Getpid(), net)
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		if lines.Text() == "close" {
			return h.Close()
		}
		cmd := exec.Command("/bin/sh", "-c", lines.Text())
		said, err := cmd.StdoutPipe()
		if err != nil {
			return err
		}
		if err := h.Start(cmd, nil); err != nil {
			return err
		}
		line, _ := bufio.NewReader(said).ReadString('\n') // a shell that says nothing prints an empty line
		fmt.Fprintln(os.Stdout, cmd.Process.Pid, strings.TrimSpace(line))
		go func() { _ = cmd.Wait() }()
	}
	return lines.Err()
}

// runner is a running runner.
type runner struct {
	t   *testing.T
	in  io.Writer
	out *bufio.Reader
	pid int
	net string // its network namespace, which all its processes share here
}

// eachUser runs a test with a runner of root and with one of somebody else, where the host lets us.
func eachUser(t *testing.T, fn func(*runner)) {
	t.Helper()
	for _, user := range []struct {
		name string
		id   int
	}{{"root", 0}, {"nobody", 65534}} {
		t.Run(user.name, func(t *testing.T) {
			if os.Geteuid() != 0 && user.id == 0 {
				t.Skip("needs root")
			}
			cmd := self("runner")
			cmd.SysProcAttr = isolated()
			if user.id != 0 && os.Geteuid() == 0 {
				cmd = self("user")
				cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(user.id), Gid: uint32(user.id)}}
			}
			fn(start(t, cmd))
		})
	}
}

func start(t *testing.T, cmd *exec.Cmd) *runner {
	t.Helper()
	in, errIn := cmd.StdinPipe()
	out, errOut := cmd.StdoutPipe()
	if err := errors.Join(errIn, errOut); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Skipf("cannot make namespaces here: %v", err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	r := &runner{t: t, in: in, out: bufio.NewReader(out)}
	line := r.read()
	if _, err := fmt.Sscan(line, &r.pid, &r.net); err != nil {
		if strings.Contains(line, "operation not permitted") {
			t.Skipf("cannot make namespaces here: %s", line)
		}
		t.Fatalf("the runner says %q", line)
	}
	return r
}

func (r *runner) read() string {
	r.t.Helper()
	line, err := r.out.ReadString('\n')
	if err != nil && line == "" {
		r.t.Fatalf("the runner says nothing: %v", err)
	}
	return strings.TrimSpace(line)
}

// ask starts a shell command in the household and returns its PID for the runner and the first line that it prints.
func (r *runner) ask(command string) (pid, said string) {
	r.t.Helper()
	fmt.Fprintln(r.in, command)
	pid, said, _ = strings.Cut(r.read(), " ")
	return pid, said
}

// members are the processes in the runner's network namespace, with their command lines.
func (r *runner) members() []string {
	var all []string
	links, _ := filepath.Glob("/proc/[0-9]*/ns/net")
	for _, link := range links {
		if at, err := os.Readlink(link); err != nil || at != r.net {
			continue
		}
		dir := filepath.Dir(filepath.Dir(link))
		line, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		all = append(all, filepath.Base(dir)+" "+strings.ReplaceAll(string(line), "\x00", " "))
	}
	return all
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for limit := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("after 10 s: not %s", what)
		}
	}
}

// daemons are processes that a parent death signal does not reach: one that has left its parent, and one that has another
// user and so has lost the signal (prctl(2)).
var daemons = []string{
	"setsid sleep 600 >/dev/null 2>&1 & echo",
	"(trap '' TERM HUP; setsid sh -c 'sleep 601; :' >/dev/null 2>&1 &) ; echo",
	"[ $(id -u) = 0 ] && setpriv --reuid=65534 --clear-groups sleep 602 2>/dev/null & echo",
	"sleep 603 >/dev/null & kill -STOP $!; echo",
}

func TestNothingOutlivesAKilledRunner(t *testing.T) {
	eachUser(t, func(r *runner) {
		for _, d := range daemons {
			r.ask(d)
		}
		if n := len(r.members()); n < 2+3 {
			r.t.Fatalf("%d processes run, want the runner, the first one and at least 3 daemons: %q", n, r.members())
		}
		if err := syscall.Kill(r.pid, syscall.SIGKILL); err != nil {
			r.t.Fatal(err)
		}
		until(r.t, "everybody gone", func() bool { return len(r.members()) == 0 })
	})
}

func TestCloseLeavesNobody(t *testing.T) {
	eachUser(t, func(r *runner) {
		for _, d := range daemons {
			r.ask(d)
		}
		fmt.Fprintln(r.in, "close")
		if rest, err := io.ReadAll(r.out); err != nil || len(rest) > 0 {
			r.t.Errorf("the runner says %q, %v", rest, err)
		}
		until(r.t, "everybody gone", func() bool { return len(r.members()) == 0 })
	})
}

func TestPIDsAreTheRunnersOutsideAndOwnInside(t *testing.T) {
	eachUser(t, func(r *runner) {
		pid, said := r.ask(`echo $$ $(sed -n 's/^Pid:.//p' /proc/$$/status); exec sleep 600`)
		inside := strings.Fields(said)
		if len(inside) != 2 || inside[0] != inside[1] {
			r.t.Errorf("its own PID and that in its /proc: %q, want the same", said)
		}
		status, err := os.ReadFile("/proc/" + pid + "/status")
		if err != nil {
			r.t.Fatal(err)
		}
		if want := "NSpid:\t" + pid + "\t" + inside[0] + "\n"; !strings.Contains(string(status), want) {
			r.t.Errorf("status of process %s of the host lacks %q", pid, want)
		}
	})
}

func TestOrphansAreReaped(t *testing.T) {
	eachUser(t, func(r *runner) {
		for range 20 {
			r.ask("(sleep 0.01 >/dev/null &) ; echo")
		}
		until(r.t, "the orphans reaped", func() bool { return len(r.members()) == 2 }) // the runner and the first process
	})
}

func TestChildrenStartWhereTheRunnerIs(t *testing.T) {
	t.Chdir(t.TempDir())
	want, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	cmd := self("runner")
	cmd.SysProcAttr = isolated()
	r := start(t, cmd)
	fmt.Fprintln(r.in, "pwd")
	if _, got, _ := strings.Cut(r.read(), " "); got != want {
		t.Errorf("a child is in %q, want %q", got, want)
	}
}

func TestHoldRefusesToBeAnOrdinaryProcess(t *testing.T) {
	err := kernel.Hold(strings.NewReader(""), io.Discard)
	if err == nil || !strings.Contains(err.Error(), strconv.Itoa(os.Getpid())) {
		t.Errorf("got %v, want an error that names process %d", err, os.Getpid())
	}
}
