//go:build linux

package kernel

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

// ready is what Hold says when the household is in place.
const ready = "ready\n"

// Hold is the whole life of a household's first process, PID 1 in it. It reaps those whose parents have ended, and returns
// when the lifeline does; the caller then ends the process, and the kernel all others with it.
func Hold(lifeline io.Reader, say io.Writer) error {
	if os.Getpid() != 1 {
		return fmt.Errorf("hold a household as process %d: want to be the first process of a PID namespace", os.Getpid())
	}
	if err := mountProc(); err != nil {
		return err
	}
	children := make(chan os.Signal, 1)
	signal.Notify(children, unix.SIGCHLD)
	defer signal.Stop(children)
	ended := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, lifeline)
		ended <- err
	}()
	if _, err := io.WriteString(say, ready); err != nil {
		return fmt.Errorf("say that the household is in place: %w", err)
	}
	for {
		select {
		case err := <-ended:
			return err
		case <-children:
			reap()
		}
	}
}

// mountProc shows the household's own processes in /proc: a process that looks itself up by its PID finds itself. Mounts
// made here are not seen elsewhere. A container that hides parts of its /proc lets nobody mount another (EPERM); there the
// old one stays.
func mountProc() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
	if err != nil && !errors.Is(err, unix.EPERM) {
		return fmt.Errorf("mount /proc: %w", err)
	}
	return nil
}

// reap takes the status of every child that has ended. One signal may stand for several.
func reap() {
	for {
		pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if pid <= 0 {
			return
		}
	}
}
