//go:build linux

package netns

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/catchment-net/catchment/labs/layout"
	"github.com/catchment-net/catchment/topology"
)

// taps are the captures that listen on a wire.
type taps struct {
	mu  sync.RWMutex // guards all
	all []*tap
}

// tap is one capture: it writes packets as they come and drops what its reader is too slow for.
type tap struct {
	packets chan captured
	want    func(frame []byte) bool // nil wants all
}

type captured struct {
	at   time.Time
	data []byte
}

// maxCaptured is how many packets wait for a slow reader of a capture.
const maxCaptured = 4096

func (t *taps) send(at time.Time, frame []byte) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for _, one := range t.all {
		if one.want != nil && !one.want(frame) {
			continue
		}
		select {
		case one.packets <- captured{at, slices.Clone(frame)}:
		default:
		}
	}
}

func (t *taps) add(one *tap) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.all = append(t.all, one)
}

func (t *taps) remove(one *tap) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.all = slices.DeleteFunc(t.all, func(o *tap) bool { return o == one })
}

// Capture writes what either end of a link sends, as a pcap file, until ctx is done: what the link then drops is in it.
func (l *Lab) Capture(ctx context.Context, name string, out io.Writer) error {
	link, err := layout.FindLink(l.topo, name)
	if err != nil {
		return err
	}
	one := &tap{packets: make(chan captured, maxCaptured)}
	for _, w := range l.wiresOf(link) {
		w.taps.add(one)
		defer w.taps.remove(one)
	}
	return writePcap(ctx, out, one.packets)
}

func (l *Lab) wiresOf(link *topology.Link) []*wire {
	return slices.DeleteFunc(slices.Clone(l.wires), func(w *wire) bool { return w.plan.Link != link })
}

// writePcap writes a file of the classic format with nanoseconds and Ethernet frames, flushed whenever nothing waits.
func writePcap(ctx context.Context, out io.Writer, packets <-chan captured) error {
	w := bufio.NewWriter(out)
	var head []byte
	for _, v := range []uint32{0xa1b23c4d, 2 | 4<<16, 0, 0, maxFrame, 1} {
		head = binary.LittleEndian.AppendUint32(head, v)
	}
	_, _ = w.Write(head)
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write capture: %w", err)
	}
	for {
		select {
		case <-ctx.Done():
			for range len(packets) { // what crossed before the end
				writePacket(w, <-packets)
			}
			if err := w.Flush(); err != nil {
				return fmt.Errorf("write capture: %w", err)
			}
			return nil
		case p := <-packets:
			writePacket(w, p)
			if len(packets) > 0 {
				continue
			}
			if err := w.Flush(); err != nil {
				return fmt.Errorf("write capture: %w", err)
			}
		}
	}
}

// writePacket writes one record. An error shows when the writer is flushed.
func writePacket(w *bufio.Writer, p captured) {
	var h []byte
	for _, v := range []uint32{uint32(p.at.Unix()), uint32(p.at.Nanosecond()), uint32(len(p.data)), uint32(len(p.data))} {
		h = binary.LittleEndian.AppendUint32(h, v)
	}
	_, _ = w.Write(h)
	_, _ = w.Write(p.data)
}
