//go:build linux

package netns

import (
	"bytes"
	"context"
	"encoding/binary"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/catchment-net/catchment/labs/layout"
)

// newTestWire is a wire between two sockets of this process in place of two machines.
func newTestWire(t *testing.T, r *rules) (w *wire, machines [2]*os.File) {
	t.Helper()
	w = &wire{plan: &layout.Wire{}}
	w.rules.Store(r)
	for i := range machines {
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		machines[i] = os.NewFile(uintptr(pair[0]), "machine")
		w.ports[i] = &port{name: "port", file: os.NewFile(uintptr(pair[1]), "port")}
		t.Cleanup(func() { machines[i].Close() })
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return w, machines
}

// A link that was offered more than it carries is free again once what fits its queue has left it.
func TestACongestedLinkRecovers(t *testing.T) {
	const size, offered = 1250, 4 * maxQueued // 10000 bits each
	rate := 100e6                             // 10000 frames a second: the queue holds less than 0.9 s
	_, m := newTestWire(t, &rules{rate: rate})
	arrived := make(chan []byte, offered+1)
	go func() {
		defer close(arrived)
		for {
			buf := make([]byte, maxFrame)
			n, err := m[1].Read(buf)
			if err != nil || n == 0 {
				return
			}
			arrived <- buf[:n]
		}
	}()
	began := time.Now()
	for range offered {
		if _, err := m[0].Write(make([]byte, noteBytes+size)); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("offered %d frames in %v", offered, time.Since(began))
	mark := bytes.Repeat([]byte{1}, noteBytes+size)
	limit := time.After(10 * time.Second)
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	n := 0
	for {
		select {
		case f := <-arrived:
			if f[0] == 1 {
				took := time.Since(began)
				t.Logf("mark after %v and %d frames", took, n)
				if carried := time.Duration(float64(n*size*8) / rate * float64(time.Second)); took > carried+time.Second {
					t.Errorf("the link was blocked for %v, want not much more than %v: it carried %d frames", took, carried, n)
				}
				return
			}
			n++
		case <-again.C: // the first that finds room arrives first
			if _, err := m[0].Write(mark); err != nil {
				t.Fatal(err)
			}
		case <-limit:
			t.Fatalf("no frame got through within 10 s after %d frames", n)
		}
	}
}

// What has crossed the link before a capture ends is in its file.
func TestCaptureWritesWhatIsWaiting(t *testing.T) {
	const frames = 100
	packets := make(chan captured, frames)
	for range frames {
		packets <- captured{time.Now(), make([]byte, 60)}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out bytes.Buffer
	if err := writePcap(ctx, &out, packets); err != nil {
		t.Fatal(err)
	}
	if got := (out.Len() - 24) / (16 + 60); got != frames {
		t.Errorf("%d packets in the file, want %d", got, frames)
	}
}

func TestGossipAndRoutingAreKnownByTheirPorts(t *testing.T) {
	udp := func(offset uint16) []byte {
		f := make([]byte, 14+20+8)
		binary.BigEndian.PutUint16(f[12:], unix.ETH_P_IP)
		f[14], f[14+9] = 0x45, unix.IPPROTO_UDP
		binary.BigEndian.PutUint16(f[14+6:], offset)
		binary.BigEndian.PutUint16(f[34:], 7946)
		return f
	}
	if !gossip(udp(0)) {
		t.Error("a datagram from port 7946 is not gossip")
	}
	if gossip(udp(185)) {
		t.Error("the payload of a later fragment is taken for ports (RFC 791 §3.1)")
	}
}

// A tap that wants some frames gets those, and a slow reader of it does not hold up the wire.
func TestATapGetsWhatItWants(t *testing.T) {
	var all taps
	one := &tap{packets: make(chan captured, 1), want: func(f []byte) bool { return f[0] == 1 }}
	all.add(one)
	at := time.Now()
	for _, f := range [][]byte{{0}, {1}, {1}, {0}} {
		all.send(at, f)
	}
	if got := <-one.packets; got.data[0] != 1 || !got.at.Equal(at) || len(one.packets) != 0 {
		t.Errorf("got %v at %v, and %d more", got.data, got.at, len(one.packets))
	}
	all.remove(one)
	all.send(at, []byte{1})
	if len(one.packets) != 0 {
		t.Error("a tap that is gone gets frames")
	}
}
