//go:build linux

package main

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The shape of the load.
const (
	outstanding = 256                    // queries under way in a flood
	burst       = 64                     // packets of one system call
	answerRoom  = 1500                   // bytes
	lostAfter   = 100 * time.Millisecond // without any answer, what is under way counts as lost
	calmRate    = 10_000                 // queries a second
)

type mmsghdr struct {
	hdr unix.Msghdr
	_   uint32 // bytes received
}

// load asks one server from one socket. It belongs to one goroutine on a thread of its own.
type load struct {
	fd        int
	questions []question
	next      int

	out, in   [burst]mmsghdr
	outv, inv [burst]unix.Iovec
	answers   [burst][answerRoom]byte
	queries   [burst][512]byte
}

// newLoad pins the calling thread to a core and connects to a server. The thread ends with its goroutine.
func newLoad(server netip.AddrPort, questions []question, core int) (*load, error) {
	runtime.LockOSThread()
	var set unix.CPUSet
	set.Set(core)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return nil, fmt.Errorf("run the load on core %d: %w", core, err)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open the load's socket: %w", err)
	}
	l := &load{fd: fd, questions: questions}
	if err := unix.Connect(fd, &unix.SockaddrInet4{Addr: server.Addr().As4(), Port: int(server.Port())}); err != nil {
		l.close()
		return nil, fmt.Errorf("connect to %v: %w", server, err)
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 4<<20)
	tv := unix.NsecToTimeval(int64(lostAfter))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
		l.close()
		return nil, fmt.Errorf("set the load's timeout: %w", err)
	}
	for i := range burst {
		l.inv[i].Base = &l.answers[i][0]
		l.inv[i].SetLen(answerRoom)
		l.in[i].hdr.Iov, l.out[i].hdr.Iov = &l.inv[i], &l.outv[i]
		l.in[i].hdr.SetIovlen(1)
		l.out[i].hdr.SetIovlen(1)
	}
	return l, nil
}

func (l *load) close() { unix.Close(l.fd) }

// send sends n queries, the next in turn; their ids are their places.
func (l *load) send(n int) {
	for n > 0 {
		k := min(n, burst)
		for i := range k {
			q := l.queries[i][:copy(l.queries[i][:], l.questions[l.next%len(l.questions)].packet)]
			binary.BigEndian.PutUint16(q, uint16(l.next))
			l.outv[i].Base = &q[0]
			l.outv[i].SetLen(len(q))
			l.next++
		}
		// What a full queue refuses is lost, as on a network; the flood finds out by itself.
		_, _, _ = unix.Syscall6(unix.SYS_SENDMMSG, uintptr(l.fd), uintptr(unsafe.Pointer(&l.out)), uintptr(k), 0, 0, 0)
		n -= k
	}
}

func (l *load) receive(flags int) int {
	n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(l.fd), uintptr(unsafe.Pointer(&l.in)), burst, uintptr(flags), 0, 0)
	if errno != 0 {
		return 0
	}
	return int(n)
}

// flood keeps so many queries under way until the time is up, and returns how many were answered and how many got lost.
func (l *load) flood(d time.Duration) (answered, lost int) {
	end := time.Now().Add(d)
	l.send(outstanding)
	for time.Now().Before(end) {
		n := l.receive(unix.MSG_WAITFORONE)
		answered += n
		if n == 0 {
			lost += outstanding
			n = outstanding
		}
		l.send(n)
	}
	for l.receive(unix.MSG_WAITFORONE) > 0 { // the rest, so that the next load does not get it
		if l.receive(unix.MSG_DONTWAIT) == 0 {
			break
		}
	}
	return answered, lost
}

// calm sends at a steady rate and returns how long each answer took.
func (l *load) calm(d time.Duration) (took []time.Duration, sent int) {
	var at [1 << 16]time.Time
	began := time.Now()
	const gap = time.Second / calmRate
	for {
		now := time.Now()
		since := now.Sub(began)
		if since >= d+lostAfter {
			break
		}
		if since < d && since >= time.Duration(sent)*gap {
			at[uint16(l.next)] = now
			l.send(1)
			sent++
		}
		for i := range l.receive(unix.MSG_DONTWAIT) {
			id := binary.BigEndian.Uint16(l.answers[i][:])
			if !at[id].IsZero() {
				took = append(took, time.Since(at[id]))
				at[id] = time.Time{}
			}
		}
	}
	slices.Sort(took)
	return took, sent
}

// percentile of sorted durations.
func percentile(sorted []time.Duration, p float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(int(p*float64(len(sorted))), len(sorted)-1)]
}
