package dnsd

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What one reader holds for the packets of one system call.
const (
	batchSize     = 64   // packets; at 4 µs each the last one waits for a quarter of a millisecond
	receiveBuffer = 1024 // KiB that we ask the kernel to keep for a socket (it gives net.core.rmem_max at most)
	controlSize   = 40   // bytes: a header and an in6_pktinfo
)

// shared is a network that opens several sockets on one address, among which the kernel spreads the clients.
type shared interface {
	ListenPackets(ctx context.Context, network, address string, n int) ([]net.PacketConn, error)
}

// listenUDP opens the sockets of one address: one for each reader where the network can, else one for all.
func (s *Server) listenUDP(ctx context.Context, address string) ([]net.PacketConn, error) {
	if n, ok := s.o.Net.(shared); ok {
		return n.ListenPackets(ctx, "udp", address, s.o.Readers)
	}
	c, err := s.o.Net.ListenPacket(ctx, "udp", address)
	if err != nil {
		return nil, err
	}
	return []net.PacketConn{c}, nil
}

// serveSocket answers on one of the sockets of k. One of the host's is taken out of the runtime's poller: a thread of
// its own sleeps in recvmmsg, which costs a wake-up less than a goroutine that waits for the poller.
//
//	recvmmsg (sleeps until one packet is there, takes up to 64) ─► answer, each ─► sendmmsg
func (s *Server) serveSocket(ctx context.Context, k *socket, c net.PacketConn) error {
	u, ok := c.(*net.UDPConn)
	if _, several := s.o.Net.(shared); !ok || !several {
		return s.serveUDP(ctx, k, c)
	}
	b, err := newBatch(u, k.addr.IsUnspecified())
	if err != nil {
		return fmt.Errorf("dnsd: udp %v: %w", k.addr, err)
	}
	c.Close() // the batch holds the socket now
	var closing atomic.Bool
	var woken sync.WaitGroup
	woken.Add(1)
	stop := context.AfterFunc(ctx, func() {
		defer woken.Done()
		closing.Store(true)
		_ = unix.Shutdown(b.fd, unix.SHUT_RDWR) // ENOTCONN, and it wakes the reader all the same
	})
	defer func() {
		if !stop() {
			woken.Wait() // else it might shut down whoever gets our number next
		}
		unix.Close(b.fd)
	}()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	w := s.newWorker(s.metrics.newCounters())
	for {
		n, errno := b.receive()
		switch {
		case closing.Load():
			return nil
		case errno == unix.EINTR:
			continue
		case errno != 0:
			s.o.Logger.Debug("udp read failed", "address", k.addr, "error", errno)
			select {
			case <-ctx.Done():
			case <-time.After(pauseAfterError):
			}
			continue
		}
		w.now = s.o.Now()
		b.answer(w, n, k.anycast)
		if errno := b.send(); errno != 0 {
			s.o.Logger.Debug("udp write failed", "address", k.addr, "error", errno)
		}
	}
}

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32 // bytes received
}

// batch is the memory of one reader. The headers point into the arrays beside them, so a batch must not be moved.
type batch struct {
	fd       int
	wildcard bool
	ready    int // answers to send

	in, out   [batchSize]mmsghdr
	inv, outv [batchSize]unix.Iovec
	peers     [batchSize]unix.RawSockaddrInet6 // large enough for both families
	controls  [batchSize][controlSize]byte
	queries   [batchSize][maxUDPReceived + offset]byte
	answers   [batchSize][PayloadSize + answerSlack]byte
}

// offset keeps the beginnings of buffers apart in the cache, whose lines are chosen by an address's lower twelve bits.
const offset = 64

// answerSlack is what an answer may exceed PayloadSize by while it is written and not yet found too long; a longer one
// is written elsewhere, and comes back empty with TC.
const answerSlack = 256

// newBatch takes over a socket: it is blocking then, and no longer in the runtime's poller once u is closed.
func newBatch(u *net.UDPConn, wildcard bool) (*batch, error) {
	b := &batch{wildcard: wildcard}
	raw, err := u.SyscallConn()
	if err != nil {
		return nil, err
	}
	var failed error
	if err := raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer<<10) // a wish
		if wildcard {
			failed = askForAddress(int(fd))
		}
		if failed == nil {
			b.fd, failed = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0)
		}
	}); err != nil {
		return nil, err
	}
	if failed != nil {
		return nil, os.NewSyscallError("set up socket", failed)
	}
	if err := unix.SetNonblock(b.fd, false); err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	for i := range batchSize {
		b.inv[i].Base = &b.queries[i][0]
		b.inv[i].SetLen(maxUDPReceived)
		h := &b.in[i].hdr
		h.Iov, h.Name = &b.inv[i], (*byte)(unsafe.Pointer(&b.peers[i]))
		h.SetIovlen(1)
		b.out[i].hdr.Iov = &b.outv[i]
		b.out[i].hdr.SetIovlen(1)
		b.rearm(i)
	}
	return b, nil
}

