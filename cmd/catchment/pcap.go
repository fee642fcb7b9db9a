package main

import (
	"encoding/binary"
	"fmt"
	"io"
)

// Sizes of a pcap file's parts (draft-ietf-opsawg-pcap).
const (
	pcapHeader = 24
	pcapRecord = 16      // before each packet; the length of what is kept of it lies in bytes 8 to 11
	maxPacket  = 1 << 18 // bytes; the largest that tcpdump itself takes
)

// wholePackets passes a pcap stream on packet by packet: wherever the stream is cut off, what was written is a sound file.
type wholePackets struct {
	to    io.Writer
	order binary.ByteOrder // nil until the file's header has been passed on
	rest  []byte           // the packet that has not come whole
}

// Write passes on every packet that is whole by now.
func (w *wholePackets) Write(b []byte) (int, error) {
	w.rest = append(w.rest, b...)
	n, err := w.whole()
	if err != nil {
		return 0, err
	}
	if n > 0 {
		if _, err := w.to.Write(w.rest[:n]); err != nil {
			return 0, err
		}
		w.rest = append(w.rest[:0], w.rest[n:]...)
	}
	return len(b), nil
}

// whole is how many bytes at hand are whole parts of the file.
func (w *wholePackets) whole() (int, error) {
	n := 0
	if w.order == nil {
		if len(w.rest) < pcapHeader {
			return 0, nil
		}
		if w.order = binary.ByteOrder(binary.BigEndian); w.rest[0] != 0xa1 {
			w.order = binary.LittleEndian
		}
		n = pcapHeader
	}
	for len(w.rest)-n >= pcapRecord {
		size := w.order.Uint32(w.rest[n+8:])
		if size > maxPacket {
			return 0, fmt.Errorf("capture holds a packet of %d bytes; want at most %d", size, maxPacket)
		}
		if len(w.rest)-n < pcapRecord+int(size) {
			break
		}
		n += pcapRecord + int(size)
	}
	return n, nil
}
