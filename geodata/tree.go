package geodata

import (
	"encoding/binary"
	"fmt"
)

// tree is the binary search tree at the front of an MMDB (MaxMind DB format, version 2). It is read here and not by
// maxminddb because a walk of our own visits a million networks in a tenth of the time, and can tell IPv4's part of the
// tree from the aliases of it.
//
//	node: left record | right record      of 24, 28 or 32 bits each
//	record: < nodes another node · == nodes nothing · > nodes data, at record - nodes - 16 of the data section
type tree struct {
	data   []byte
	nodes  uint32
	size   int    // bits of a record
	width  int    // bits of an address: 32 or 128
	v4     uint32 // the record where IPv4 begins
	v4from int    // the depth at which the tree reaches v4
}

func newTree(data []byte, nodes uint, recordSize, ipVersion uint) (*tree, error) {
	t := &tree{data: data, nodes: uint32(nodes), size: int(recordSize), width: 128}
	if recordSize != 24 && recordSize != 28 && recordSize != 32 || nodes >= 1<<31 || nodes*recordSize/4 > uint(len(data)) {
		return nil, fmt.Errorf("a tree of %d nodes with records of %d bits does not fit a file of %d bytes", nodes, recordSize, len(data))
	}
	if ipVersion == 4 {
		t.width = 32
		return t, nil
	}
	for t.v4 < t.nodes && t.v4from < 96 {
		t.v4 = t.child(t.v4, 0)
		t.v4from++
	}
	return t, nil
}

// child is the record of a node for the next bit of an address.
func (t *tree) child(node uint32, bit int) uint32 {
	switch t.size {
	case 24:
		b := t.data[int(node)*6+3*bit:]
		return uint32(b[0])<<16 | uint32(b[1])<<8 | uint32(b[2])
	case 28:
		b := t.data[int(node)*7:][:7]
		if bit == 0 {
			return uint32(b[3]>>4)<<24 | uint32(b[0])<<16 | uint32(b[1])<<8 | uint32(b[2])
		}
		return uint32(b[3]&0xf)<<24 | uint32(b[4])<<16 | uint32(b[5])<<8 | uint32(b[6])
	}
	return binary.BigEndian.Uint32(t.data[int(node)*8+4*bit:])
}

// nothing is the record that stands for "not known".
func (t *tree) nothing() uint32 { return t.nodes }

// offset is where in the data section a record's data is.
func (t *tree) offset(record uint32) uintptr { return uintptr(record - t.nodes - 16) }

// root is where the part of a family begins.
func (t *tree) root(width int) uint32 {
	switch {
	case width == 32:
		return t.v4 // of an IPv4 tree, 0
	case t.width == 32:
		return t.nodes // knows no IPv6
	}
	return 0
}

// isV4 reports whether a node inside the IPv6 tree is IPv4's part or an alias of it (::ffff:0:0/96, 2001::/32 and
// 2002::/16 in MaxMind's own files). These are not IPv6 networks: nothing is known of them.
func (t *tree) isV4(record uint32, width int) bool {
	return width == 128 && record == t.v4 && record != 0 && record < t.nodes
}

// find returns the record for an address and the length of its network.
func (t *tree) find(a number, width int) (record uint32, length int) {
	record = t.root(width)
	for record < t.nodes && length < width {
		record = t.child(record, a.bit(length, width))
		length++
		if t.isV4(record, width) {
			return t.nodes, length
		}
	}
	if record < t.nodes {
		record = t.nodes // deeper than an address is long: damaged
	}
	return record, length
}

// walk calls fn for every network of a family in the order of addresses, those of which nothing is known included. A
// tree of N nodes has N+1 ends; one that shows more has loops, and would keep us here for ever.
func (t *tree) walk(width int, fn func(start number, record uint32) error) error {
	w := walker{tree: t, width: width, left: int(t.nodes) + 1, fn: fn}
	return w.visit(t.root(width), number{}, 0)
}

type walker struct {
	*tree
	width, left int
	fn          func(start number, record uint32) error
}

func (w *walker) visit(record uint32, start number, depth int) error {
	if record < w.nodes && depth < w.width && (depth == 0 || !w.isV4(record, w.width)) {
		if err := w.visit(w.child(record, 0), start, depth+1); err != nil {
			return err
		}
		return w.visit(w.child(record, 1), start.with(depth, w.width), depth+1)
	}
	if w.left--; w.left < 0 {
		return fmt.Errorf("its tree of %d nodes has loops", w.nodes)
	}
	if record < w.nodes {
		if depth == w.width {
			return fmt.Errorf("its tree is deeper than %d bits", w.width)
		}
		record = w.nodes
	}
	return w.fn(start, record)
}