// askForAddress has the kernel say to which address each packet came.
func askForAddress(fd int) error {
	domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	switch {
	case err != nil:
		return err
	case domain == unix.AF_INET:
		return unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_PKTINFO, 1)
	}
	return unix.SetsockoptInt(fd, unix.SOL_IPV6, unix.IPV6_RECVPKTINFO, 1)
}

// rearm gives back to a header the room that the kernel has shortened.
func (b *batch) rearm(i int) {
	h := &b.in[i].hdr
	h.Namelen = unix.SizeofSockaddrInet6
	h.Flags = 0
	if b.wildcard {
		h.Control = &b.controls[i][0]
		h.SetControllen(controlSize)
	}
}

// receive waits for at least one packet. It is an ordinary system call: the thread gives its processor back to the
// runtime while it sleeps, and with one processor to spare finds it again (docs/decisions/052).
func (b *batch) receive() (int, unix.Errno) {
	n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(b.fd), uintptr(unsafe.Pointer(&b.in)), batchSize, unix.MSG_WAITFORONE, 0, 0)
	return int(n), errno
}

func (b *batch) answer(w *worker, n int, anycast bool) {
	b.ready = 0
	w.count.mu.Lock()
	defer w.count.mu.Unlock()
	now := w.now.UnixNano()
	for i := range n {
		addr, ok := peer(&b.peers[i])
		if !ok {
			b.rearm(i)
			continue
		}
		to := b.answers[b.ready][:0]
		out := w.answer(b.queries[i][:b.in[i].n], to, asker{addr: addr, anycast: anycast})
		w.count.add(&w.tally, now)
		if len(out) > 0 {
			o := &b.out[b.ready]
			b.outv[b.ready].Base = &out[0]
			b.outv[b.ready].SetLen(len(out))
			o.hdr.Name, o.hdr.Namelen = b.in[i].hdr.Name, b.in[i].hdr.Namelen
			if b.wildcard {
				o.hdr.Control, o.hdr.Controllen = b.in[i].hdr.Control, b.in[i].hdr.Controllen
				fromAnyInterface(b.controls[i][:b.in[i].hdr.Controllen])
			}
			b.ready++
		}
		b.rearm(i)
	}
}

// peer is who sent a packet; one who sent it from port 0 cannot be answered.
func peer(a *unix.RawSockaddrInet6) (netip.Addr, bool) {
	switch {
	case a.Port == 0:
		return netip.Addr{}, false
	case a.Family == unix.AF_INET:
		return netip.AddrFrom4((*unix.RawSockaddrInet4)(unsafe.Pointer(a)).Addr), true
	case a.Family == unix.AF_INET6:
		return netip.AddrFrom16(a.Addr).Unmap(), true
	}
	return netip.Addr{}, false
}

// fromAnyInterface turns "came to this address on this interface" into "send from this address": routing chooses the
// interface, but for link-local addresses, which are of one.
func fromAnyInterface(control []byte) {
	const data = unix.SizeofCmsghdr
	switch {
	case len(control) >= data+unix.SizeofInet6Pktinfo && control[data] == 0xfe && control[data+1]&0xc0 == 0x80:
	case len(control) >= data+unix.SizeofInet6Pktinfo: // in6_pktinfo: address, interface
		binary.NativeEndian.PutUint32(control[data+16:], 0)
	case len(control) >= data+unix.SizeofInet4Pktinfo: // in_pktinfo: interface, our address, the packet's
		binary.NativeEndian.PutUint32(control[data:], 0)
	}
}

// send sends all answers. It tries without waiting, which the runtime need not hear of; only where the socket is full it
// waits. A packet that cannot be sent is left out; the last such error is returned.
func (b *batch) send() (last unix.Errno) {
	for at := 0; at < b.ready; {
		head := uintptr(unsafe.Pointer(&b.out[at]))
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(b.fd), head, uintptr(b.ready-at), unix.MSG_DONTWAIT, 0, 0)
		if errno == unix.EAGAIN {
			n, _, errno = unix.Syscall6(unix.SYS_SENDMMSG, uintptr(b.fd), head, uintptr(b.ready-at), 0, 0, 0)
		}
		switch errno {
		case 0:
			at += int(n)
		case unix.EINTR:
		default:
			last = errno
			at++
		}
	}
	return last
}
