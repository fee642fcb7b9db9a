package conformance

import (
	"encoding/binary"
	"slices"
)

// malformed are packets that no resolver sends. What an answer to them must be is free where the peers differ; that a
// server survives them is not.
func malformed() []queryCase {
	question := []byte("\x01a\x02g0\x03gen\x00\x00\x01\x00\x01")
	header := func(flags uint16, counts ...uint16) []byte {
		b := binary.BigEndian.AppendUint16([]byte{0x12, 0x34}, flags)
		for _, n := range counts {
			b = binary.BigEndian.AppendUint16(b, n)
		}
		return b
	}
	opt := []byte("\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00")
	address := []byte("\x01a\x02g0\x03gen\x00\x00\x01\x00\x01\x00\x00\x00\x00\x00\x04\xc0\x00\x02\x01")
	var cases []queryCase
	for _, c := range []struct {
		what  string
		parts [][]byte
	}{
		{"nothing", nil},
		{"one byte", [][]byte{{1}}},
		{"a header cut short", [][]byte{header(0, 1)}},
		{"a header that promises a question", [][]byte{header(0, 1, 0, 0, 0)}},
		{"no question", [][]byte{header(0, 0, 0, 0, 0)}},
		{"no question, with OPT", [][]byte{header(0, 0, 0, 0, 1), opt}},
		{"two questions", [][]byte{header(0, 2, 0, 0, 0), question, question}},
		{"a question cut short", [][]byte{header(0, 1, 0, 0, 0), question[:5]}},
		{"a question without its type", [][]byte{header(0, 1, 0, 0, 0), question[:8]}},
		{"a label of 64 bytes", [][]byte{header(0, 1, 0, 0, 0), {64}, make([]byte, 64), question}},
		{"a name of more than 255 bytes", [][]byte{header(0, 1, 0, 0, 0), longName(256), question}},
		{"a pointer to itself", [][]byte{header(0, 1, 0, 0, 0), {0xc0, 12, 0, 1, 0, 1}}},
		{"a pointer into the header", [][]byte{header(0, 1, 0, 0, 0), {0xc0, 0, 0, 1, 0, 1}}},
		{"a pointer forward", [][]byte{header(0, 1, 0, 0, 0), {0xc0, 18, 0, 1, 0, 1}, question}},
		{"a label of the reserved kind 10", [][]byte{header(0, 1, 0, 0, 0), {0x80, 'a'}, question}},
		{"a label of the reserved kind 01", [][]byte{header(0, 1, 0, 0, 0), {0x41, 'a'}, question}},
		{"a response", [][]byte{header(0x8000, 1, 0, 0, 0), question}},
		{"a response with everything", [][]byte{header(0x8180, 1, 1, 0, 0), question, address}},
		{"an answer in the query", [][]byte{header(0, 1, 1, 0, 0), question, address}},
		{"an authority in the query", [][]byte{header(0, 1, 0, 1, 0), question, address}},
		{"an additional record in the query", [][]byte{header(0, 1, 0, 0, 1), question, address}},
		{"a promised answer that is not there", [][]byte{header(0, 1, 1, 0, 0), question}},
		{"a promised OPT that is not there", [][]byte{header(0, 1, 0, 0, 1), question}},
		{"bytes behind the end", [][]byte{header(0, 1, 0, 0, 0), question, []byte("more")}},
		{"two OPT", [][]byte{header(0, 1, 0, 0, 2), question, opt, opt}},
		{"OPT with an owner", [][]byte{header(0, 1, 0, 0, 1), question, {1, 'a'}, opt}},
		{"OPT cut short", [][]byte{header(0, 1, 0, 0, 1), question, opt[:7]}},
		{"OPT whose length is a lie", [][]byte{header(0, 1, 0, 0, 1), question, opt[:10], {9}}},
		{"OPT whose option's length is a lie", [][]byte{header(0, 1, 0, 0, 1), question, opt[:10], {4, 0, 3, 0, 9}}},
		{"OPT in the answer section", [][]byte{header(0, 1, 1, 0, 0), question, opt}},
		{"all counts at their most", [][]byte{header(0, 65535, 65535, 65535, 65535), question}},
		{"all flags", [][]byte{header(0x7fff, 1, 0, 0, 0), question}},
	} {
		cases = append(cases, queryCase{group: "malformed", what: c.what, packet: slices.Concat(c.parts...), mayDrop: true})
	}
	return cases
}

// longName is labels of n bytes in all, without the end.
func longName(n int) []byte {
	var b []byte
	for len(b) < n {
		b = append(b, 63)
		b = append(b, make([]byte, 63)...)
	}
	return b
}
