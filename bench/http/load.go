//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// result is what one shot gave.
type result struct {
	requests int
	p50, p99 time.Duration
}

// client is one kept connection of the load.
type client struct {
	fd   int
	sent time.Time
	left int // bytes of the body still to come; -1 while the header is awaited
	head []byte
}

// load sends requests over n connections for d, one at a time on each, from one thread on the second core, and counts
// the answers, all of which must be 200. next gives each request. Bodies are thrown away by the kernel (MSG_TRUNC), so
// that the load costs less than what it measures.
func load(to netip.AddrPort, n int, d time.Duration, next func() []byte) (result, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := pin(loadCore); err != nil {
		return result{}, err
	}
	ep, err := unix.EpollCreate1(0)
	if err != nil {
		return result{}, fmt.Errorf("epoll: %w", err)
	}
	defer unix.Close(ep)
	clients := map[int32]*client{}
	defer func() {
		for _, c := range clients {
			_ = unix.Close(c.fd) // all was read
		}
	}()
	for range n {
		fd, err := dial(to)
		if err != nil {
			return result{}, err
		}
		c := &client{fd: fd, head: make([]byte, 0, 8<<10)}
		clients[int32(fd)] = c
		if err := unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}); err != nil {
			return result{}, fmt.Errorf("epoll: %w", err)
		}
		if err := c.send(next()); err != nil {
			return result{}, err
		}
	}
	took := make([]time.Duration, 0, 1<<20)
	events := make([]unix.EpollEvent, n)
	scrap := make([]byte, 1<<20)
	for end := time.Now().Add(d); time.Now().Before(end); {
		k, err := unix.EpollWait(ep, events, 1000)
		if err != nil && err != unix.EINTR {
			return result{}, fmt.Errorf("epoll: %w", err)
		}
		for _, e := range events[:max(k, 0)] {
			c := clients[e.Fd]
			whole, err := c.receive(scrap)
			if err != nil {
				return result{}, err
			}
			if whole {
				took = append(took, time.Since(c.sent))
				if err := c.send(next()); err != nil {
					return result{}, err
				}
			}
		}
	}
	if len(took) == 0 {
		return result{}, fmt.Errorf("no answer in %v", d)
	}
	slices.Sort(took)
	return result{len(took), took[len(took)/2], took[len(took)*99/100]}, nil
}

func dial(to netip.AddrPort) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		err = unix.Connect(fd, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()})
	}
	if err == nil {
		err = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	}
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		return 0, fmt.Errorf("connect to %v: %w", to, err)
	}
	return fd, nil
}

func (c *client) send(request []byte) error {
	c.sent, c.left, c.head = time.Now(), -1, c.head[:0]
	if n, err := unix.Write(c.fd, request); err != nil || n < len(request) {
		return fmt.Errorf("send a request: %d of %d bytes, %w", n, len(request), err)
	}
	return nil
}

// receive takes what has come and reports whether the answer is whole.
func (c *client) receive(scrap []byte) (bool, error) {
	if c.left < 0 {
		n, err := unix.Read(c.fd, c.head[len(c.head):cap(c.head)])
		if errors.Is(err, unix.EAGAIN) {
			return false, nil
		}
		if err != nil || n == 0 {
			return false, fmt.Errorf("read an answer: %d bytes, %w", n, err)
		}
		c.head = c.head[:len(c.head)+n]
		end := bytes.Index(c.head, []byte("\r\n\r\n"))
		if end < 0 {
			return false, nil
		}
		length, err := contentLength(c.head[:end+2])
		if err != nil {
			return false, err
		}
		c.left = length - (len(c.head) - end - 4)
	}
	for c.left > 0 {
		n, _, err := unix.Recvfrom(c.fd, scrap[:min(len(scrap), c.left)], unix.MSG_TRUNC)
		if err == unix.EAGAIN {
			return false, nil
		}
		if err != nil || n == 0 {
			return false, fmt.Errorf("read a body: %d bytes, %w", n, err)
		}
		c.left -= n
	}
	return true, nil
}

// contentLength reads the header of an answer.
func contentLength(head []byte) (int, error) {
	if !bytes.HasPrefix(head, []byte("HTTP/1.1 200 ")) {
		return 0, fmt.Errorf("answered %.80q", head)
	}
	for len(head) > 0 {
		line, rest, _ := bytes.Cut(head, []byte("\r\n"))
		head = rest
		const name = "content-length: "
		if len(line) > len(name) && bytes.EqualFold(line[:len(name)], []byte(name)) {
			return strconv.Atoi(string(line[len(name):]))
		}
	}
	return 0, fmt.Errorf("an answer without Content-Length")
}

// pin keeps the calling thread on one core.
func pin(core int) error {
	var set unix.CPUSet
	set.Set(core)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return fmt.Errorf("pin to core %d: %w", core, err)
	}
	// As for the servers: a load that waits for its core keeps nobody busy. It needs rights, and does without.
	_ = unix.Setpriority(unix.PRIO_PROCESS, 0, -10)
	return nil
}
