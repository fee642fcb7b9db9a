//go:build linux

package netns

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/catchment-net/catchment/labs/layout"
	"github.com/catchment-net/catchment/topology"
)

// A wire joins two machines' interfaces in user space, so that a link can be slow, lossy, silent or cut on every kernel
// and without any right on the host:
//
//	arc eth1 ═veth═ w0a │ AF_PACKET ── rules: drop, lose, delay, rate ── AF_PACKET │ w0b ═veth═ eth1 ams1
//
// The runner's ends (w0a, w0b) carry no addresses. Frames pass with the kernel's notes on checksums and segmentation
// (virtio_net_hdr), so that large segments cross as one.
type wire struct {
	plan  *layout.Wire
	ports [2]*port // towards the plan's A and B
	rules atomic.Pointer[rules]
	taps  taps

	dropped atomic.Uint64 // frames that found a full queue
}

// rules are what a wire does to frames now. They are immutable.
type rules struct {
	silent bool // everything is dropped
	mute   bool // gossip is dropped
	delay  time.Duration
	jitter time.Duration
	loss   float64 // 0 to 1
	rate   float64 // bits per second; 0 says unlimited
}

// port is one of the runner's ends of a wire.
type port struct {
	name string
	file *os.File
}

// The limits of a wire.
const (
	maxFrame  = 1<<16 + 256 // of a frame with its note, in bytes
	noteBytes = 10          // of struct virtio_net_hdr
	maxQueued = 8192        // frames under way in one direction; further ones are dropped, as a full buffer drops them
)

// openPort opens the runner's end of a wire in the calling thread's namespace.
func openPort(name string, index int) (*port, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open wire %q: %w", name, err)
	}
	file := os.NewFile(uintptr(fd), name)
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1),
		unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 4<<20),
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: index}),
	)
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("open wire %q: %w", name, err)
	}
	return &port{name: name, file: file}, nil
}

func htons(v uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, v))
}

// run carries frames both ways until ctx is done.
func (w *wire) run(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() {
		for _, p := range w.ports {
			p.file.Close()
		}
	})
	defer stop()
	var both sync.WaitGroup
	for i := range w.ports {
		queue := make(chan frame, maxQueued)
		both.Go(func() { w.receive(w.ports[i], w.ports[1-i], queue) })
		both.Go(func() { w.deliver(w.ports[1-i], queue) })
	}
	both.Wait()
}

// frame is one frame under way.
type frame struct {
	due  time.Time
	data []byte
}

// receive reads what one machine sends and decides what becomes of it. It closes the queue when the port is closed.
func (w *wire) receive(from, to *port, queue chan<- frame) {
	defer close(queue)
	buf := make([]byte, maxFrame)
	random := rand.New(rand.NewPCG(rand.Uint64(), uint64(w.plan.Index))) //nolint:gosec // losses, not secrets
	var last, free time.Time                                             // when the newest frame is due, and when the line is free
	for {
		n, err := from.file.Read(buf)
		switch {
		case errors.Is(err, unix.ENETDOWN):
			continue // the link has just been cut; reading goes on when it is back
		case err != nil:
			return
		case n <= noteBytes:
			continue
		}
		now := time.Now()
		w.taps.send(now, buf[noteBytes:n])
		r := w.rules.Load()
		if r.silent || r.mute && gossip(buf[noteBytes:n]) || r.loss > 0 && random.Float64() < r.loss {
			continue
		}
		if routing(buf[noteBytes:n]) { // docs/decisions/006
			_, _ = to.file.Write(buf[:n])
			continue
		}
		due := now.Add(r.delay)
		if r.jitter > 0 {
			due = due.Add(time.Duration(random.Float64() * float64(r.jitter)))
		}
		sent := free // when the line has sent this frame
		if r.rate > 0 {
			if sent.Before(now) {
				sent = now
			}
			sent = sent.Add(time.Duration(float64(n-noteBytes) * 8 / r.rate * float64(time.Second)))
			due = due.Add(sent.Sub(now))
		}
		if due.Before(last) {
			due = last // frames keep their order, as on a cable
		}
		if !due.After(now) && len(queue) == 0 {
			last, free = due, sent
			_, _ = to.file.Write(buf[:n])
			continue
		}
		select {
		case queue <- frame{due, slices.Clone(buf[:n])}:
			last, free = due, sent
		default: // what is dropped takes no time on the line
			w.dropped.Add(1)
		}
	}
}

// deliver sends each frame when it is due. A port that is down loses it.
func (w *wire) deliver(to *port, queue <-chan frame) {
	for f := range queue {
		if wait := time.Until(f.due); wait > 0 {
			time.Sleep(wait)
		}
		_, _ = to.file.Write(f.data)
	}
}

// gossip reports whether a frame carries memberlist's traffic.
func gossip(f []byte) bool {
	_, from, to := ports(f)
	return gossipPort(from) || gossipPort(to)
}

// routing reports whether a frame carries BGP.
func routing(f []byte) bool {
	proto, from, to := ports(f)
	return proto == unix.IPPROTO_TCP && (from == topology.PortBGP || to == topology.PortBGP)
}

// ports reads the ports of a frame that carries TCP or UDP; zeros for any other.
func ports(f []byte) (proto byte, from, to uint16) {
	const ethernet = 14
	if len(f) < ethernet {
		return 0, 0, 0
	}
	kind, f := binary.BigEndian.Uint16(f[12:]), f[ethernet:]
	switch {
	case kind == unix.ETH_P_IP && len(f) >= 20 && binary.BigEndian.Uint16(f[6:])&0x1fff == 0: // later fragments have no ports (RFC 791 §3.1)
		proto, f = f[9], f[min(len(f), int(f[0]&15)*4):]
	case kind == unix.ETH_P_IPV6 && len(f) >= 40:
		proto, f = f[6], f[40:]
	default:
		return 0, 0, 0
	}
	if proto != unix.IPPROTO_TCP && proto != unix.IPPROTO_UDP || len(f) < 4 {
		return 0, 0, 0
	}
	return proto, binary.BigEndian.Uint16(f), binary.BigEndian.Uint16(f[2:])
}
